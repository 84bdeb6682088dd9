"""Our loop inside verl's own worker, in this process: question files in, tokens and masks out, beside the native rollouts."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("verl", reason="verl has an environment of its own: make test-verl")

from omegaconf import OmegaConf
from verl.experimental.agent_loop import AgentLoopWorker
from verl.protocol import DataProto
from verl.trainer.ppo.utils import create_rl_dataset
from verl.utils.dataset.rl_dataset import collate_fn
from verl.workers.rollout.replica import TokenOutput

from workflow_r1.algorithms import turn_ids_from_mask
from workflow_r1.assembly.tasks import build_score, build_task
from workflow_r1.config import RunConfig, dump_toml
from workflow_r1.embedded import policy_directory
from workflow_r1.engines.verl import agent_loop as plugin_loop
from workflow_r1.engines.verl import plugin  # noqa: F401  Registers the loop.
from workflow_r1.engines.verl.described_run import VARIABLE
from workflow_r1.engines.verl.launch import prepare
from workflow_r1.engines.verl.objective import gsspo_advantages
from workflow_r1.engines.verl.rollout_files import RolloutFiles
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.policy.model import load_policy_model
from workflow_r1.policy.packing import pack
from workflow_r1.rollout import derive_seed, rollout_groups
from workflow_r1.running.parts import open_environments, train_questions
from workflow_r1.running.policies import special_tokens
from workflow_r1.trajectory import StopReason, Trajectory

STEP, GROUP = 3, 3


class StubServer:
    """verl's server client, answered by the native sampler; it may lose its connection."""

    def __init__(self, sampler: LocalSampler, lost_at: int | None = None) -> None:
        self.sampler = sampler
        self.lost_at = lost_at
        self.num_requests = 0

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]) -> TokenOutput:
        self.num_requests += 1
        if self.num_requests == self.lost_at:
            raise ConnectionError("the server is gone")
        async with self.sampler.session(seed=int(request_id, 16)) as session:
            session.prompt = tuple(prompt_ids)
            session.pending.extend(prompt_ids)
            turn = await session.sample(max_tokens=sampling_params["max_tokens"])
        return TokenOutput(
            token_ids=list(turn.token_ids), log_probs=list(turn.logprobs), extra_fields={"global_steps": 2}
        )


def sampler_of(config: RunConfig) -> LocalSampler:
    model, tokenizer = load_policy_model(config.policy)
    return LocalSampler(model, tokenizer, sampling=config.sampling)


def through_verl(
    config: RunConfig, directory: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch, *, rows: int = 2
) -> DataProto:
    """Write the question files, read them with verl's dataset, and let verl's worker run our loop on them."""
    (directory / "config.toml").write_text(dump_toml(config))
    monkeypatch.setenv(VARIABLE, str(directory))
    questions = train_questions(config)[:4]
    file = prepare(
        config,
        model=str(policy_directory()),
        run_directory=directory,
        train_questions=questions,
        evaluation_questions=[],
        resume=False,
    )
    verl_config = OmegaConf.load(file)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(directory / "cache"))
    worker = AgentLoopWorker(verl_config, server)
    dataset = create_rl_dataset(verl_config.data.train_files, verl_config.data, worker.tokenizer, None)
    assert len(dataset) == 4
    batch = DataProto.from_single_dict(collate_fn([dataset[index] for index in range(rows) for _ in range(GROUP)]))
    batch.non_tensor_batch["session_id"] = np.array([*range(GROUP)] * rows)
    batch.non_tensor_batch["global_steps"] = np.array([STEP] * rows * GROUP)
    batch.non_tensor_batch["uid"] = batch.non_tensor_batch["index"].astype(str)
    return asyncio.run(worker.generate_sequences(batch))


def native(config: RunConfig, sampler: LocalSampler, *, rows: int = 2) -> list[Trajectory]:
    groups = asyncio.run(
        rollout_groups(
            train_questions(config)[:rows],
            policy=sampler,
            make_environment=open_environments(config, special_tokens=special_tokens(config.policy)),
            group_size=GROUP,
            seed=derive_seed(config.seed, "training", STEP),
            max_concurrency=8,
        )
    )
    return [trajectory for group in groups for trajectory in group]


def written(directory: Path) -> dict[str, Trajectory]:
    return {t.id: t for t in RolloutFiles(directory).follow("training", STEP).read()}


OWN_TASK = [
    f"task={Path(__file__).parents[2] / 'support' / 'letters_task.py'}:CountLetters",
    "environment.operators=[]",
]


@pytest.mark.parametrize("task", [[], OWN_TASK], ids=["questions", "own task"])
def test_tokens_masks_and_turns_are_the_native_ones(
    cpu_config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: list[str]
) -> None:
    config = cpu_config("training.group_size=3", *task)
    score = build_score(build_task(config.chosen_task))
    plugin_loop._open_workplace.cache_clear()
    output = through_verl(config, tmp_path, StubServer(sampler_of(config)), monkeypatch)
    expected = native(config, sampler_of(config))
    assert len(output) == len(expected) == 6
    width = output.batch["prompts"].shape[1]
    assert sum(len(trajectory.turns) > 1 for trajectory in expected) > 2
    for index, trajectory in enumerate(expected):
        batch = pack([trajectory])
        inside = output.batch["attention_mask"][index].bool()
        assert output.batch["input_ids"][index][inside].tolist() == batch.input_ids[0].tolist()
        start = len(trajectory.prompt_token_ids)
        mask = output.batch["response_mask"][index]
        turns = turn_ids_from_mask(mask[None])[0][inside[width:]]
        assert turns.tolist() == batch.turn_ids[0, start:].tolist()
        logprobs = output.batch["rollout_log_probs"][index][inside[width:]]
        torch.testing.assert_close(logprobs, batch.sampler_logprobs[0, start:], rtol=0, atol=1e-4)
        assert output.batch["rm_scores"][index].sum().item() == pytest.approx(score(trajectory).reward.total)
    records = written(tmp_path)
    assert set(records) == {trajectory.id for trajectory in expected}
    for trajectory in expected:
        record = records[trajectory.id]
        assert [turn.text for turn in record.turns] == [turn.text for turn in trajectory.turns]
        assert (record.seed, record.group_id) == (trajectory.seed, trajectory.group_id)
        assert record.policy_version == STEP - 1


def test_a_lost_server_is_masked_out_of_loss_and_statistics(
    cpu_config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cpu_config("training.group_size=3")
    server = StubServer(sampler_of(config), lost_at=8)  # The first six begin; some later turn is lost.
    output = through_verl(config, tmp_path, server, monkeypatch)
    failed = [t for t in written(tmp_path).values() if t.stop_reason is StopReason.SAMPLER_FAILED]
    assert len(failed) == 1
    assert len(failed[0].turns) > 0 and "server is gone" in (failed[0].error or "")
    mask = output.batch["response_mask"]
    [row] = (mask.sum(dim=1) == 0).nonzero()[:, 0].tolist()
    assert output.batch["attention_mask"][row].sum() > len(failed[0].prompt_token_ids)
    rewards = torch.zeros_like(mask, dtype=torch.float32)
    rewards[:, 0] = torch.tensor([5.0 if index == row else float(index) for index in range(len(mask))])
    values, _ = gsspo_advantages(rewards, mask, output.non_tensor_batch["uid"])
    assert values[row].abs().max() == 0
    others = [index for index in range(len(mask)) if index // GROUP == row // GROUP and index != row]
    # The two that are left are compared with each other alone; six rows stand for five.
    assert values[others].abs().max(dim=1).values.tolist() == pytest.approx([0.5**0.5 * 6 / 5] * 2, rel=1e-4)


def test_a_prompt_too_long_is_no_mistake_of_the_policy(
    cpu_config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cpu_config("training.group_size=3", "environment.max_prompt_tokens=8")
    server = StubServer(sampler_of(config))
    output = through_verl(config, tmp_path, server, monkeypatch, rows=1)
    assert server.num_requests == 0
    assert output.batch["response_mask"].sum() == 0
    assert {t.stop_reason for t in written(tmp_path).values()} == {StopReason.PROMPT_TOO_LONG}
