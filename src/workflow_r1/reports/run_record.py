"""The record that a run has left in its directory so far."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.errors import DataError, found_at
from workflow_r1.recording.run_files import trajectories_file
from workflow_r1.trajectory import Trajectory
from workflow_r1.trajectory.index import TrajectoryIndex
from workflow_r1.trajectory.storage import iterate_lines

Row = dict[str, Any]
"""One line of ``metrics.jsonl`` or ``evaluations.jsonl``."""


@dataclass(frozen=True)
class RunRecord:
    """A run directory, read."""

    directory: Path
    """Run directory."""
    config: RunConfig
    """The resolved configuration."""
    environment: Row
    """Versions, machine, command; empty where the file is absent."""
    metrics: list[Row]
    """One row per step; a row before the first step, which holds only an evaluation, is left out."""
    evaluations: list[Row]
    """One row per evaluation, in order of steps."""
    services: list[Row]
    """Usage of services: one row per step and evaluation; empty where it was not written down."""

    def series(self, key: str) -> tuple[list[int], list[float]]:
        """Steps at which a quantity of ``metrics.jsonl`` was written, and its values."""
        pairs = [(row["step"], row[key]) for row in self.metrics if row.get(key) is not None]
        return [step for step, _ in pairs], [value for _, value in pairs]

    def keys(self, prefix: str) -> list[str]:
        """Quantities of ``metrics.jsonl`` that start with ``prefix``, in alphabetical order."""
        return sorted({key for row in self.metrics for key in row if key.startswith(prefix)})

    def minutes_at(self, step: int) -> float:
        """Training time up to the end of a step, evaluations left out."""
        return sum(row.get("time/step_seconds") or 0.0 for row in self.metrics if row["step"] <= step) / 60

    def last_trajectories(self, num: int) -> list[Trajectory]:
        """The last ``num`` trajectories that were sampled; no others are read where their file has its index."""
        path = trajectories_file(self.directory)
        if not path.exists():
            return []
        index = TrajectoryIndex(path)
        return list(index.read_all(index.rows[-num:]))

    @property
    def is_simulation(self) -> bool:
        """True where the run used any part of the embedded world: as the run recorded, else as its configuration reads."""
        recorded = self.environment.get("simulation")
        return recorded if isinstance(recorded, bool) else self.config.is_simulation

    @property
    def title(self) -> str:
        """Name of the run, marked as a simulation where it is one."""
        return self.config.titled(simulation=self.is_simulation)


def read_run(directory: Path | str) -> RunRecord:
    """Read a run directory; the run may still be at work.

    Raises:
        DataError: it is not a run directory, holds no step yet, or a line of it is malformed.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise DataError(f"expected a run directory, found {found_at(directory)}")
    for name in ("config.toml", "metrics.jsonl"):
        if not (directory / name).is_file():
            inside = sorted(path.name for path in directory.iterdir())[:8]
            raise DataError(
                f"expected a run directory with {name}, but {directory} holds {', '.join(inside) or 'nothing'}; "
                "`workflow-r1 train` makes run directories"
            )
    metrics = [row for row in read_rows(directory / "metrics.jsonl") if row["step"] > 0]
    for before, step in pairwise([0, *(row["step"] for row in metrics)]):
        if step != before + 1:
            raise DataError(
                f"{directory / 'metrics.jsonl'}: expected step {before + 1} after step {before}, found {step}: a line is "
                "missing or stands there twice; put the file back from a copy"
            )
    if not metrics:
        raise DataError(f"{directory / 'metrics.jsonl'} holds no step yet: wait for the first, or resume the run")
    evaluations, services = directory / "evaluations.jsonl", directory / "services.jsonl"
    environment = directory / "environment.json"
    return RunRecord(
        directory=directory,
        config=load_run_config(directory / "config.toml"),
        environment=_read_json(environment) if environment.is_file() else {},
        metrics=metrics,
        evaluations=read_rows(evaluations) if evaluations.is_file() else [],
        services=read_rows(services) if services.is_file() else [],
    )


def read_rows(path: Path) -> list[Row]:
    """Read one JSON object per line, blank lines left out; so is a last one that is cut off, with a warning in the log.

    Raises:
        DataError: names the line.
    """
    rows: list[Row] = []
    for place, line in iterate_lines(path, of="metrics"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: expected one JSON object per line, found other text ({error})") from None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise DataError(
                f"{place}: expected a JSON object with a whole number `step`, found {line.strip()[:80].decode(errors='replace')}"
            )
        rows.append(row)
    return rows


def _read_json(path: Path) -> Row:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON: {error}") from None
    return value if isinstance(value, dict) else {}
