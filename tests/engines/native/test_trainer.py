import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_rows import rows
from transformers import AutoModelForCausalLM

from workflow_r1.engines.native.update import PolicyUpdate, UpdateResult
from workflow_r1.errors import CheckpointError, ConfigError, DataError, ServiceUnavailableError, UserError
from workflow_r1.operators import OperatorResult, OperatorServices
from workflow_r1.recording.events import (
    AlarmRaised,
    CheckpointSaved,
    EvaluationFinished,
    StepFinished,
    StepStarted,
    TrajectoryFinished,
    Warned,
)
from workflow_r1.recording.recorder import RunRecorder
from workflow_r1.recording.run_lock import hold_run_directory
from workflow_r1.trajectory import ScoredTrajectory, load_trajectories


def same_trajectories(one, other):
    def plain(directory):
        trajectories = load_trajectories(directory / "trajectories.jsonl")
        dumped = [trajectory.model_dump(mode="json") for trajectory in trajectories]
        for trajectory in dumped:
            trajectory.pop("seconds")
            for turn in trajectory["turns"]:
                for call in turn["calls"]:
                    call.pop("seconds")
        return dumped

    return plain(one) == plain(other)


@pytest.fixture(scope="module")
def whole(tiny_run, warm_directory, tmp_path_factory):
    """One uninterrupted run, its events and its result."""
    directory, events = tmp_path_factory.mktemp("runs") / "whole", []
    result = tiny_run.make_trainer(tiny_run.tiny_config(warm_directory), directory, events.append).run()
    return directory, events, result


@pytest.mark.parametrize(("clip", "expected"), [("fixed", ["clip_inactive"]), ("none", [])])
def test_only_a_run_with_a_clip_raises_clip_inactive(tiny_run, tmp_path, monkeypatch, clip, expected):
    objective = {"clip": clip, "clip_low": None, "clip_high": None}
    config, told, recorders = tiny_run.tiny_config(tmp_path, objective=objective), [], []

    def keep(*arguments, **settings):
        recorders.append(RunRecorder(*arguments, **settings))
        return recorders[0]

    monkeypatch.setattr("workflow_r1.engines.native.run.RunRecorder", keep)
    tiny_run.make_trainer(config, tmp_path / "run", told.append)
    row = {"update/ratio_mean": 1.0, "update/approx_kl": 0.2}
    row |= {f"update/clip_fraction_{side}": 0.0 for side in ("low", "high")}
    with recorders[0].holding(resume=False):
        recorders[0].continue_from({})
        for step in (1, 2):
            recorders[0].record_step({"step": step, **row}, num_steps=6)
    assert [each.alarm.kind for each in told if isinstance(each, AlarmRaised)] == expected


def test_what_a_run_leaves_behind(whole):
    directory, events, result = whole
    assert (result.cause, result.step) == ("finished", 6)
    metrics = rows(directory)
    assert [row["step"] for row in metrics] == [0, 1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in metrics if "evaluation/exact_match" in row] == [0, 3, 6]
    assert [row["step"] for row in rows(directory, "evaluations.jsonl")] == [0, 3, 6]
    assert {"evaluation/class/even/exact_match", "evaluation/class/odd/exact_match_low"} <= metrics[0].keys()
    step = metrics[1]
    for key in ("reward", "exact_match", "no_answer_rate", "malformed_rate", "turns", "calls/Echo", "stop/answered"):
        assert f"rollout/{key}" in step
    for key in ("loss", "ratio_mean", "clip_fraction_low", "entropy", "grad_norm", "sampler_kl", "turn_1/ratio_mean"):
        assert f"update/{key}" in step
    assert all("update/later/ratio_mean" in row for row in metrics if row.get("update/num_optimiser_steps", 0) > 1)
    for path in (directory / "metrics.jsonl", directory / "evaluations.jsonl"):
        assert all(list(json.loads(line)) == sorted(json.loads(line)) for line in path.read_text().splitlines())
    trajectories = load_trajectories(directory / "trajectories.jsonl")
    assert len(trajectories) == 6 * 3 * 4
    assert all(isinstance(trajectory, ScoredTrajectory) for trajectory in trajectories)
    assert len({trajectory.id for trajectory in trajectories}) == len(trajectories)
    assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == ["step-000004", "step-000006"]
    AutoModelForCausalLM.from_pretrained(directory / "policy")
    kinds = [type(event) for event in events]
    assert kinds.count(StepStarted) == kinds.count(StepFinished) == 6
    assert kinds.count(TrajectoryFinished) == 6 * 12 + 3 * 4
    assert kinds.count(EvaluationFinished) == 3 and kinds.count(CheckpointSaved) == 3


def test_sampler_and_trainer_agree(whole):
    """The context that is trained on is the context that was sampled from, token for token."""
    differences = [row["update/sampler_difference"] for row in rows(whole[0]) if "update/sampler_difference" in row]
    assert len(differences) >= 4 and max(differences) < 1e-4


def test_it_learns(tiny_run, warm_directory, tmp_path):
    training = {"steps": 12, "questions_per_step": 8, "mini_batch_questions": 8, "evaluate_every": 0}
    config = tiny_run.tiny_config(warm_directory, training=training)
    tiny_run.make_trainer(config, tmp_path).run()
    rewards = [row["rollout/reward"] for row in rows(tmp_path)[1:]]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15


def test_equal_seeds_give_equal_bytes(whole, tiny_run, warm_directory, tmp_path):
    tiny_run.make_trainer(tiny_run.tiny_config(warm_directory), tmp_path / "again").run()
    assert rows(tmp_path / "again") == rows(whole[0])
    assert same_trajectories(tmp_path / "again", whole[0])
    config = tiny_run.tiny_config(warm_directory, training={"steps": 1}).model_copy(update={"seed": 1})
    tiny_run.make_trainer(config, tmp_path / "other").run()
    assert rows(tmp_path / "other")[1] != rows(whole[0])[1]


def test_sampled_evaluations_change_nothing_else(whole, tiny_run, warm_directory, tmp_path):
    config = tiny_run.tiny_config(warm_directory, training={"steps": 3, "evaluation_samples": 2})
    tiny_run.make_trainer(config, tmp_path / "run").run()
    sampled = rows(tmp_path / "run")
    rates = [row["evaluation/sampled/exact_match"] for row in sampled if "evaluation/sampled/exact_match" in row]
    assert [row["step"] for row in sampled if "evaluation/sampled/pass_all" in row] == [0, 3]
    assert all(row["evaluation/sampled/num_scored"] == 2 * 4 for row in sampled if row["step"] in (0, 3))
    assert all(0 <= rate <= 1 for rate in rates)
    others = [{key: value for key, value in row.items() if "/sampled/" not in key} for row in sampled]
    assert others == rows(whole[0])[:4]


def test_killed_and_resumed_equals_uninterrupted(whole, tiny_run, warm_directory, tmp_path):
    """Step 3 is on the disk but after the last checkpoint: the resume cuts it off and repeats it."""
    script = Path(tiny_run.__file__)
    killed = subprocess.run(
        [sys.executable, str(script), str(warm_directory), str(tmp_path / "run"), "3"], capture_output=True, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [row["step"] for row in rows(tmp_path / "run")] == [0, 1, 2, 3]
    result = tiny_run.make_trainer(tiny_run.tiny_config(warm_directory), tmp_path / "run").run(resume=True)
    assert (result.cause, result.step) == ("finished", 6)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert rows(tmp_path / "run", name) == rows(whole[0], name)
    assert same_trajectories(tmp_path / "run", whole[0])


def test_stopped_and_resumed_equals_uninterrupted(whole, tiny_run, warm_directory, tmp_path):
    def stop(event):
        if isinstance(event, StepStarted) and event.step == 1:
            trainer.request_stop()

    config = tiny_run.tiny_config(warm_directory)
    trainer = tiny_run.make_trainer(config, tmp_path / "run", stop)
    result = trainer.run()
    assert (result.cause, result.step) == ("interrupted", 1)
    assert (result.policy_directory / "config.json").is_file()
    assert tiny_run.make_trainer(config, tmp_path / "run").run(resume=True).cause == "finished"
    assert rows(tmp_path / "run") == rows(whole[0])


def test_ctrl_c_once_stops_cleanly_and_twice_at_once(tiny_run, warm_directory, tmp_path):
    def interrupt(event):
        if isinstance(event, StepStarted):
            signal.raise_signal(signal.SIGINT)

    config = tiny_run.tiny_config(warm_directory)
    before = signal.getsignal(signal.SIGINT)
    result = tiny_run.make_trainer(config, tmp_path / "once", interrupt).run()
    assert (result.cause, result.step) == ("interrupted", 1)

    def twice(event):
        interrupt(event)
        interrupt(event)

    with pytest.raises(KeyboardInterrupt):
        tiny_run.make_trainer(config, tmp_path / "twice", twice).run()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_may_be_extended(tiny_run, warm_directory, tmp_path):
    def short(steps):
        return tiny_run.tiny_config(warm_directory, training={"steps": steps, "evaluation_questions": 0})

    tiny_run.make_trainer(short(1), tmp_path).run()
    assert tiny_run.make_trainer(short(1), tmp_path).run(resume=True).step == 1
    assert tiny_run.make_trainer(short(2), tmp_path).run(resume=True).step == 2
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


def test_a_budget_of_minutes_ends_a_run_at_the_end_of_a_step(whole, tiny_run, warm_directory, tmp_path):
    config = tiny_run.tiny_config(warm_directory, budget={"minutes": 1e-6})
    result = tiny_run.make_trainer(config, tmp_path).run()
    assert (result.cause, result.step, result.exceeded.key) == ("budget", 1, "budget.minutes")
    assert [row["step"] for row in rows(tmp_path, "evaluations.jsonl")] == [0, 1]
    assert tiny_run.make_trainer(config, tmp_path).run(resume=True).step == 1
    assert tiny_run.make_trainer(tiny_run.tiny_config(warm_directory), tmp_path).run(resume=True).cause == "finished"


def paying(tiny_run, config):
    """Accounts, and environments whose operator asks a metered LLM once."""
    from workflow_r1.assembly.services import open_accounts
    from workflow_r1.environment import QuestionEnvironment
    from workflow_r1.inference import ChatRequest, ScriptedChatModel
    from workflow_r1.operators import OperatorResult, operator
    from workflow_r1.trajectory import Message

    @operator(purpose="Ask.")
    async def Echo(text: str, *, services: OperatorServices):
        reply = await services.require_chat()(ChatRequest((Message(role="user", content=text),)))
        return OperatorResult(observation=text[:4], usage=reply.usage)

    accounts = open_accounts(config.prices, config.budget)
    chat = ScriptedChatModel(lambda messages: "two words")
    limited = accounts.limit_chat(chat, endpoint="gpt-x")
    services = OperatorServices(chat=accounts.meter_chat(limited, endpoint="gpt-x"))

    def make_environment(question):
        return QuestionEnvironment(question, config=config.environment, operators={"Echo": Echo}, services=services)

    return {"accounts": accounts, "make_environment": make_environment}, chat


PRICES = {"models": {"gpt-x": {"prompt_per_million": 1e6, "completion_per_million": 1e6}}}


@pytest.fixture(scope="module")
def paid(tiny_run, warm_directory, tmp_path_factory):
    """An uninterrupted run whose operator asks a priced LLM."""
    directory = tmp_path_factory.mktemp("runs") / "paid"
    config = tiny_run.tiny_config(warm_directory, prices=PRICES)
    services, chat = paying(tiny_run, config)
    tiny_run.make_trainer(config, directory, **services).run()
    return directory, len(chat.requests)


def test_what_services_took_adds_up(paid):
    directory, num_requests = paid
    booked = rows(directory, "services.jsonl")
    stages = [(row["step"], row["stage"]) for row in booked]
    assert stages == [(0, "evaluation"), (1, "training"), (2, "training"), (3, "training"), (3, "evaluation"),
                      (4, "training"), (5, "training"), (6, "training"), (6, "evaluation")]  # fmt: skip
    assert sum(row["total/calls"] for row in booked) == num_requests
    assert all(row["operator/Echo/calls"] == row["endpoint/gpt-x/calls"] == row["total/calls"] for row in booked)
    # One word in and two out, each at a price of 1.
    spent = json.loads((directory / "spent.json").read_text())
    assert (spent["calls"], spent["tokens"], spent["money"]) == (num_requests, 3 * num_requests, 3.0 * num_requests)
    trajectories = load_trajectories(directory / "trajectories.jsonl")
    first = [trajectory for trajectory in trajectories if trajectory.policy_version == 0]
    step = rows(directory)[1]
    assert step["rollout/cost"] == pytest.approx(sum(t.usage.cost for t in first) / len(first))
    assert booked[1]["total/paid"] == pytest.approx(step["rollout/cost"] * len(first))


@pytest.mark.parametrize("stopped_in", [(0, "evaluation"), (3, "training"), (6, "evaluation")])
def test_a_budget_stops_a_run_that_a_resume_finishes(paid, tiny_run, warm_directory, tmp_path, stopped_in):
    """Wherever the limit is met, the run with both halves equals the uninterrupted one."""
    limit = 0
    for row in rows(paid[0], "services.jsonl"):
        if (row["step"], row["stage"]) == stopped_in:
            limit += max(1, row["total/calls"] // 2)
            break
        limit += row["total/calls"]
    config = tiny_run.tiny_config(warm_directory, prices=PRICES, budget={"calls": limit})
    services, chat = paying(tiny_run, config)
    result = tiny_run.make_trainer(config, tmp_path, **services).run()
    assert (result.cause, result.exceeded.key, len(chat.requests)) == ("budget", "budget.calls", limit)
    assert result.step == stopped_in[0] - (stopped_in[1] == "training")
    assert json.loads((tmp_path / "spent.json").read_text())["calls"] == limit
    services, chat = paying(tiny_run, config)
    assert tiny_run.make_trainer(config, tmp_path, **services).run(resume=True).cause == "budget"
    assert chat.requests == [], "a resume within the same budget has nothing left to spend"
    config = tiny_run.tiny_config(warm_directory, prices=PRICES, budget={"calls": 10 * limit + 10000})
    services, _ = paying(tiny_run, config)
    assert tiny_run.make_trainer(config, tmp_path, **services).run(resume=True).cause == "finished"
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert rows(tmp_path, name) == rows(paid[0], name)
    assert same_trajectories(tmp_path, paid[0])
    assert json.loads((tmp_path / "spent.json").read_text())["calls"] >= paid[1]


def test_failing_services_are_counted_and_left_out(tiny_run, warm_directory, tmp_path):
    from workflow_r1.environment import QuestionEnvironment
    from workflow_r1.operators import operator

    num_calls = 0

    @operator(purpose="Fail every second time.")
    async def Echo(text: str, *, services: OperatorServices):
        nonlocal num_calls
        num_calls += 1
        if num_calls % 2:
            raise ServiceUnavailableError("down")
        return OperatorResult(observation=text[:4])

    config = tiny_run.tiny_config(warm_directory, training={"steps": 1, "questions_per_step": 8})

    def make_environment(question):
        return QuestionEnvironment(
            question, config=config.environment, operators={"Echo": Echo}, services=OperatorServices()
        )

    events = []
    tiny_run.make_trainer(config, tmp_path, events.append, make_environment=make_environment).run()
    assert any(isinstance(event, Warned) and "failed, the first with: Service" in event.message for event in events)
    row = rows(tmp_path)[1]
    failed = [t for t in load_trajectories(tmp_path / "trajectories.jsonl") if not isinstance(t, ScoredTrajectory)]
    assert len(failed) == row["rollout/num_failed"] == row["update/num_failed"] > 0
    assert {trajectory.stop_reason for trajectory in failed} == {"operator_failed"}
    assert row["rollout/num_trajectories"] == 32


def test_a_dead_service_ends_the_run_and_a_resume_goes_on(whole, tiny_run, warm_directory, tmp_path):
    """The service fails throughout step 3; everything before is kept, and nothing of step 3 is."""
    down = False

    def watch(event):
        nonlocal down
        down = (isinstance(event, StepStarted) and event.step == 3) or (down and not isinstance(event, StepFinished))

    config = tiny_run.tiny_config(warm_directory)

    def make_environment(question):
        environment = tiny_run.make_environment(config, question)
        if down:

            async def fail(text):
                raise ServiceUnavailableError("down")

            environment.step = fail
        return environment

    with pytest.raises(ServiceUnavailableError, match="all 12 trajectories of step 3 failed"):
        tiny_run.make_trainer(config, tmp_path, watch, make_environment=make_environment).run()
    assert tiny_run.make_trainer(config, tmp_path).run(resume=True).step == 6
    assert rows(tmp_path) == rows(whole[0])
    assert same_trajectories(tmp_path, whole[0])


@pytest.mark.parametrize(
    ("objective", "optimiser"),
    [
        ({"kl_coefficient": 0.01}, {}),
        ({"kl_coefficient": 0.01, "preset": "gspo"}, {"lora": {"rank": 4}}),
        ({"preset": "grpo", "correction_cap": 2.0}, {"precision": "bfloat16", "gradient_checkpointing": True}),
    ],
)
def test_other_ways_to_train(tiny_run, warm_directory, tmp_path, objective, optimiser):
    config = tiny_run.tiny_config(
        warm_directory,
        objective={"clip_low": None, "clip_high": None} | objective,
        optimiser=optimiser,
        training={"steps": 2, "evaluation_questions": 0, "checkpoint_every": 1},
    )
    tiny_run.make_trainer(config, tmp_path / "whole").run()
    one = config.model_copy(update={"training": config.training.model_copy(update={"steps": 1})})
    tiny_run.make_trainer(one, tmp_path / "parts").run()
    tiny_run.make_trainer(config, tmp_path / "parts").run(resume=True)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_bad_input(tiny_run, warm_directory, tmp_path):
    config = tiny_run.tiny_config(warm_directory, training={"steps": 1, "evaluation_questions": 0})
    with pytest.raises(DataError, match="at least one question"):
        tiny_run.make_trainer(config, tmp_path, train_questions=[])
    greedy = tiny_run.tiny_config(warm_directory, sampling={"temperature": 0.0})
    with pytest.raises(ConfigError, match=r"sampling\.temperature"):
        tiny_run.make_trainer(greedy, tmp_path)
    tiny_run.make_trainer(config, tmp_path).run()
    with pytest.raises(UserError, match="already holds a run"):
        tiny_run.make_trainer(config, tmp_path).run()
    other = config.model_copy(update={"objective": config.objective.model_copy(update={"clip_low": 0.1})})
    with pytest.raises(CheckpointError, match=r"objective\.clip_low: 0\.2 in the checkpoint, 0\.1 now"):
        tiny_run.make_trainer(other, tmp_path).run(resume=True)
    with pytest.raises(CheckpointError, match="train_questions"):
        tiny_run.make_trainer(config, tmp_path, train_questions=tiny_run.QUESTIONS[:4]).run(resume=True)


def test_resuming_before_the_first_checkpoint_says_so(tiny_run, warm_directory, tmp_path):
    events = []
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    config = tiny_run.tiny_config(warm_directory, training={"steps": 1, "evaluation_questions": 0})
    tiny_run.make_trainer(config, tmp_path, events.append).run(resume=True)
    assert [row["step"] for row in rows(tmp_path)] == [1]
    assert any(isinstance(event, Warned) and "from its beginning" in event.message for event in events)


def test_a_run_with_adapters_on_a_tied_head_saves_the_policy_that_it_trained(tiny_run, warm_directory, tmp_path):
    """The whole way: trained, merged and untied, read back; the policy of the start has other logits."""
    config = tiny_run.tiny_config(
        warm_directory,
        optimiser={"lora": {"rank": 4, "target_modules": ("lm_head",)}, "learning_rate": 0.05},
        training={"steps": 1, "evaluation_questions": 0},
    )
    trainer = tiny_run.make_trainer(config, tmp_path / "run")
    result = trainer.run()
    ids = torch.arange(3, 60)[None]
    start, saved = (
        AutoModelForCausalLM.from_pretrained(directory).eval()
        for directory in (warm_directory, result.policy_directory)
    )
    assert start.config.tie_word_embeddings
    with torch.no_grad():
        live = trainer._model(input_ids=ids).logits
        assert (live - start(input_ids=ids).logits).abs().max() > 0.01
        torch.testing.assert_close(saved(input_ids=ids).logits, live, atol=1e-4, rtol=0)


def test_two_processes_do_not_train_in_one_directory(tiny_run, warm_directory, tmp_path):
    config = tiny_run.tiny_config(warm_directory, training={"steps": 1, "evaluation_questions": 0})
    with hold_run_directory(tmp_path / "run"), pytest.raises(UserError, match="is at work there"):
        tiny_run.make_trainer(config, tmp_path / "run").run()
    assert list((tmp_path / "run").iterdir()) == []


def test_rollouts_and_held_out_questions_are_scored_by_the_configured_reward(tiny_run, warm_directory, tmp_path):
    """Half the F1, less the cost in turns; alone in its group, a held-out answer has nothing to be dearer than."""
    config = tiny_run.tiny_config(
        warm_directory,
        reward={"weights": {"f1": 0.5}, "cost": {"dial": 0.5, "kind": "turns"}},
        objective={"advantage": "group_centred", "credit": "return_to_go"},
        training={"steps": 1, "evaluate_every": 0},
    )
    tiny_run.make_trainer(config, tmp_path / "run").run()
    start, step = rows(tmp_path / "run")
    assert start["evaluation/f1"] > 0
    assert start["evaluation/reward"] == pytest.approx(0.5 * start["evaluation/f1"])
    assert start["evaluation/part/cost"] == 0
    assert step["rollout/part/cost"] < 0
    assert step["rollout/reward"] == pytest.approx(0.5 * step["rollout/f1"] + step["rollout/part/cost"])
    scored = load_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert {"f1", "cost", "exact_match"} <= scored[0].reward.parts.keys()


@pytest.mark.parametrize(("num_optimiser_steps", "times"), [(0, 1), (1, 3)])
def test_a_question_is_not_asked_again_of_the_weights_that_answered_it(
    tiny_run, warm_directory, tmp_path, monkeypatch, num_optimiser_steps, times
):
    """Steps without an optimiser step leave the weights alone: the evaluations after them have the first one's figures."""
    config = tiny_run.tiny_config(warm_directory, training={"steps": 2, "evaluate_every": 1, "evaluation_questions": 3})
    held_out = [each.model_copy(update={"id": f"held-out-{each.id}"}) for each in tiny_run.QUESTIONS[:3]]
    asked = []

    def make_environment(question):
        asked.append(question.id)
        return tiny_run.make_environment(config, question)

    monkeypatch.setattr(
        PolicyUpdate,
        "step",
        lambda *_, **__: UpdateResult(metrics={}, num_optimiser_steps=num_optimiser_steps, num_tokens=0),
    )
    tiny_run.make_trainer(config, tmp_path, evaluation_questions=held_out, make_environment=make_environment).run()
    assert sorted(name for name in asked if "held-out" in name) == sorted(times * [each.id for each in held_out])
    first, *others = rows(tmp_path, "evaluations.jsonl")
    assert len(others) == 2
    assert all({**other, "step": 0} == first for other in others)
