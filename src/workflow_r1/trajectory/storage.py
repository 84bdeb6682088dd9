"""Append-only JSONL, plain or compressed, of trajectories and of other rows, and atomic replacement of small files."""

import codecs
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
from workflow_r1.trajectory.blocks import (
    COMPRESSED,
    Damage,
    Line,
    Span,
    is_compressed,
    is_json,
    length_of_whole_lines,
    read_pieces,
    write_lines,
)
from workflow_r1.trajectory.records import SCHEMA_VERSION, ScoredTrajectory, Trajectory

logger = logging.getLogger(__name__)

UNFINISHED = ".unfinished-"
"""Beginning of the names of files and folders that are not complete yet, or that a killed process has left."""


def stored_at(path: Path | str) -> Path:
    """Return the path of a file of trajectories: where only the compressed one is there, that stands for the plain name."""
    path = Path(path)
    compressed = path.with_name(path.name + COMPRESSED)
    return compressed if not path.exists() and compressed.exists() else path


def append_trajectories(path: Path | str, trajectories: Iterable[Trajectory], *, flush: bool = True) -> None:
    """Append one JSON line per trajectory, compressed where the name ends in ``.gz``; see :func:`append_lines`."""
    append_lines(stored_at(path), (to_json_line(trajectory) for trajectory in trajectories), flush=flush)


def iterate_trajectories(path: Path | str) -> Iterator[Trajectory]:
    """Read trajectories one at a time, so that a file larger than memory can be read; see :func:`iterate_lines`.

    Args:
        path: a file written by :func:`append_trajectories`, plain or compressed. ``trajectories.jsonl`` stands for
            ``trajectories.jsonl.gz`` where only that is there.

    Yields:
        A ``ScoredTrajectory`` where the row holds a reward, else a ``Trajectory``.

    Raises:
        DataError: the file is missing, or a row is not valid; names the line and the field.
    """
    for place, line in iterate_lines(stored_at(path), of="trajectories"):
        yield parse_trajectory(line, place)


def append_lines(path: Path | str, lines: Iterable[str], *, flush: bool = True) -> list[Span]:
    """Append lines of JSON, each with its line end, and flush them to the disk: all of them, or none.

    A last line that a crash cut off is removed first, so that it cannot run into the new rows. The lines are written as
    they come, a block of 64 KiB at a time in memory.

    Args:
        path: the file; compressed where its name ends in ``.gz``.
        lines: the lines to append.
        flush: wait until the disk has them, which takes a disk that others use too a tenth of a second. Without it they
            survive the end of the process, however it ends, but not the machine's.

    Returns:
        The blocks that the lines stand in.

    Raises:
        OSError: the disk is full or the file cannot be written; the file is as long as it was.
    """
    path = Path(path)
    compressed = is_compressed(path)
    with path.open("a+b", buffering=0) as file:
        length, lacks_line_end = length_of_whole_lines(file, compressed=compressed)
        try:
            file.truncate(length)
            file.seek(length)
            if lacks_line_end:
                write_lines(file, ["\n"], compressed=compressed)
            spans = write_lines(file, lines, compressed=compressed)
            if flush:
                os.fsync(file.fileno())
        except BaseException:
            file.truncate(length)
            raise
    return spans


def iterate_lines(path: Path | str, *, of: str) -> Iterator[tuple[str, bytes]]:
    """Read the lines of a JSONL file one at a time, blank ones and a byte order mark left out.

    A last line without a line end that is not JSON either is a row that is still being written, or one that a crash cut
    off: it is left out, with a warning in the log. So is the end of a compressed file that is cut off.

    Args:
        path: the file; compressed where its name ends in ``.gz``.
        of: its contents in words, for the message where it is missing.

    Yields:
        The line's place (``file:line``), and the line.

    Raises:
        DataError: the file is missing, or a compressed block of it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"expected a file of {of}, found {found_at(path)}")
    number = 0
    with path.open("rb") as file:
        for piece in read_pieces(file, compressed=is_compressed(path)):
            if isinstance(piece, Line):
                number += 1
                text = piece.text.removeprefix(codecs.BOM_UTF8) if number == 1 else piece.text
                if not text.endswith(b"\n") and not is_json(text):
                    logger.warning("%s:%d: left out the last row, which is cut off", path, number)
                elif text.strip():
                    yield f"{path}:{number}", text
            elif isinstance(piece, Damage):
                if not piece.is_cut:
                    raise DataError(
                        f"{path}:{number + 1}: expected whole rows, but {piece.reason} at byte {piece.start} of the file: put "
                        "the file back from a copy"
                    )
                logger.warning("%s:%d: left out the last rows, which are cut off", path, number + 1)


def load_trajectories(path: Path | str) -> list[Trajectory]:
    """Read all trajectories of a JSONL file. See :func:`iterate_trajectories` for the name of the file, and for errors."""
    return list(iterate_trajectories(path))


def to_json_line(trajectory: Trajectory) -> str:
    """Return a trajectory as the line that a file of trajectories holds, its line end included."""
    try:
        return trajectory.model_dump_json() + "\n"
    except PydanticSerializationError:
        # A lone surrogate, from a chat server's reply: JSON can escape it, UTF-8 cannot hold it.
        return json.dumps(trajectory.model_dump(mode="json"), ensure_ascii=True) + "\n"


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
    known = _parse_known(line)
    if known is not None:
        return known
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


def _parse_known(line: bytes) -> Trajectory | None:
    """Read a line as pydantic does, in two thirds of the time; None where it cannot, or where something is amiss."""
    # A quotation mark within a text is written as \\", so that this can only be a key.
    kind = ScoredTrajectory if b'"reward":' in line else Trajectory
    try:
        found = kind.model_validate_json(line)
    except ValidationError:
        return None  # Also for a lone surrogate, which Python's own reader takes.
    return found if found.schema_version == SCHEMA_VERSION and "schema_version" in found.model_fields_set else None


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
