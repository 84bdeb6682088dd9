"""A run on verl from the outside, with a process that only plays verl: its records, and its ends."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl has an environment of its own: make test-verl")

from workflow_r1.cli.dry_run import show_verl_options
from workflow_r1.config import RunConfig, dump_toml
from workflow_r1.embedded import policy_directory
from workflow_r1.engines.verl import run as verl_run
from workflow_r1.engines.verl.launch import StepReport
from workflow_r1.engines.verl.naming import name_trajectory
from workflow_r1.engines.verl.rollout_files import RolloutFiles
from workflow_r1.errors import ConfigError, ServiceUnavailableError
from workflow_r1.recording.events import (
    AlarmRaised,
    CheckpointSaved,
    Event,
    PolicySaved,
    RunStarted,
    StepFinished,
    Warned,
)
from workflow_r1.rewards import score_trajectory
from workflow_r1.running.engines import order_questions
from workflow_r1.running.parts import held_out_questions, train_questions
from workflow_r1.trajectory import OperatorCall, Question, StopReason, Trajectory, Turn, load_trajectories


class Actor:
    """Plays verl: each entry of the script is a step; at its end it leaves with an exit code."""

    def __init__(
        self, config: RunConfig, directory: Path, questions: list[Question], script: list[str], code: int
    ) -> None:
        self.config, self.directory, self.questions = config, directory, questions
        self.script, self.code, self.step = script, code, 0
        self.log = directory / "verl" / "log-1.txt"
        self.stopped = False

    def reports(self) -> Iterator[StepReport]:
        if self.step < len(self.script):
            self.step += 1
            self.play(self.script[self.step - 1])
            yield StepReport(self.step, {"actor/loss": 0.5, "actor/grad_norm": 2.0, "timing_s/gen": 2.0})

    def play(self, scene: str) -> None:
        size = self.config.training.questions_per_step
        for question in self.questions[(self.step - 1) * size : self.step * size]:
            for member in range(self.config.training.group_size - (scene == "one crashes")):
                failed = scene == "all fail" or (scene == "one fails" and member == 0)
                name = name_trajectory(question, seed=self.config.seed, use="training", step=self.step, member=member)
                trajectory = Trajectory(
                    id=name.trajectory_id,
                    group_id=name.group_id,
                    question=question,
                    prompt_token_ids=(1,),
                    turns=(
                        Turn(
                            index=1,
                            text="x",
                            token_ids=(2, 3),
                            logprobs=(-1.0, -1.0),
                            well_formed=False,
                            # A step in which a service fails and carries out nothing is an outage.
                            calls=(OperatorCall(operator="Search", input="x", observation="y", valid=True),)
                            if scene == "one fails"
                            else (),
                        ),
                    ),
                    stop_reason=StopReason.OPERATOR_FAILED if failed else StopReason.MAX_TURNS,
                    error="the LLM is down" if failed else None,
                )
                scored = trajectory if failed else score_trajectory(trajectory)
                RolloutFiles(self.directory).append(scored, use="training", step=self.step)
        if scene == "checkpoint":
            place = self.directory / "checkpoints" / f"global_step_{self.step}" / "actor" / "huggingface"
            place.mkdir(parents=True)
            (place / "config.json").write_text("{}")
            (place.parents[2] / verl_run.LATEST).write_text(str(self.step))

    def exit_code(self) -> int | None:
        return self.code if self.step == len(self.script) else None

    def stop(self) -> None:
        self.stopped = True

    def last_lines(self) -> str:
        return "CUDA out of memory"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpu_config: Callable[..., RunConfig]) -> Callable[..., Any]:
    """Runs a script; returns the result, the events and the run directory."""

    def play(script: list[str], *, code: int = 0, steps: int | None = None, resume: bool = False) -> Any:
        config = cpu_config(f"training.steps={steps or len(script)}")
        (tmp_path / "config.toml").write_text(dump_toml(config))
        questions = order_questions(config.training, train_questions(config), seed=config.seed)
        events: list[Event] = []
        run = verl_run.VerlTraining(
            config=config,
            run_directory=tmp_path,
            model=str(policy_directory()),
            train_questions=questions,
            evaluation_questions=held_out_questions(config),
            on_event=events.append,
        )
        actor = Actor(config, tmp_path, questions, script, code)
        monkeypatch.setattr(verl_run, "start", lambda *_, **__: actor)
        monkeypatch.setattr(verl_run, "POLL_SECONDS", 0.0)
        play.events, play.run, play.actor = events, run, actor  # type: ignore[attr-defined]
        return run.run(resume=resume), events

    return play


def rows(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_steps_become_rows_events_and_a_policy(play: Callable[..., Any], tmp_path: Path) -> None:
    result, events = play(["plain", "checkpoint"])
    assert (result.cause, result.step) == ("finished", 2)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]
    assert rows(tmp_path)[0]["update/loss"] == 0.5
    assert rows(tmp_path)[0]["rollout/num_trajectories"] == 16
    assert rows(tmp_path)[0]["time/sampled_tokens_per_second"] == 16
    assert len(load_trajectories(tmp_path / "trajectories.jsonl")) == 32
    assert (tmp_path / "policy" / "config.json").is_file()
    kinds = [type(event) for event in events]
    assert kinds[0] is RunStarted and kinds[-1] is PolicySaved
    assert kinds.count(StepFinished) == 2 and kinds.count(CheckpointSaved) == 1
    assert events[0].num_parameters > 10**6


def test_failures_are_counted_and_told(play: Callable[..., Any], tmp_path: Path) -> None:
    _, events = play(["one fails"])
    assert rows(tmp_path)[0]["rollout/num_failed"] == 4
    (failed,) = [event.message for event in events if isinstance(event, Warned)]
    assert "4 of 16 trajectories failed" in failed and "the LLM is down" in failed
    (equal,) = [event.alarm for event in events if isinstance(event, AlarmRaised)]
    assert "this run could not learn" in equal.message  # No trajectory of this double is right.


def test_a_step_of_failures_ends_the_run(play: Callable[..., Any]) -> None:
    with pytest.raises(ServiceUnavailableError, match=r"all 16 trajectories of step 1 failed.*the LLM is down"):
        play(["all fail", "plain"])
    assert play.actor.stopped  # type: ignore[attr-defined]


def test_a_trajectory_that_crashed_ends_the_run(play: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="step 1: expected 16 trajectories, found 12"):
        play(["one crashes"])
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_verl_that_breaks_off_shows_the_end_of_its_log(play: Callable[..., Any]) -> None:
    with pytest.raises(ServiceUnavailableError, match=r"step 1 of 3 with exit code 1.*\n.*out of memory"):
        play(["plain"], code=1, steps=3)


def test_a_verl_that_leaves_early_is_no_success(play: Callable[..., Any]) -> None:
    with pytest.raises(ServiceUnavailableError, match="step 1 of 3 with exit code 0"):
        play(["plain"], steps=3)


def test_a_resume_cuts_back_to_the_checkpoint(play: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailableError):
        play(["checkpoint", "plain"], code=1, steps=3)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]
    with pytest.raises(ServiceUnavailableError):
        play([], code=1, steps=3, resume=True)
    assert [row["step"] for row in rows(tmp_path)] == [1]
    assert len(load_trajectories(tmp_path / "trajectories.jsonl")) == 16


def test_dry_run_shows_options_with_their_sources_and_the_memory(
    cpu_config: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    show_verl_options(cpu_config(), Console(width=200))
    shown = capsys.readouterr().out
    assert "actor_rollout_ref.rollout.n" in shown and "training.group_size" in shown
    wrong = cpu_config("verl.options.trainer.devise=cpu")
    with pytest.raises(ConfigError, match=r"trainer\.device"):
        show_verl_options(wrong, Console())
