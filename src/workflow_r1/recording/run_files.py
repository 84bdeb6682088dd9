"""The append-only files of a run directory."""

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_r1.errors import CheckpointError, UserError
from workflow_r1.recording.atomic import full_disk_explained
from workflow_r1.trajectory import Trajectory
from workflow_r1.trajectory.blocks import COMPRESSED
from workflow_r1.trajectory.index import append_indexed

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
"""One JSON object per step."""
TRAJECTORIES = "trajectories.jsonl.gz"
"""Every trajectory that was sampled for training, compressed. A run that an earlier version began keeps its plain file."""
EVALUATIONS = "evaluations.jsonl"
"""One JSON object per evaluation."""
ALARMS = "alarms.jsonl"
"""Begin and end of each alarm: one JSON object each. The first alarm makes the file."""
SERVICES = "services.jsonl"
"""Usage of services: one JSON object per step, and one per evaluation."""
SPENT = "spent.json"
"""Amounts spent on services in all. Never cut back: a repeated step is paid twice."""

_PLAIN_TRAJECTORIES = TRAJECTORIES.removesuffix(COMPRESSED)

_ROWS = (METRICS, EVALUATIONS, ALARMS, SERVICES)


def trajectories_file(directory: Path) -> Path:
    """Return the path of a run's trajectories, whether there is such a file yet or not."""
    compressed, plain = directory / TRAJECTORIES, directory / _PLAIN_TRAJECTORIES
    return plain if plain.exists() and not compressed.exists() else compressed


class RunFiles:
    """Appends whole lines, knows the files' lengths, and cuts them back to lengths that it knew before.

    Args:
        directory: the run directory; made if absent.
        resume: True where the run continues. Otherwise the directory must not hold a run yet.
        writes: False in a process that leaves the files to another: nothing is read or written.

    Raises:
        UserError: a new run would overwrite an old one.
    """

    def __init__(self, directory: Path, *, resume: bool, writes: bool = True) -> None:
        self.directory = directory
        self._writes = writes
        if not writes:
            return
        with full_disk_explained(directory):
            directory.mkdir(parents=True, exist_ok=True)
        if not resume and any((directory / name).exists() for name in (*_ROWS, _PLAIN_TRAJECTORIES, TRAJECTORIES)):
            raise UserError(f"{directory} already holds a run: resume it, or give the new run another name")

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one line: keys sorted, floats in their shortest exact form, NaN and infinity as null."""
        if not self._writes:
            return
        clean = {key: _finite(value) for key, value in row.items()}
        line = json.dumps(clean, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        path = self.directory / name
        before = self._length(name)
        try:
            with full_disk_explained(path), path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self._cut(name, before)
            raise

    def append_trajectories(self, trajectories: Sequence[Trajectory], *, step: int) -> None:
        """Append the trajectories of a step to ``trajectories.jsonl.gz``, and their rows to its index."""
        if self._writes:
            path = trajectories_file(self.directory)
            with full_disk_explained(path):
                append_indexed(path, [trajectory.model_copy(update={"step": step}) for trajectory in trajectories])

    def lengths(self) -> dict[str, int]:
        """Return the length of each file in bytes (0 where it does not exist), for a checkpoint."""
        return {name: self._length(name) for name in self._appended()}

    def cut_back(self, lengths: Mapping[str, int]) -> None:
        """Cut each file to its length at the checkpoint, so that no step stands in it twice.

        Args:
            lengths: the result of :meth:`lengths` then; an absent name counts as 0.

        Raises:
            CheckpointError: a file is shorter than it was.
        """
        if not self._writes:
            return
        for name in (*_ROWS, _PLAIN_TRAJECTORIES, TRAJECTORIES):
            wanted, found = lengths.get(name, 0), self._length(name)
            if found < wanted:
                raise CheckpointError(
                    f"expected at least {wanted} bytes in {self.directory / name}, as at the checkpoint, but found "
                    f"{found}: put the file back, or start a new run from the saved policy"
                )
        for name in self._appended():
            self._cut(name, lengths.get(name, 0))
        for name in _ROWS:  # The trajectories may be as large as the disk.
            self._warn_of_damage(name)

    def _warn_of_damage(self, name: str) -> None:
        """Name the lines of a file that are not JSON: the run continues after them, and no report can be written of it."""
        path = self.directory / name
        for number, line in enumerate(path.read_bytes().splitlines(), start=1) if path.exists() else ():
            try:
                json.loads(line or "0")  # A blank line loses nothing.
            except (ValueError, RecursionError):
                logger.warning(
                    "%s:%d: expected one JSON object per line, found other text: put the line back from a copy",
                    path,
                    number,
                )

    def _appended(self) -> tuple[str, ...]:
        return (*_ROWS, trajectories_file(self.directory).name)

    def _length(self, name: str) -> int:
        path = self.directory / name
        return path.stat().st_size if path.exists() else 0

    def _cut(self, name: str, length: int) -> None:
        path = self.directory / name
        if path.exists() and path.stat().st_size > length:
            os.truncate(path, length)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
