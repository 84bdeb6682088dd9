"""Trajectories of verl's agent-loop workers on their way to ``trajectories.jsonl``.

Many processes on several nodes write at once, so each appends to a file of its own, in a directory for each step; whoever
follows the run collects a step's files when verl has finished the step::

    verl/rollouts/training-3/node1-4711.jsonl
    verl/rollouts/evaluation-3/node2-815.jsonl
"""

import os
import shutil
import socket
from pathlib import Path
from typing import Literal

from workflow_r1.trajectory import Trajectory, append_trajectories, load_trajectories

Use = Literal["training", "evaluation"]
"""What a trajectory was sampled for."""


class RolloutFiles:
    """The files below one run directory."""

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory / "verl" / "rollouts"

    def append(self, trajectory: Trajectory, *, use: Use, step: int) -> None:
        """Append a trajectory to this process's file of the step."""
        directory = self._step(use, step)
        directory.mkdir(parents=True, exist_ok=True)
        append_trajectories(directory / f"{socket.gethostname()}-{os.getpid()}.jsonl", [trajectory])

    def collect(self, use: Use, step: int) -> list[Trajectory]:
        """Return all trajectories of a step, in the order of their ids."""
        found: list[Trajectory] = []
        for file in sorted(self._step(use, step).glob("*.jsonl")):
            found += load_trajectories(file)
        return sorted(found, key=lambda trajectory: trajectory.id)

    def count(self, use: Use, step: int) -> int:
        """Return how many trajectories of a step have ended so far."""
        return sum(file.read_bytes().count(b"\n") for file in self._step(use, step).glob("*.jsonl"))

    def discard(self, use: Use, step: int) -> None:
        """Remove a step's files once they are collected."""
        shutil.rmtree(self._step(use, step), ignore_errors=True)

    def discard_all(self) -> None:
        """Remove what an earlier process left behind: its step is sampled anew."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _step(self, use: Use, step: int) -> Path:
        return self._directory / f"{use}-{step}"
