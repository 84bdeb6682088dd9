"""Append-only JSONL of trajectories, and atomic replacement of small files."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from workflow_r1.errors import DataError
from workflow_r1.trajectory.records import SCHEMA_VERSION, ScoredTrajectory, Trajectory


def append_trajectories(path: Path | str, trajectories: Iterable[Trajectory]) -> None:
    """Append one JSON line per trajectory and flush them to the disk."""
    with Path(path).open("a", encoding="utf-8") as file:
        for trajectory in trajectories:
            file.write(trajectory.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def iterate_trajectories(path: Path | str) -> Iterator[Trajectory]:
    """Read trajectories one at a time, so that a file larger than memory can be read.

    Args:
        path: a JSONL file written by :func:`append_trajectories`.

    Yields:
        A ``ScoredTrajectory`` where the row holds a reward, else a ``Trajectory``.

    Raises:
        DataError: the file is missing, or a row is not valid; names the line and the field. A last line that was cut
            off by a crash is one too: remove it, or resume the run that wrote it.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"expected a file of trajectories, found nothing at {path}")
    with path.open(encoding="utf-8", errors="strict") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parse_row(line, f"{path}:{number}")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text: {error}") from None


def load_trajectories(path: Path | str) -> list[Trajectory]:
    """Read all trajectories of a JSONL file. See :func:`iterate_trajectories` for what is raised."""
    return list(iterate_trajectories(path))


def _parse_row(line: str, place: str) -> Trajectory:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{place}: expected one JSON object per line, found text that is not JSON ({error.msg})"
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, found a {type(row).__name__}")
    version = row.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(f"{place}: expected schema_version {SCHEMA_VERSION}, found {version!r}")
    try:
        return (ScoredTrajectory if "reward" in row else Trajectory).model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{place}: field {field!r}: {first['msg']}") from None


def write_atomically(path: Path | str, data: str | bytes) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part, even after a crash."""
    path = Path(path)
    payload = data.encode("utf-8") if isinstance(data, str) else data
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
