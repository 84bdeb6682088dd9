"""Rollouts ahead of the updates: a stream that is never idle, or exactly so many steps behind."""

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from run_rows import rows, without_times

from workflow_r1.engines.native.rollouts import RolloutStream, StepRollouts
from workflow_r1.engines.native.update import UpdateResult
from workflow_r1.environment import QuestionEnvironment
from workflow_r1.errors import ConfigError, ServiceUnavailableError
from workflow_r1.operators import OperatorResult, OperatorServices, operator
from workflow_r1.policy.distributed import Ranks
from workflow_r1.recording.events import StepFinished, StepStarted, TrajectoryFinished
from workflow_r1.rollout import ScriptedPolicy
from workflow_r1.trajectory import load_trajectories


def config(tiny_run, warm_directory, **training):
    return tiny_run.tiny_config(warm_directory, training=training)


def versions(row, trajectories):
    """The versions of all turns of a step's trajectories, behind the one that learned from them, in optimiser steps."""
    return [
        row - (trajectory.policy_version if turn.policy_version is None else turn.policy_version)
        for trajectory in trajectories
        for turn in trajectory.turns
    ]


@pytest.fixture(scope="module")
def streamed(tiny_run, warm_directory, tmp_path_factory):
    """One uninterrupted stream, and its events."""
    directory, events = tmp_path_factory.mktemp("streams") / "whole", []
    tiny_run.make_trainer(config(tiny_run, warm_directory, staleness=2), directory, events.append).run()
    return directory, events


def by_step(directory, size=12):
    trajectories = [without_times(each) for each in load_trajectories(directory / "trajectories.jsonl")]
    assert len(trajectories) % size == 0
    return [trajectories[start : start + size] for start in range(0, len(trajectories), size)]


@pytest.mark.parametrize("staleness", [1, 2])
def test_without_overlap_every_turn_is_exactly_so_many_steps_behind(tiny_run, warm_directory, tmp_path, staleness):
    settings = config(tiny_run, warm_directory, staleness=staleness, overlap=False, evaluation_questions=0)
    tiny_run.make_trainer(settings, tmp_path / "run").run()
    metrics = rows(tmp_path / "run")
    before = [0, *(row["policy_version"] for row in metrics)]
    for index, (row, trajectories) in enumerate(zip(metrics, by_step(tmp_path / "run"), strict=True)):
        expected = before[index] - before[max(0, index - staleness)]
        assert set(versions(before[index], trajectories)) == {expected}
        assert row["rollout/lag_mean"] == row["rollout/lag_max"] == expected
        if row["update/num_optimiser_steps"]:
            assert "update/correction_capped" in row
    assert metrics[0]["update/sampler_difference"] < 1e-4 < metrics[staleness]["update/sampler_difference"]


def test_a_stream_trains_on_the_trajectories_of_every_step_in_order(streamed, tiny_run, warm_directory, tmp_path):
    """The questions, ids and seeds are those of a run in turn; the weights are at most two steps behind."""
    tiny_run.make_trainer(config(tiny_run, warm_directory), tmp_path / "turn").run()
    in_turn, stream = by_step(tmp_path / "turn"), by_step(streamed[0])
    assert [[(t.id, t.seed) for t in step] for step in stream] == [[(t.id, t.seed) for t in step] for step in in_turn]
    assert stream[0] != in_turn[0], "turns know their version in a stream"
    metrics = rows(streamed[0])[1:]
    before = [0, *(row["policy_version"] for row in metrics)]
    lags = []
    for index, trajectories in enumerate(stream):
        for trajectory in trajectories:
            assert [t.policy_version for t in trajectory.turns] == sorted(t.policy_version for t in trajectory.turns)
            assert trajectory.policy_version >= before[max(0, index - 2)]
        lags.append(max(versions(before[index], trajectories)))
    assert [row["rollout/lag_max"] for row in metrics] == lags
    assert lags[0] == 0 and max(lags) > 0


def test_every_turn_is_sampled_by_the_weights_that_it_names(streamed, tiny_run, warm_directory, tmp_path):
    """The first step's turns are of the weights that learn from them: two computations of the same numbers."""
    assert rows(streamed[0])[1]["update/sampler_difference"] < 1e-4


def test_equal_seeds_give_an_equal_stream(streamed, tiny_run, warm_directory, tmp_path):
    """With operators that wait for nothing outside of the process."""
    tiny_run.make_trainer(config(tiny_run, warm_directory, staleness=2), tmp_path / "again").run()
    assert rows(tmp_path / "again") == rows(streamed[0])


def test_a_stream_reports_each_step_from_its_first_trajectory_to_its_last(streamed):
    finished = []
    for event in streamed[1]:
        if isinstance(event, StepStarted):
            finished.append([])
        elif isinstance(event, TrajectoryFinished) and event.total == 12:
            finished[-1].append(event.done)
    assert finished == [list(range(1, 13))] * 6


@pytest.mark.parametrize("staleness", [0, 1, 2])
@pytest.mark.parametrize("mini_batch_questions", [1, 3])
@pytest.mark.parametrize("epochs", [1, 2])
def test_every_dose_resumes_exactly(tiny_run, warm_directory, tmp_path, epochs, mini_batch_questions, staleness):
    """Stopped behind step 2, with steps that were sampled and not learned from yet; the clip's range adapts meanwhile."""
    doses = {
        "epochs": epochs,
        "mini_batch_questions": mini_batch_questions,
        "staleness": staleness,
        "overlap": not staleness,
    }

    def stop(event):
        if isinstance(event, StepStarted) and event.step == 2:
            trainer.request_stop()

    settings = tiny_run.tiny_config(
        warm_directory,
        training={"steps": 4, "checkpoint_every": 8, "evaluation_questions": 0, **doses},
        objective={"clip": "matched"},
    )
    tiny_run.make_trainer(settings, tmp_path / "whole").run()
    trainer = tiny_run.make_trainer(settings, tmp_path / "run", stop)
    assert trainer.run().cause == "interrupted"
    waiting = tmp_path / "run" / "checkpoints" / "step-000002" / "pending.jsonl"
    assert waiting.exists() == (staleness > 0)
    if waiting.exists():
        assert len(load_trajectories(waiting)) == 12 * staleness
    assert tiny_run.make_trainer(settings, tmp_path / "run").run(resume=True).cause == "finished"
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert by_step(tmp_path / "run") == by_step(tmp_path / "whole")
    scales = [row["update/clip_scale"] for row in rows(tmp_path / "whole")]
    has_moved = epochs > 1 or mini_batch_questions == 1
    assert len(set(scales)) == (len(scales) if has_moved else 1)


class Services:
    """An operator whose service may be down, and whose first call may take long."""

    def __init__(self, first_seconds=0.0):
        self.is_down, self.first_seconds, self.num_calls = False, first_seconds, 0

    def environment(self, settings):
        @operator(purpose="Repeat the input.")
        async def Echo(text: str, *, services: OperatorServices) -> OperatorResult:
            if self.is_down:
                raise ServiceUnavailableError("no connection")
            self.num_calls += 1
            await asyncio.sleep(self.first_seconds if self.num_calls == 1 else 0.001)
            return OperatorResult(observation=text[:4], valid=True)

        return lambda question: QuestionEnvironment(
            question, config=settings.environment, operators={"Echo": Echo}, services=OperatorServices()
        )


def killed_behind(tiny_run, warm_directory, directory, step, **training):
    """A stream in a process of its own that kills itself when a step is complete."""
    script = Path(tiny_run.__file__)
    command = [sys.executable, str(script), str(warm_directory), str(directory), str(step), json.dumps(training)]
    killed = subprocess.run(command, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()


def test_a_killed_stream_loses_nothing_and_learns_from_nothing_twice(streamed, tiny_run, warm_directory, tmp_path):
    """The finished trajectories of later steps stand in the checkpoint; the resume samples the rest, under their names."""
    killed_behind(tiny_run, warm_directory, tmp_path / "run", 3, staleness=2)
    pending = load_trajectories(tmp_path / "run" / "checkpoints" / "step-000002" / "pending.jsonl")
    result = tiny_run.make_trainer(config(tiny_run, warm_directory, staleness=2), tmp_path / "run").run(resume=True)
    assert (result.cause, result.step) == ("finished", 6)
    resumed, whole = by_step(tmp_path / "run"), by_step(streamed[0])
    assert [[(t.id, t.seed) for t in step] for step in resumed] == [[(t.id, t.seed) for t in step] for step in whole]
    assert resumed[:2] == whole[:2], "what was complete stays as it was"
    of = {trajectory.id: trajectory for step in resumed for trajectory in step}
    assert pending
    for trajectory in pending:
        assert of[trajectory.id].turns == without_times(trajectory).turns, "what was finished is learned from as it was"
    steps = [row["step"] for row in rows(tmp_path / "run")]
    assert steps == [0, 1, 2, 3, 4, 5, 6]


class ScriptedWeights:
    """Weights that are nobody's: a script calls the operator and answers."""

    def __init__(self):
        self.published = []

    def sampler(self, temperature):
        return ScriptedPolicy(["<think>c</think><tool>Echo: x</tool>", "<think>a</think><answer>x</answer>"])

    def publish(self, version, *, exactly=False):
        self.published.append(version)

    @asynccontextmanager
    async def holding(self):
        yield


def test_a_slow_trajectory_stops_its_own_step_alone(tiny_run, tmp_path):
    """While one is waited for, those of the next two steps are sampled to their end, and none beyond: so staleness is bounded."""
    settings = config(tiny_run, tmp_path, staleness=2, steps=5)
    services, weights = Services(first_seconds=0.3), ScriptedWeights()
    sample = StepRollouts(settings, tiny_run.QUESTIONS, services.environment(settings), list, Ranks())

    def learn(num_optimiser_steps):
        return lambda: UpdateResult(metrics={}, num_optimiser_steps=num_optimiser_steps, num_tokens=0)

    with asyncio.Runner() as runner:
        stream = RolloutStream(runner, sample, weights, staleness=2, count=lambda total: lambda trajectory: None)
        stream.start(0, version=0, pending=())
        taken = [stream.take(1)]
        ahead = stream.pending()
        assert len(ahead) == 2 * 12 and services.num_calls == 3 * 12
        for step in range(1, 6):
            stream.update(step, learn(step))
            if step < 5:
                taken.append(stream.take(step + 1))
        assert stream.pending() == []
        stream.close()
    assert weights.published == [0, 1, 3, 6, 10, 15]
    assert [{trajectory.policy_version for group in step for trajectory in group} for step in taken] == [
        {0},
        {0},
        {0},
        {1},
        {3},
    ], "the trajectories of step k begin when step k - 3 is complete"
    assert {trajectory.id for trajectory in ahead} == {t.id for step in taken[1:3] for group in step for t in group}


def test_an_outage_ends_a_stream_and_what_was_finished_is_kept(tiny_run, warm_directory, tmp_path):
    settings = config(tiny_run, warm_directory, staleness=2, evaluation_questions=0, stop_after_failures=3)
    services = Services()

    def break_down(event):
        if isinstance(event, StepFinished) and event.step == 2:
            services.is_down = True

    make = services.environment(settings)
    message = r"the last with: .*no connection.*\. Step [2-5] and all before it are kept: repair the service and resume"
    with pytest.raises(ServiceUnavailableError, match=message):
        tiny_run.make_trainer(settings, tmp_path, break_down, make_environment=make).run()
    last = max((tmp_path / "checkpoints").iterdir())
    pending = load_trajectories(last / "pending.jsonl")
    assert pending and not any(trajectory.stop_reason.is_infrastructure for trajectory in pending)
    services.is_down = False
    assert tiny_run.make_trainer(settings, tmp_path, make_environment=make).run(resume=True).step == 6
    trajectories = load_trajectories(tmp_path / "trajectories.jsonl")
    assert len({trajectory.id for trajectory in trajectories}) == len(trajectories) == 6 * 12
    assert {trajectory.id for trajectory in pending} <= {trajectory.id for trajectory in trajectories}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sampling": {"schedule": "rounds"}}, "sampling.schedule"),
        ({"sampling": {"server": {"max_lag": 1}}, "optimiser": {"lora": {"rank": 2}}}, "sampling.server.max_lag"),
    ],
)
def test_what_cannot_overlap_is_refused(tiny_run, warm_directory, tmp_path, changes, named):
    settings = tiny_run.tiny_config(warm_directory, training={"staleness": 1}, **changes)
    with pytest.raises(ConfigError, match=named):
        tiny_run.make_trainer(settings, tmp_path).run()
