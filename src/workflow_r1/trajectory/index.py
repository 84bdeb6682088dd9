"""Index of a file of trajectories: where each one stands, and what lists of them show and filter by.

``trajectories.index.jsonl.gz`` beside ``trajectories.jsonl.gz`` holds one line for each block of the file, with a row for each
trajectory. It grows with the file, and is only a shortcut: whatever of it is missing, cut off, or does not fit the file
is made again by reading the file from there on. The order of writing makes that safe: first the trajectories, then their rows.
"""

import io
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from workflow_r1.errors import DataError, found_at
from workflow_r1.trajectory.blocks import (
    COMPRESSED,
    Boundary,
    Damage,
    Line,
    Span,
    is_compressed,
    is_json,
    last_line,
    read_pieces,
    read_text,
    write_lines,
)
from workflow_r1.trajectory.outcome import Outcome, operator_of, outcome_of, question_class
from workflow_r1.trajectory.records import Reward, ScoredTrajectory, StopReason, Trajectory
from workflow_r1.trajectory.storage import append_lines, parse_trajectory, stored_at, to_json_line, write_atomically

logger = logging.getLogger(__name__)

INDEX_VERSION = 1
"""Version of the index; one of another version is made again."""

_HEADER = json.dumps({"index_version": INDEX_VERSION}) + "\n"
_MAX_CHARS = 160


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One trajectory, as a list shows it."""

    id: str
    """Unique within the run."""
    group_id: str
    """Shared by the trajectories of one group."""
    question_id: str
    """Id of the question."""
    question: str
    """Beginning of the question."""
    question_class: str
    """Class of the question, such as its number of hops."""
    step: int | None
    """Training step; None outside of training, and in files of earlier versions."""
    policy_version: int
    """Number of optimiser steps that the policy had taken."""
    outcome: Outcome | None
    """Outcome; None for an answer that has no golden answers to be compared with."""
    stop_reason: StopReason
    """Reason for the end of the trajectory."""
    reward: Reward | None
    """The reward with its parts; None where it was not scored."""
    answer: str | None
    """Beginning of the policy's answer; None where it gave none."""
    operators: tuple[str, ...]
    """The operators that ran, in the order of their calls; ``(invalid)`` for a call that ran nothing."""
    num_turns: int
    """Turns of the policy."""
    num_policy_tokens: int
    """Tokens that the policy wrote."""
    seconds: float
    """Wall time from prompt to end."""
    cost: float | None
    """Price of all calls; None where a price is unknown."""
    block: int
    """Byte of the file at which reading begins."""
    skip: int
    """Bytes of text from there to the trajectory's line."""
    size: int
    """Bytes of text in that line."""


@dataclass(frozen=True, slots=True)
class _Indexed:
    """A line of the index: a part of the file, which begins where the one before ends."""

    start: int
    end: int
    rows: tuple[IndexRow, ...]
    lost: int = 0
    problem: str = ""


_LINE = TypeAdapter(_Indexed)


class TrajectoryIndex:
    """A file of trajectories, listed without reading it; the file may still grow.

    Args:
        path: the file, plain or compressed; ``trajectories.jsonl`` stands for ``trajectories.jsonl.gz`` where only that is
            there.
        save: write what had to be read anew into the index beside the file, where that is allowed.

    Raises:
        DataError: there is no such file.
    """

    def __init__(self, path: Path | str, *, save: bool = True) -> None:
        self.path = stored_at(path)
        if not self.path.is_file():
            raise DataError(f"expected a file of trajectories, found {found_at(self.path)}")
        self.rows: list[IndexRow] = []
        """One row for each trajectory, in the order of the file."""
        self.problem: str | None = None
        """The parts of the file that cannot be read, in one line; None where all of it can."""
        self._save = save
        self._spans: list[_Indexed] = []
        self._num_whole = 0
        self.refresh()

    @property
    def length(self) -> int:
        """Bytes of the file that are known for good; what follows is still being written, or cut off."""
        return self._spans[-1].end if self._spans else 0

    def refresh(self) -> None:
        """Read what the file has grown by; all of it where it was cut back, since its run was resumed from an earlier step.

        Raises:
            DataError: the file is gone.
        """
        try:
            if not self._spans or self.path.stat().st_size < self.length or not self._ends_as_known():
                self._spans = _read_index(self.path)
                self.rows = [row for span in self._spans for row in span.rows]
                self._num_whole = len(self.rows)
            new, tail, cut = _scan(self.path, self.length)
        except FileNotFoundError:
            raise DataError(f"expected a file of trajectories, found {found_at(self.path)}") from None
        self._spans += new
        del self.rows[self._num_whole :]
        self.rows += (row for span in new for row in span.rows)
        self._num_whole = len(self.rows)
        self.rows += tail.rows
        self.problem = self._describe(tail, cut)
        if new and self._save:
            self._write(new)

    def read(self, row: IndexRow) -> Trajectory:
        """Read one trajectory.

        Raises:
            DataError: the file is no longer what it was.
        """
        return next(self.read_all([row]))

    def read_all(self, rows: Sequence[IndexRow]) -> Iterator[Trajectory]:
        """Read some trajectories, one at a time.

        Raises:
            DataError: the file is no longer what it was.
        """
        with self.path.open("rb") as file:
            for row in rows:
                yield parse_trajectory(_text_of(file, self.path, row), _place(self.path, row))

    def _ends_as_known(self) -> bool:
        """Return False where the last row is another one: a file that was cut back may be longer again by now."""
        with self.path.open("rb") as file:
            return all(_is_there(file, self.path, row) for row in self.rows[: self._num_whole][-1:])

    def _describe(self, tail: _Indexed, cut: str) -> str | None:
        spans = [*self._spans, tail]
        num_lost = sum(span.lost for span in spans)
        parts = []
        if num_lost:
            first = next(span.problem for span in spans if span.lost)
            parts.append(f"{num_lost} {'part' if num_lost == 1 else 'parts'} cannot be read, the first: {first}")
        if cut:
            parts.append(cut)
        return f"{self.path}: {'; '.join(parts)}" if parts else None

    def _write(self, new: Sequence[_Indexed]) -> None:
        index = index_path(self.path)
        try:
            if _last_end(self.path) == new[0].start:
                append_lines(index, map(_to_line, new), flush=False)
            else:
                _replace(index, self._spans)
        except OSError as error:
            logger.info(
                "%s: not written (%s)", index, error
            )  # In a read-only folder, for example: it is made anew each time.


def index_path(path: Path | str) -> Path:
    """Return the path of the index of a file of trajectories."""
    path = Path(path)
    name = path.name.removesuffix(COMPRESSED).removesuffix(".jsonl")
    return path.with_name(f"{name}.index.jsonl{COMPRESSED}")


def append_indexed(path: Path | str, trajectories: Sequence[Trajectory], *, flush: bool = True) -> None:
    """Append trajectories to a file, and their rows to its index; see :func:`~workflow_r1.trajectory.append_trajectories`.

    An index that cannot be written stops nothing: whoever needs it makes it again.

    Raises:
        OSError: the disk is full or the file cannot be written; the file is as long as it was.
    """
    path = stored_at(path)
    spans = append_lines(path, map(to_json_line, trajectories), flush=flush)
    if not spans:
        return
    index, left = index_path(path), iter(trajectories)
    rows = [_index_span(span, left) for span in spans]
    try:
        if spans[0].start == 0:
            _replace(index, rows)
        elif _last_end(path) == spans[0].start:
            append_lines(index, map(_to_line, rows), flush=False)
        else:
            TrajectoryIndex(path)
    except OSError as error:
        logger.warning("%s: not written (%s); it is made again when it is needed", index, error)


def _index_span(span: Span, trajectories: Iterator[Trajectory]) -> _Indexed:
    """Index a block that was just written, taking its trajectories off the front."""
    rows, skip = [], 0
    for size in span.sizes:
        rows.append(_row_of(next(trajectories), span.start, skip, size))
        skip += size
    return _Indexed(span.start, span.end, tuple(rows))


def _row_of(trajectory: Trajectory, block: int, skip: int, size: int) -> IndexRow:
    return IndexRow(
        id=trajectory.id,
        group_id=trajectory.group_id,
        question_id=trajectory.question.id,
        question=_shorten(trajectory.question.text),
        question_class=question_class(trajectory.question),
        step=trajectory.step,
        policy_version=trajectory.policy_version,
        outcome=outcome_of(trajectory),
        stop_reason=trajectory.stop_reason,
        reward=trajectory.reward if isinstance(trajectory, ScoredTrajectory) else None,
        answer=None if trajectory.answer is None else _shorten(trajectory.answer),
        operators=tuple(operator_of(call) for turn in trajectory.turns for call in turn.calls),
        num_turns=len(trajectory.turns),
        num_policy_tokens=trajectory.num_policy_tokens,
        seconds=trajectory.seconds,
        cost=(trajectory.usage + trajectory.policy_usage).cost,
        block=block,
        skip=skip,
        size=size,
    )


def _shorten(text: str) -> str:
    text = " ".join(text[: 4 * _MAX_CHARS].split())
    return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "..."


def _replace(index: Path, spans: Sequence[_Indexed]) -> None:
    text = io.BytesIO()
    write_lines(text, chain([_HEADER], map(_to_line, spans)), compressed=True)
    write_atomically(index, text.getvalue())


def _to_line(span: _Indexed) -> str:
    # ASCII, since an id may hold a lone surrogate, which UTF-8 cannot.
    return json.dumps(_LINE.dump_python(span, mode="json"), separators=(",", ":")) + "\n"


# ------------------------------------------------------------------------------------------------- the index and its file


def _read_index(path: Path) -> list[_Indexed]:
    """Return the lines of an index as far as they fit its file."""
    index = index_path(path)
    spans: list[_Indexed] = []
    end, length = 0, path.stat().st_size
    try:
        with index.open("rb") as file:
            lines = (piece.text for piece in read_pieces(file, compressed=True) if isinstance(piece, Line))
            if next(lines, b"") != _HEADER.encode():
                return []
            for line in lines:
                span = _parse_line(line)
                if span is None or span.start != end or span.end > length:
                    break
                spans.append(span)
                end = span.end
    except OSError:
        return []
    # The file may be another one by now: its first and its last row must stand where the index says.
    known = [row for span in spans for row in span.rows]
    with path.open("rb") as file:
        fits = all(_is_there(file, path, row) for row in (known[:1] + known[-1:]))
    return spans if fits else []


def _parse_line(line: bytes) -> _Indexed | None:
    try:
        return _LINE.validate_json(line)
    except ValidationError:
        pass
    try:
        return _LINE.validate_python(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _is_there(file: BufferedReader, path: Path, row: IndexRow) -> bool:
    try:
        return parse_trajectory(_text_of(file, path, row), _place(path, row)).id == row.id
    except DataError:
        return False


def _text_of(file: BufferedReader, path: Path, row: IndexRow) -> bytes:
    return read_text(file, compressed=is_compressed(path), block=row.block, skip=row.skip, size=row.size)


def _place(path: Path, row: IndexRow) -> str:
    return f"{path}, trajectory {row.id!r}"


def _last_end(path: Path) -> int | None:
    """Return the byte of a file at which its index ends; None where the index is missing or damaged."""
    try:
        with index_path(path).open("rb") as file:
            span = _parse_line(last_line(file))
    except OSError:
        return None
    if span is not None:
        return span.end
    # The last line is longer than a block, or nothing of it is left.
    known = _read_index(path)
    return known[-1].end if known else None


def _scan(path: Path, start: int) -> tuple[list[_Indexed], _Indexed, str]:
    """Read a file from a boundary on; return its blocks, what stands behind the last boundary, and whether that is cut off."""
    spans: list[_Indexed] = []
    rows: list[IndexRow] = []
    lost, problem, cut = 0, "", ""

    def close(end: int) -> None:
        nonlocal start, rows, lost, problem
        spans.append(_Indexed(start, end, tuple(rows), lost, problem))
        start, rows, lost, problem = end, [], 0, ""

    with path.open("rb") as file:
        for piece in read_pieces(file, compressed=is_compressed(path), start=start):
            if isinstance(piece, Boundary):
                close(piece.end)
            elif isinstance(piece, Damage):
                if piece.is_cut:
                    cut = "the last rows are cut off"
                else:
                    lost, problem = lost + 1, problem or f"{piece.reason} at byte {piece.start}"
                    close(piece.end)
            elif not piece.text.endswith(b"\n") and not is_json(piece.text):
                cut = "the last row is cut off"
            elif piece.text.strip():
                place = f"{path.name}, byte {piece.block}+{piece.skip}"
                try:
                    trajectory = parse_trajectory(piece.text, place)
                    rows.append(_row_of(trajectory, piece.block, piece.skip, len(piece.text)))
                except DataError as error:
                    lost, problem = lost + 1, problem or str(error)
    return spans, _Indexed(start, start, tuple(rows), lost, problem), cut
