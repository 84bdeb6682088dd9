"""Rollouts ahead of the updates: a stream that is never idle, or exactly so many steps behind."""

import asyncio
import json
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from workflow_r1.environment import Environment
from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.operators import OperatorResult, OperatorServices, operator
from workflow_r1.recording.events import StepFinished, StepStarted, TrajectoryFinished
from workflow_r1.trajectory import load_trajectories


def rows(directory, name="metrics.jsonl"):
    lines = [json.loads(line) for line in (directory / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in lines]


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
    trajectories = load_trajectories(directory / "trajectories.jsonl")
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


@operator(purpose="Answer later.")
async def Slow(text: str, *, services: OperatorServices) -> OperatorResult:
    """An operator that keeps its first caller waiting for long."""
    Slow.calls += 1
    await asyncio.sleep(0.4 if Slow.calls == 1 else 0.01)
    return OperatorResult(observation=text[:4], valid=True)


def slow_environment(settings, question):
    return Environment(question, config=settings.environment, operators={"Echo": Slow}, services=OperatorServices())
