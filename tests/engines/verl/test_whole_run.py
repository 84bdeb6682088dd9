"""A whole run of verl's own entry point on this CPU, beside the same run of the native engine.

Ray, FSDP2 over gloo, the reference policy, our loop, reward, advantage and loss, weights handed to the server, evaluation,
checkpoints: nothing is replaced but what ``cpu_shims`` says.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

pytest.importorskip("verl", reason="verl has an environment of its own: make test-verl")

from safetensors.torch import load_file

from workflow_r1.assembly.tasks import build_scorer, build_task
from workflow_r1.config import RunConfig, dump_toml, load_run_config
from workflow_r1.embedded import policy_directory
from workflow_r1.engines.native.run import Trainer
from workflow_r1.engines.verl.agent_loop import to_output
from workflow_r1.engines.verl.run import VerlTraining
from workflow_r1.policy.model import load_policy_model
from workflow_r1.policy.packing import pack
from workflow_r1.recording.events import Event, StepFinished, TrajectoryFinished
from workflow_r1.running.engines import order_questions
from workflow_r1.running.parts import held_out_questions, open_environments, train_questions
from workflow_r1.running.policies import special_tokens
from workflow_r1.trajectory import Trajectory, load_trajectories

KL = "objective.kl_coefficient=0.001"


class Runs(NamedTuple):
    verl: Path
    native: Path
    events: list[Event]


def run_verl(directory: Path, config: RunConfig, shims: Mapping[str, str], *, resume: bool = False) -> list[Event]:
    directory.mkdir(exist_ok=True)
    (directory / "config.toml").write_text(dump_toml(config))
    questions, held_out = train_questions(config), held_out_questions(config)
    events: list[Event] = []
    VerlTraining(
        config=config,
        run_directory=directory,
        model=str(policy_directory()),
        train_questions=order_questions(config.training, questions, seed=config.seed),
        evaluation_questions=held_out,
        on_event=events.append,
        environment=shims,
    ).run(resume=resume)
    return events


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, cpu_config: Callable[..., RunConfig], shims: Mapping[str, str]
) -> Runs:
    """Two steps on verl, and the same two steps of the native engine."""
    config = cpu_config("training.steps=2", "training.checkpoint_every=2", "training.evaluate_every=2", KL)
    place = tmp_path_factory.mktemp("runs")
    events = run_verl(place / "verl", config, shims)
    questions, held_out = train_questions(config), held_out_questions(config)
    Trainer(
        config=config,
        run_directory=place / "native",
        train_questions=questions,
        evaluation_questions=held_out,
        make_environment=open_environments(config, special_tokens=special_tokens(config.policy)),
    ).run()
    return Runs(place / "verl", place / "native", events)


def rows(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def of_step(directory: Path, step: int) -> list[Trajectory]:
    return load_trajectories(directory / "trajectories.jsonl")[16 * (step - 1) : 16 * step]


def test_first_step_samples_the_native_trajectories(runs: Runs) -> None:
    """The same questions, seeds and weights: the same tokens, in the same order of the file."""
    ours, native = of_step(runs.verl, 1), of_step(runs.native, 1)
    assert [t.id for t in ours] == [t.id for t in native]
    assert len({t.id for t in ours}) == 16
    for one, other in zip(ours, native, strict=True):
        assert one.prompt_token_ids == other.prompt_token_ids
        assert [turn.token_ids for turn in one.turns] == [turn.token_ids for turn in other.turns]
        assert [turn.context_token_ids for turn in one.turns] == [turn.context_token_ids for turn in other.turns]
        assert (one.answer, one.stop_reason) == (other.answer, other.stop_reason)
        # The server reads the whole context anew each turn, the native sampler keeps it: another order of additions.
        for turn, same in zip(one.turns, other.turns, strict=True):
            assert turn.logprobs == pytest.approx(same.logprobs, abs=1e-4)


def test_the_first_step_of_an_own_task_is_the_native_ones(
    tmp_path: Path, cpu_config: Callable[..., RunConfig], shims: Mapping[str, str]
) -> None:
    file = Path(__file__).parents[2] / "support" / "letters_task.py"
    own = [f"task={file}:CountLetters", "environment.operators=[]"]
    config = cpu_config("training.steps=1", "training.evaluation_questions=0", KL, *own)
    run_verl(tmp_path / "verl", config, shims)
    Trainer(
        config=config,
        run_directory=tmp_path / "native",
        train_questions=train_questions(config),
        evaluation_questions=[],
        make_environment=open_environments(config, special_tokens=special_tokens(config.policy)),
        score=build_scorer(config.reward, build_task(config.chosen_task)),
    ).run()
    ours, native = of_step(tmp_path / "verl", 1), of_step(tmp_path / "native", 1)
    assert len(ours) == 16 and len({t.reward.total for t in ours}) > 2
    for one, other in zip(ours, native, strict=True):
        assert [turn.token_ids for turn in one.turns] == [turn.token_ids for turn in other.turns]
        assert [turn.context_token_ids for turn in one.turns] == [turn.context_token_ids for turn in other.turns]
        assert (one.reward, one.ending, one.stop_reason) == (other.reward, other.ending, other.stop_reason)
        assert [turn.reward for turn in one.turns] == [turn.reward for turn in other.turns]
    [row], [same] = rows(tmp_path / "verl"), rows(tmp_path / "native")
    keys = [key for key in same if key.startswith("rollout/") and not key.startswith("rollout/surprisal")]
    assert "rollout/success" in keys and "rollout/part/actions" in keys
    assert {key: row[key] for key in keys} == {key: same[key] for key in keys}
    assert row["update/loss"] == pytest.approx(same["update/loss"], abs=1e-6)
    assert row["update/grad_norm"] == pytest.approx(same["update/grad_norm"], rel=1e-5)


def test_turns_in_the_mask_are_the_recorded_ones(runs: Runs) -> None:
    from workflow_r1.algorithms import turn_ids_from_mask

    several = 0
    for trajectory, native in zip(of_step(runs.verl, 1), of_step(runs.native, 1), strict=True):
        output = to_output(trajectory, versions=[0], max_prompt_tokens=128, filler=0)
        row = pack([native])
        start = len(native.prompt_token_ids)
        assert output.prompt_ids + output.response_ids == row.input_ids[0].tolist()
        recovered = turn_ids_from_mask(torch.tensor([output.response_mask]))
        assert recovered.tolist() == row.turn_ids[:, start:].tolist()
        assert int(recovered.max()) == len(trajectory.turns)
        several += len(trajectory.turns) > 1
    assert several > 8


def test_first_step_agrees_with_the_native_engine(runs: Runs) -> None:
    ours, native = rows(runs.verl)[1], rows(runs.native)[1]
    assert ours["step"] == native["step"] == 1
    same = [key for key in native if key.startswith("rollout/") and not key.startswith("rollout/surprisal")]
    assert {key: ours[key] for key in same} == {key: native[key] for key in same}
    assert 0 < ours["rollout/reward"] < 1
    # In the first step policy, old policy and reference policy are one: a loss of the advantages' mean, and no KL.
    assert ours["update/loss"] == pytest.approx(native["update/loss"], abs=1e-6)
    assert ours["update/kl_loss"] == pytest.approx(0.0, abs=1e-6)
    assert native["update/kl_loss"] == pytest.approx(0.0, abs=1e-6)
    assert ours["update/grad_norm"] == pytest.approx(native["update/grad_norm"], rel=1e-5)
    assert ours["update/ratio_mean"] == pytest.approx(1.0, abs=1e-5)


def test_the_policy_becomes_the_native_one(runs: Runs) -> None:
    before = load_file(policy_directory() / "model.safetensors")
    ours = load_file(runs.verl / "policy" / "model.safetensors")
    native = load_file(runs.native / "policy" / "model.safetensors")
    shared = before.keys() & ours.keys() & native.keys()
    assert len(shared) >= len(before) - 1  # A tied head may be left out.
    moved = max((native[name] - before[name].float()).abs().max() for name in shared)
    apart = torch.cat([(ours[name].float() - native[name]).abs().flatten() for name in shared])
    assert moved > 5e-5
    # Adam divides a gradient by its own size: where it is all rounding, two engines may go opposite ways for a step.
    assert (apart > moved / 2).float().mean() < 0.01


def test_run_directory_is_that_of_any_run(runs: Runs) -> None:
    metrics = rows(runs.verl)
    assert [row["step"] for row in metrics] == [0, 1, 2]
    assert "evaluation/exact_match" in metrics[0] and "evaluation/exact_match" in metrics[2]
    assert metrics[0]["evaluation/exact_match"] == rows(runs.native)[0]["evaluation/exact_match"]
    assert [row["policy_version"] for row in metrics[1:]] == [row["policy_version"] for row in rows(runs.native)[1:]]
    assert len((runs.verl / "evaluations.jsonl").read_text().splitlines()) == 2
    assert sum(isinstance(event, TrajectoryFinished) for event in runs.events) == 32
    assert [event.step for event in runs.events if isinstance(event, StepFinished)] == [1, 2]
    assert not list((runs.verl / "verl" / "rollouts").glob("*-*/*"))


def test_the_policy_loads_back(runs: Runs) -> None:
    config = load_run_config(runs.verl / "config.toml", [f"policy.model={runs.verl / 'policy'}"])
    model, tokenizer = load_policy_model(config.policy)
    assert tokenizer.chat_template
    assert next(model.parameters()).isfinite().all()


def test_resume_goes_on_from_the_checkpoint(runs: Runs, shims: Mapping[str, str]) -> None:
    metrics = runs.verl / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 99}\n')  # As if a step had not reached its checkpoint.
    config = load_run_config(runs.verl / "config.toml", ["training.steps=3"])
    before = (runs.verl / "trajectories.jsonl.gz").read_bytes()
    run_verl(runs.verl, config, shims, resume=True)
    assert [row["step"] for row in rows(runs.verl)] == [0, 1, 2, 3]
    after = (runs.verl / "trajectories.jsonl.gz").read_bytes()
    assert after.startswith(before)
    assert len(of_step(runs.verl, 3)) == 16
    assert {t.policy_version for t in of_step(runs.verl, 3)} == {2}
