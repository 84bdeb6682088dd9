"""Trajectories of verl's agent-loop workers on their way to ``trajectories.jsonl``.

Many processes on several nodes write at once, so each appends to a file of its own, in a directory for each step; the
follower of the run collects a step's files when verl has finished the step::

    verl/rollouts/training-3/node1-4711.jsonl
    verl/rollouts/evaluation-3/node2-815.jsonl
"""

import os
import shutil
import socket
from pathlib import Path
from typing import Literal

from workflow_r1.trajectory import Trajectory, append_trajectories
from workflow_r1.trajectory.storage import parse_trajectory

Use = Literal["training", "evaluation"]
"""Purpose of a trajectory."""


class RolloutFiles:
    """The files below one run directory."""

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory / "verl" / "rollouts"

    def append(self, trajectory: Trajectory, *, use: Use, step: int) -> None:
        """Append a trajectory to this process's file of the step."""
        directory = self._step(use, step)
        directory.mkdir(parents=True, exist_ok=True)
        append_trajectories(directory / f"{socket.gethostname()}-{os.getpid()}.jsonl", [trajectory])

    def follow(self, use: Use, step: int) -> "RolloutReader":
        """Read a step's trajectories while they are written."""
        return RolloutReader(self._step(use, step))

    def discard(self, use: Use, step: int) -> None:
        """Remove a step's files once they are read."""
        shutil.rmtree(self._step(use, step), ignore_errors=True)

    def discard_all(self) -> None:
        """Remove the rollouts of an earlier process: their step is sampled anew."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _step(self, use: Use, step: int) -> Path:
        return self._directory / f"{use}-{step}"


class RolloutReader:
    """The trajectories of one step, as far as they are there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[Path, int] = {}
        self.trajectories: list[Trajectory] = []
        """All trajectories that were read so far, in no order."""

    def read(self) -> list[Trajectory]:
        """Return those that ended since the last call."""
        new: list[Trajectory] = []
        for file in sorted(self._directory.glob("*.jsonl")):
            seen = self._read.get(file, 0)
            if file.stat().st_size > seen:
                text = file.read_bytes()[seen:]
                whole = text[: text.rfind(b"\n") + 1]
                self._read[file] = seen + len(whole)
                new += [parse_trajectory(line, str(file)) for line in whole.splitlines()]
        self.trajectories += new
        return new
