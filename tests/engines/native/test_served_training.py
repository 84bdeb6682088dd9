"""A training run whose trajectories come from a server, which here samples with the tiny Llama and the adapters it is given."""

import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from run_rows import rows
from transformers import AutoModelForCausalLM

from workflow_r1.errors import ConfigError, ServiceError
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.inference.loopback import LoopbackServer
from workflow_r1.recording.events import StepFinished, Warned
from workflow_r1.rollout.doubles import LoopbackPolicy
from workflow_r1.trajectory import load_trajectories

pytestmark = pytest.mark.slow


class Sampling:
    """Draws from the model at a directory, with an adapter or without, by the request's own seed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._models: dict[Path | None, object] = {}

    def __call__(self, request, adapter):
        if adapter not in self._models:
            base = AutoModelForCausalLM.from_pretrained(self._directory, dtype=torch.float32)
            with warnings.catch_warnings():
                # peft still asks transformers by a deprecated name.
                warnings.simplefilter("ignore", FutureWarning)
                model = base if adapter is None else PeftModel.from_pretrained(base, adapter)
            self._models = {adapter: model.eval()}
        model = self._models[adapter]
        generator = torch.Generator().manual_seed(request["seed"])
        ids, drawn, logprobs, past = torch.tensor([request["prompt"]]), [], [], None
        with torch.no_grad():
            while len(drawn) < request["max_tokens"] and not (drawn and drawn[-1] in request["stop_token_ids"]):
                out = model(ids, past_key_values=past, use_cache=True)
                past, scores = out.past_key_values, torch.log_softmax(out.logits[0, -1], -1)
                sampled = torch.multinomial(scores.exp(), 1, generator=generator)
                token = int(scores.argmax() if request["temperature"] == 0 else sampled)
                drawn.append(token)
                logprobs.append(float(scores[token]))
                ids = torch.tensor([[token]])
        return drawn, logprobs


@pytest.fixture
def policy(warm_directory):
    return LoopbackPolicy(Sampling(warm_directory))


@pytest.fixture
def server(policy):
    with LoopbackServer(ScriptedChatModel(lambda _: "."), routes=policy.routes) as running:
        yield running


def make_trainer(
    tiny_run, warm_directory, directory, server, on_event=lambda event: None, *, lora=True, training=None, **changes
):
    settings = {"base_url": server.url, "max_retries": 0, "wait_seconds": 20.0, **changes}
    config = tiny_run.tiny_config(
        warm_directory,
        sampling={"server": settings},
        optimiser={"lora": {"rank": 4}} if lora else {},
        training={
            "steps": 3,
            "evaluation_questions": 0,
            "checkpoint_every": 1,
            "stop_after_failures": 4,
            **(training or {}),
        },
    )
    return tiny_run.make_trainer(config, directory, on_event)


def test_adapters_are_swapped_and_every_turn_knows_its_version(tiny_run, warm_directory, tmp_path, policy, server):
    make_trainer(tiny_run, warm_directory, tmp_path / "run", server).run()
    lines = rows(tmp_path / "run")
    assert [line["policy_version"] for line in lines] == [2, 4, 6]
    assert len(policy.loaded) == 3 == len(set(policy.loaded))
    assert len(list((tmp_path / "run" / "served" / "process-0").iterdir())) == 2, "the newest two stay"
    for trajectory in load_trajectories(tmp_path / "run" / "trajectories.jsonl"):
        assert {turn.policy_version for turn in trajectory.turns} == {trajectory.policy_version}
    for line in lines:
        # The same weights, sampled and recomputed in float32, and the correction is on without being asked for.
        assert line["update/sampler_difference"] < 1e-3
        assert line["update/sampler_difference"] <= line["update/sampler_difference_max"] < 1e-2
        assert line["update/correction_mean"] == pytest.approx(1.0, abs=1e-3)


def test_a_server_that_dies_in_a_step_and_comes_back_costs_nothing(tiny_run, warm_directory, tmp_path, policy, server):
    make_trainer(tiny_run, warm_directory, tmp_path / "whole", server).run()
    seen, num = [], len(policy.requests)
    complete = policy.routes["/v1/completions"]

    async def fail_once(request):
        if len(policy.requests) == num + 20:
            policy.forget()
            policy.requests.append(request)
            return 503, {"error": {"message": "the engine died"}}
        return await complete(request)

    policy.routes["/v1/completions"] = fail_once
    make_trainer(tiny_run, warm_directory, tmp_path / "broken", server, seen.append).run()
    assert rows(tmp_path / "broken") == [
        pytest.approx(row, rel=1e-4, abs=1e-5, nan_ok=True) if None not in row.values() else row
        for row in rows(tmp_path / "whole")
    ]


def test_a_server_that_stays_away_stops_the_run_which_goes_on_later(tiny_run, warm_directory, tmp_path, policy, server):
    def stop(event):
        if isinstance(event, StepFinished) and event.step == 1:
            server.stop()

    warned = []

    def on_event(event):
        stop(event)
        if isinstance(event, Warned):
            warned.append(event.message)

    with pytest.raises(ServiceError, match="repair the service and resume"):
        make_trainer(tiny_run, warm_directory, tmp_path / "run", server, on_event, wait_seconds=0.3).run()
    assert any("is gone" in message for message in warned)
    server.start()
    policy.forget()
    result = make_trainer(tiny_run, warm_directory, tmp_path / "run", server).run(resume=True)
    assert result.step == 3
    assert len(rows(tmp_path / "run")) == 3


def test_an_older_policy_is_corrected_for(tiny_run, warm_directory, tmp_path, policy, server):
    make_trainer(tiny_run, warm_directory, tmp_path / "run", server, max_lag=2).run()
    lines = rows(tmp_path / "run")
    assert len(policy.loaded) == 2, "the second step is sampled under the first one's weights"
    trajectories = load_trajectories(tmp_path / "run" / "trajectories.jsonl")
    behind = {t.policy_version - turn.policy_version for t in trajectories for turn in t.turns}
    assert behind == {0, 2}
    assert lines[1]["update/sampler_difference"] > 10 * lines[0]["update/sampler_difference"]
    assert lines[1]["update/correction_min"] < 0.999 or lines[1]["update/correction_max"] > 1.001


def test_an_evaluation_is_of_the_newest_weights_also_where_rollouts_may_be_of_older_ones(
    tiny_run, warm_directory, tmp_path, policy, server
):
    """With a lag that no step reaches, the last evaluation had been that of the weights before the first step."""
    training = {"evaluation_questions": 2, "evaluate_every": 3}
    make_trainer(tiny_run, warm_directory, tmp_path / "run", server, max_lag=100, training=training).run()
    versions = [int(Path(loaded).name.split("-")[1]) for loaded in policy.loaded]
    assert versions == [0, 6], "one for the evaluation at the start and the steps, one for the last evaluation"
    turns = [turn for each in load_trajectories(tmp_path / "run" / "trajectories.jsonl") for turn in each.turns]
    assert {turn.policy_version for turn in turns} == {0}


def test_trajectories_are_sampled_while_the_policy_learns_and_each_turn_is_of_the_version_that_it_records(
    tiny_run, warm_directory, tmp_path, policy, server
):
    """The first step's log-probabilities are the trainer's own; later turns are of weights that are behind, and say so."""
    config = tiny_run.tiny_config(
        warm_directory,
        sampling={"server": {"base_url": server.url, "max_retries": 0, "wait_seconds": 20.0}},
        optimiser={"lora": {"rank": 4}},
        training={"steps": 3, "evaluation_questions": 0, "checkpoint_every": 1, "staleness": 2},
    )
    tiny_run.make_trainer(config, tmp_path / "run").run()
    lines = rows(tmp_path / "run")
    trajectories = load_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert len({trajectory.id for trajectory in trajectories}) == len(trajectories) == 3 * 12
    assert lines[0]["update/sampler_difference"] < 1e-3 and lines[0]["rollout/lag_max"] == 0
    assert 0 < max(line["rollout/lag_max"] for line in lines) <= 4
    for trajectory in trajectories:
        assert list(trajectory.turn_versions) == sorted(trajectory.turn_versions)
        assert None not in {turn.policy_version for turn in trajectory.turns}


def test_a_whole_model_with_a_tied_head_is_refused(tiny_run, warm_directory, tmp_path, server):
    with pytest.raises(ConfigError, match=r"vLLM 0\.32 keeps the old head"):
        make_trainer(tiny_run, warm_directory, tmp_path / "run", server, lora=False).run()
