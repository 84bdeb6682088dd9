"""Append-only JSONL, of trajectories and of other rows, and atomic replacement of small files."""

import io
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from workflow_r1.errors import DataError, found_at
from workflow_r1.trajectory.records import SCHEMA_VERSION, ScoredTrajectory, Trajectory

logger = logging.getLogger(__name__)

UNFINISHED = ".unfinished-"
"""Beginning of the names of files and folders that are not complete yet, or that a killed process has left."""

_BLOCK = 1 << 16
"""Bytes read at a time when looking for the last line."""


def append_trajectories(path: Path | str, trajectories: Iterable[Trajectory], *, flush: bool = True) -> None:
    """Append one JSON line per trajectory; see :func:`append_lines`."""
    append_lines(path, (to_json_line(trajectory) for trajectory in trajectories), flush=flush)


def iterate_trajectories(path: Path | str) -> Iterator[Trajectory]:
    """Read trajectories one at a time, so that a file larger than memory can be read; see :func:`iterate_lines`.

    Args:
        path: a JSONL file written by :func:`append_trajectories`.

    Yields:
        A ``ScoredTrajectory`` where the row holds a reward, else a ``Trajectory``.

    Raises:
        DataError: the file is missing, or a row is not valid; names the line and the field.
    """
    for place, line in iterate_lines(path, of="trajectories"):
        yield parse_trajectory(line, place)


def append_lines(path: Path | str, lines: Iterable[str], *, flush: bool = True) -> None:
    """Append lines of JSON, each with its line end, and flush them to the disk: all of them, or none.

    A last line that a crash cut off is removed first, so that it cannot run into the new rows.

    Args:
        path: the file.
        lines: the lines to append.
        flush: wait until the disk has them, which takes a disk that others use too a tenth of a second. Without it they
            survive the end of the process, however it ends, but not the machine's.

    Raises:
        OSError: the disk is full or the file cannot be written; the file is as long as it was.
    """
    payload = "".join(lines).encode("utf-8")
    with Path(path).open("a+b", buffering=0) as file:
        length = _length_of_whole_lines(file)
        try:
            file.truncate(length)
            view = memoryview(payload)
            while view:
                view = view[file.write(view) :]
            if flush:
                os.fsync(file.fileno())
        except BaseException:
            file.truncate(length)
            raise


def iterate_lines(path: Path | str, *, of: str) -> Iterator[tuple[str, bytes]]:
    """Read the lines of a JSONL file one at a time, blank ones left out.

    A last line without a line end that is not JSON either is a row that is still being written, or one that a crash cut
    off: it is left out, with a warning in the log.

    Args:
        path: the file.
        of: its contents in words, for the message where it is missing.

    Yields:
        The line's place (``file:line``), and the line.

    Raises:
        DataError: the file is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"expected a file of {of}, found {found_at(path)}")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") and not _is_json(line):
                logger.warning("%s:%d: left out the last row, which is cut off", path, number)
            elif line.strip():
                yield f"{path}:{number}", line


def load_trajectories(path: Path | str) -> list[Trajectory]:
    """Read all trajectories of a JSONL file. See :func:`iterate_trajectories` for its errors."""
    return list(iterate_trajectories(path))


def to_json_line(trajectory: Trajectory) -> str:
    """Return a trajectory as the line that a file of trajectories holds, its line end included."""
    try:
        return trajectory.model_dump_json() + "\n"
    except PydanticSerializationError:
        # A lone surrogate, from a chat server's reply: JSON can escape it, UTF-8 cannot hold it.
        return json.dumps(trajectory.model_dump(mode="json"), ensure_ascii=True) + "\n"


def _length_of_whole_lines(file: io.FileIO) -> int:
    """Return the file's length without a last line that was cut off. A whole row that lacks its line end gets one."""
    length = file.seek(0, os.SEEK_END)
    tail = b""
    start = length
    while start > 0 and b"\n" not in tail:
        step = min(_BLOCK, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if last and _is_json(last):
        file.write(b"\n")
        return length + 1
    return length - len(last)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


_CONVERSATIONS = ("messages", "conversations", "conversation", "prompt", "completion")
"""Fields of chat data sets."""


def _say_form(row: dict[str, Any]) -> str:
    """Name the expected form where a row is not a trajectory at all."""
    if "schema_version" in row:
        return ""
    conversation = next((f" and a conversation under {name!r}" for name in _CONVERSATIONS if name in row), "")
    return (
        f"{conversation}: each line is to be a trajectory, an object with schema_version, id, group_id, question, prompt, turns "
        "and stop_reason, as `workflow-r1 rollout` writes it (docs/reference/run-directory.md describes it)"
    )


def parse_trajectory(line: bytes, place: str) -> Trajectory:
    """Read one line of a file of trajectories.

    Args:
        line: JSON, as :func:`append_trajectories` writes it.
        place: its file and line, for the message.

    Raises:
        DataError: it is not valid; names the place and the field.
    """
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected UTF-8 text, found byte {error.object[error.start]:#04x}") from None
    except (ValueError, RecursionError) as error:  # Also a number of too many digits, and brackets nested too deep.
        raise DataError(f"{place}: expected one JSON object per line, found text that is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, found a {type(row).__name__}")
    version = row.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(f"{place}: expected schema_version {SCHEMA_VERSION}, found {version!r}{_say_form(row)}")
    try:
        return (ScoredTrajectory if "reward" in row else Trajectory).model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        # Pydantic names the kind of reward that it tried.
        field = ".".join(str(part) for part in first["loc"] if part not in ("AnswerReward", "TaskReward"))
        raise DataError(f"{place}: field {field!r}: {first['msg']}") from None


def write_atomically(path: Path | str, data: str | bytes) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part, even after a crash."""
    path = Path(path)
    payload = data.encode("utf-8") if isinstance(data, str) else data
    # Opened by name: the umask decides who may read it.
    temporary = path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
