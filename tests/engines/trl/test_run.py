"""Whole runs by the command, in the embedded world: one and two processes, a resume, a failing service."""

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from run_rows import rows as metrics

from workflow_r1.assembly.tasks import build_scorer, build_task
from workflow_r1.config import load_run_config
from workflow_r1.engines.native.batching import draw
from workflow_r1.engines.native.run import Trainer
from workflow_r1.engines.trl.options import translate
from workflow_r1.engines.trl.run import TrlRun
from workflow_r1.errors import CheckpointError, ConfigError, ServiceUnavailableError
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.policy.model import load_policy_model
from workflow_r1.rollout.renderer import TemplateConfig
from workflow_r1.running.parts import held_out_questions, open_environments, train_questions
from workflow_r1.trajectory import ScoredTrajectory, StopReason, load_trajectories

SETTINGS = [
    "engine=trl",
    "policy.device=cpu",
    "policy.threads=1",
    "training.steps=3",
    "training.questions_per_step=4",
    "training.mini_batch_questions=2",
    "training.group_size=4",
    "training.evaluation_questions=4",
    "training.checkpoint_every=2",
    "trl.micro_batch_rows=4",
    "optimiser.learning_rate=1e-4",
]


def command(*arguments: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run ``workflow-r1 train``."""
    return subprocess.run(
        [sys.executable, "-m", "workflow_r1.cli", "train", *arguments, "--processes", str(processes)],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def train(directory: Path, *, processes: int = 1) -> list[dict[str, Any]]:
    overrides = [part for setting in SETTINGS for part in ("-o", setting)]
    done = command("--engine", "trl", *overrides, "--run-directory", str(directory), processes=processes)
    assert done.returncode == 0, done.stdout + done.stderr
    return metrics(directory)


def in_process(directory: Path, *overrides: str, make_environment: Any = None, **changes: Any) -> TrlRun:
    config = load_run_config("embedded", overrides=[*SETTINGS, *overrides])
    questions, held_out = train_questions(config), held_out_questions(config)
    training = config.training
    drawn = draw(len(questions), seed=config.seed, start=0, count=training.steps * training.questions_per_step)
    model, tokenizer = load_policy_model(config.policy)
    return TrlRun(
        config=config,
        run_directory=directory,
        model=model,
        tokenizer=tokenizer,
        questions=[questions[index] for index in drawn],
        evaluation_questions=held_out,
        make_environment=make_environment or open_environments(config),
        score=build_scorer(config.reward, build_task(config.chosen_task)),
        **changes,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps by one process."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(directory)
    return directory


def test_three_steps_leave_what_every_engine_leaves(whole: Path) -> None:
    rows = metrics(whole)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert [row["policy_version"] for row in rows[1:]] == [2, 4, 6]
    assert rows[0]["evaluation/num_questions"] == rows[3]["evaluation/num_questions"] == 4
    trajectories = load_trajectories(whole / "trajectories.jsonl")
    assert len(trajectories) == 3 * 16
    assert all(isinstance(trajectory, ScoredTrajectory) for trajectory in trajectories)
    assert rows[1]["rollout/reward"] == pytest.approx(sum(t.reward.total for t in trajectories[:16]) / 16)
    assert rows[1]["update/sampler_difference"] < 1e-4
    page = (Path(__file__).parents[3] / "docs" / "reference" / "run-directory.md").read_text(encoding="utf-8")
    for name in rows[2]:
        pattern = re.sub(r"turn_\d+", "turn_K", name)
        pattern = re.sub(r"(rollout/calls|rollout/stop|evaluation/calls)/.*", r"\1/", pattern)
        assert pattern in page, f"docs/reference/run-directory.md does not name {name}"
    assert {path.name for path in (whole / "checkpoints").iterdir() if path.name.startswith("checkpoint")} == {
        "checkpoint-4",
        "checkpoint-6",
    }
    config = load_run_config(whole / "config.toml")
    assert config.engine == "trl"
    load_policy_model(config.policy.model_copy(update={"model": str(whole / "policy")}))


def test_two_processes_do_what_one_does(whole: Path, tmp_path: Path) -> None:
    directory = tmp_path / "two"
    train(directory, processes=2)
    one, two = load_trajectories(whole / "trajectories.jsonl"), load_trajectories(directory / "trajectories.jsonl")
    assert [trajectory.id for trajectory in one] == [trajectory.id for trajectory in two]
    for first, second in zip(one[:16], two[:16], strict=True):
        assert [turn.token_ids for turn in first.turns] == [turn.token_ids for turn in second.turns]
    first, second = metrics(whole)[1], metrics(directory)[1]
    assert first.keys() == second.keys()
    for name in ("rollout/reward", "rollout/policy_tokens", "update/num_tokens", "update/num_units"):
        assert second[name] == pytest.approx(first[name], rel=1e-5), name
    # Which trajectories make an optimiser step together is drawn by each process: the second of a step may differ.
    assert second["update/loss"] == pytest.approx(first["update/loss"], abs=2e-2)


OWN_TASK = [
    f"task={Path(__file__).parents[2] / 'support' / 'letters_task.py'}:CountLetters",
    "environment.operators=[]",
]
COST = [
    # The cost is compared within the group, of which each of two processes samples a part: three groups, six each.
    *("training.questions_per_step=3", "training.mini_batch_questions=3", "trl.micro_batch_rows=3"),
    *("reward.cost.dial=0.5", "objective.advantage=group_centred"),
]


@pytest.mark.parametrize("changed", [[], OWN_TASK, COST], ids=["questions", "own task", "cost"])
def test_one_optimiser_step_is_that_of_the_native_engine_in_one_and_in_two_processes(
    tmp_path: Path, changed: list[str]
) -> None:
    overrides = [
        *("training.steps=1", "training.mini_batch_questions=4", "training.evaluation_questions=0"),
        *changed,
    ]
    in_native = ["engine=native", "trl.micro_batch_rows=8"]
    config = load_run_config("embedded", overrides=[*SETTINGS, *overrides, *in_native])
    questions = train_questions(config)
    Trainer(
        config=config,
        run_directory=tmp_path / "native",
        train_questions=questions,
        evaluation_questions=[],
        make_environment=open_environments(config),
        score=build_scorer(config.reward, build_task(config.chosen_task)),
    ).run()
    in_process(tmp_path / "one", *overrides).run()
    arguments = [part for setting in [*SETTINGS, *overrides] for part in ("-o", setting)]
    done = command("--engine", "trl", *arguments, "--run-directory", str(tmp_path / "two"), processes=2)
    assert done.returncode == 0, done.stdout + done.stderr
    [native], native_trajectories = (
        metrics(tmp_path / "native"),
        load_trajectories(tmp_path / "native" / "trajectories.jsonl"),
    )
    for name in ("one", "two"):
        trajectories = load_trajectories(tmp_path / name / "trajectories.jsonl")
        assert [t.model_dump(exclude={"seconds", "turns"}) for t in trajectories] == [
            t.model_dump(exclude={"seconds", "turns"}) for t in native_trajectories
        ]
        assert [[turn.token_ids for turn in t.turns] for t in trajectories] == [
            [turn.token_ids for turn in t.turns] for t in native_trajectories
        ]
        [found] = metrics(tmp_path / name)
        # TRL divides by the standard deviation + 1e-4, the native engine by + 1e-6; all rewards of a group differ by more.
        assert found["update/grad_norm"] == pytest.approx(native["update/grad_norm"], rel=1e-3), name
        assert found["update/loss"] == pytest.approx(native["update/loss"], abs=1e-5), name
        assert found["rollout/reward"] == native["rollout/reward"]


def test_a_resumed_run_writes_what_the_whole_one_wrote(whole: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"

    def stop_after_two(event: Any) -> None:
        if type(event).__name__ == "StepFinished" and event.step == 2:
            run.request_stop()

    run = in_process(directory, on_event=stop_after_two)
    result = run.run()
    assert (result.cause, result.step) == ("interrupted", 2)
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "of": "a step that was killed"}\n')
    with pytest.raises(CheckpointError, match="seed"):
        in_process(directory, "seed=1").run(resume=True)
    result = in_process(directory).run(resume=True)
    assert (result.cause, result.step) == ("finished", 3)
    assert metrics(directory) == metrics(whole)


def test_an_infrastructure_failure_is_masked_and_counted(tmp_path: Path) -> None:
    config = load_run_config("embedded", overrides=SETTINGS)
    make_environment = open_environments(config)
    made = 0

    def failing(question: Any) -> Any:
        nonlocal made
        made += 1
        environment = make_environment(question)
        if made == 2:

            async def step(text: str) -> Any:
                raise ServiceUnavailableError("the operators' server is down")

            environment.step = step
        return environment

    events: list[Any] = []
    options = ["training.steps=1", "training.evaluation_questions=0"]
    in_process(tmp_path, *options, make_environment=failing, on_event=events.append).run()
    trajectories = load_trajectories(tmp_path / "trajectories.jsonl")
    failed = [t for t in trajectories if t.stop_reason is StopReason.OPERATOR_FAILED]
    assert len(failed) == 1 and not isinstance(failed[0], ScoredTrajectory)
    [row] = metrics(tmp_path)
    assert (row["rollout/num_failed"], row["update/num_failed"]) == (1, 1)
    assert row["update/num_trajectories"] == row["update/num_rows_trained"] == 15
    assert row["update/num_tokens"] == sum(t.num_policy_tokens for t in trajectories if isinstance(t, ScoredTrajectory))
    assert any("1 of 16 trajectories failed" in getattr(event, "message", "") for event in events)


def test_held_out_questions_are_rendered_as_those_that_are_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = []

    def sampler(*arguments: Any, template: TemplateConfig, **options: Any) -> LocalSampler:
        templates.append(template)
        return LocalSampler(*arguments, template=template, **options)

    monkeypatch.setattr("workflow_r1.engines.trl.run.LocalSampler", sampler)
    in_process(tmp_path, "training.steps=1", "policy.template.today=2024-02-29").run()
    # The evaluation of the start, the step, the evaluation of the end.
    assert [template.today for template in templates] == [date(2024, 2, 29)] * 3


def test_nothing_but_failures_stops_the_run(tmp_path: Path) -> None:
    class Down:
        config = load_run_config("embedded", overrides=SETTINGS).environment

        async def start(self) -> Any:
            raise ServiceUnavailableError("down")

        async def close(self) -> None:
            pass

    with pytest.raises(ServiceUnavailableError):
        in_process(tmp_path, "training.evaluation_questions=0", make_environment=lambda question: Down()).run()


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("objective.advantage=leave_one_out", "objective.advantage"),
        ("training.epochs=2", "training.epochs"),
        ("objective.advantage=reward", "objective.advantage"),
        ("training.staleness=1", "training.staleness"),
        ("training.dynamic_sampling=1", "training.dynamic_sampling"),
        ("objective.trust_region=sampler", "objective.trust_region"),
        ("training.mini_batch_questions=3", "training.mini_batch_questions"),
        ("trl.micro_batch_rows=3", "trl.micro_batch_rows"),
        ("sampling.temperature=0", "sampling.temperature"),
        ("budget.minutes=5", "budget.minutes"),
    ],
)
def test_what_trl_cannot_say_is_refused(tmp_path: Path, override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        translate(load_run_config("embedded", overrides=[*SETTINGS, override]), tmp_path)
