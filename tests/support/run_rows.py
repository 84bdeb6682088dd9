"""Rows of a run's files, as two runs of one seed must write them alike; and their trajectories likewise."""

import json
from pathlib import Path
from typing import Any

from workflow_r1.trajectory import Trajectory


def rows(directory: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Return the rows of a file, without the quantities that differ between two equal runs."""
    lines = (directory / name).read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if not key.startswith("time/")} for line in lines]


def without_times(trajectory: Trajectory) -> Trajectory:
    """Return the trajectory with all its seconds at 0."""
    turns = [
        turn.model_copy(update={"calls": tuple(call.model_copy(update={"seconds": 0.0}) for call in turn.calls)})
        for turn in trajectory.turns
    ]
    return trajectory.model_copy(update={"seconds": 0.0, "turns": tuple(turns)})
