"""A directory or file of trajectories that is looked at; it may still grow, and may be damaged or incomplete.

Nothing is ever written into it: whatever cannot be read is left out and named in :attr:`Source.problems`.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_r1.errors import DataError, found_at
from workflow_r1.evaluation.card import CARD
from workflow_r1.evaluation.harness import ROWS
from workflow_r1.evaluation.harness import TRAJECTORIES as EVALUATED
from workflow_r1.recording.alarms import ALARMS
from workflow_r1.recording.run_files import EVALUATIONS, METRICS, trajectories_file
from workflow_r1.recording.run_lock import LOCK
from workflow_r1.trajectory import Trajectory
from workflow_r1.trajectory.index import IndexRow, TrajectoryIndex, index_path

MAX_FILES = 256
"""Most files of trajectories of one directory."""


@dataclass(slots=True)
class SourceFile:
    """One file of trajectories."""

    path: Path
    """The file."""
    label: str
    """Method and benchmark in an evaluation; empty otherwise."""
    index: TrajectoryIndex
    """Its rows."""
    last_id: str = ""
    """Id of the last row that was seen, by which a file that was cut back and grew again is known."""
    seen: int = 0
    """Rows that were seen."""


@dataclass(slots=True)
class Source:
    """A training run, an evaluation, or a file of trajectories.

    Raises:
        DataError: there is no such directory or file, or nothing in it can be looked at.
    """

    path: Path
    """Directory, or file."""
    files: list[SourceFile] = field(default_factory=list)
    """Files of trajectories, in an order that does not change."""
    generation: int = 0
    """Raised where rows that were seen are gone: whoever holds rows of an earlier one drops them."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held by every reader."""
    _stamp: tuple[object, ...] = ()
    _trouble: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise DataError(
                f"expected the directory of a run or an evaluation, or a file of trajectories, found {found_at(self.path)}"
            )
        if self.path.is_dir() and self.kind == "training" and not self._is_run():
            inside = sorted(path.name for path in self.path.iterdir())[:8]
            raise DataError(
                f"expected the directory of a run or an evaluation, but {self.path} holds {', '.join(inside) or 'nothing'}; "
                "`workflow-r1 train` and `workflow-r1 evaluate` make such directories"
            )
        self.refresh()

    @property
    def kind(self) -> str:
        """``training``, ``evaluation`` or ``file``."""
        if self.path.is_file():
            return "file"
        return "evaluation" if any((self.path / name).is_file() for name in (CARD, ROWS)) else "training"

    @property
    def name(self) -> str:
        """Name of the directory or file."""
        return self.path.resolve().name

    @property
    def is_at_work(self) -> bool:
        """True where a process says that it is at work there; a killed one leaves its word behind."""
        return self.path.is_dir() and (self.path / LOCK).exists()

    @property
    def problems(self) -> list[str]:
        """One line for each part that cannot be read."""
        with self.lock:
            problems = list(self._trouble.values())
            problems += [file.index.problem for file in self.files if file.index.problem]
            if self.kind == "training" and not self.files and not self._trouble:
                problems.append("no trajectories yet: this directory holds no trajectories.jsonl")
            return problems

    def state(self) -> tuple[object, ...]:
        """A value that is another one as soon as anything of the source changes; cheap."""
        with self.lock:
            return (self.generation, *self._stamp)

    def refresh(self) -> bool:
        """Read what the files have grown by; return True where anything changed."""
        with self.lock:
            stamp = tuple(self._stamps())
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            known = {file.path for file in self.files}
            for path, label in self._find():
                if path not in known:
                    self._open(path, label)
            for file in self.files:
                self._refresh(file)
            return True

    def rows(self, starts: Sequence[int], limit: int) -> Iterator[tuple[int, int, Sequence[IndexRow]]]:
        """Give the rows of each file from a place on, ``limit`` in all.

        Yields:
            Number of the file, place of the first row, rows.
        """
        with self.lock:
            for number, file in enumerate(self.files):
                start = starts[number] if number < len(starts) else 0
                rows = file.index.rows[start : start + limit]
                limit -= len(rows)
                if rows:
                    yield number, start, rows

    def all_rows(self) -> list[IndexRow]:
        """All rows of all files."""
        with self.lock:
            return [row for file in self.files for row in file.index.rows]

    def read(self, file: int, place: int) -> tuple[IndexRow, Trajectory]:
        """Read one trajectory.

        Raises:
            DataError: it is not there any more, or cannot be read.
        """
        with self.lock:
            if not 0 <= file < len(self.files) or not 0 <= place < len(self.files[file].index.rows):
                raise DataError(f"expected a trajectory of {self.name}, found none at {file}.{place}")
            index = self.files[file].index
            row = index.rows[place]
            try:
                return row, index.read(row)
            except OSError as error:
                raise DataError(f"{index.path}: cannot be read: {error.strerror}") from None

    def group_of(self, row: IndexRow) -> list[IndexRow]:
        """Rows of the same group."""
        with self.lock:
            return [other for file in self.files for other in file.index.rows if other.group_id == row.group_id]

    # ------------------------------------------------------------------------------------------------------------- files

    def _is_run(self) -> bool:
        names = ("config.toml", METRICS, EVALUATIONS)
        return any((self.path / name).is_file() for name in names) or trajectories_file(self.path).is_file()

    def _find(self) -> Iterator[tuple[Path, str]]:
        if self.kind == "file":
            yield self.path, ""
        elif self.kind == "training":
            path = trajectories_file(self.path)
            if path.is_file():
                yield path, ""
        else:
            folder = self.path / EVALUATED
            paths = sorted(path for ending in ("jsonl", "jsonl.gz") for path in folder.glob(f"*/*.{ending}"))
            indexes = {index_path(path) for path in paths}
            for path in [path for path in paths if path not in indexes][:MAX_FILES]:
                yield path, f"{path.parent.name} / {path.name.partition('.jsonl')[0]}"

    def _stamps(self) -> Iterator[object]:
        others = (METRICS, EVALUATIONS, ALARMS, ROWS, LOCK) if self.path.is_dir() else ()
        for path in (*(path for path, _ in self._find()), *(self.path / name for name in others)):
            try:
                found = path.stat()
                yield path.name, found.st_size, found.st_mtime_ns
            except OSError:
                yield path.name, None

    def _open(self, path: Path, label: str) -> None:
        try:
            # A run at work writes the index itself, and a viewer writes nothing into anyone's run.
            self.files.append(SourceFile(path, label, TrajectoryIndex(path, save=False)))
            self._trouble.pop(path, None)
        except (DataError, OSError) as error:
            self._trouble[path] = f"{path}: cannot be read: {error}"

    def _refresh(self, file: SourceFile) -> None:
        try:
            file.index.refresh()
            self._trouble.pop(file.path, None)
        except (DataError, OSError):
            self._trouble[file.path] = f"{file.path} is gone: what was read of it before is shown, without the texts"
            return
        rows = file.index.rows
        if file.seen > len(rows) or (file.seen and rows[file.seen - 1].id != file.last_id):
            self.generation += 1
        file.seen, file.last_id = len(rows), rows[-1].id if rows else ""


def read_everything(source: Source, file: int, start: int) -> Iterator[tuple[int, bytes]]:
    """Give the lines of a file from a row on, each with the row's place, without unpacking any block twice.

    Raises:
        OSError: the file cannot be read.
    """
    from workflow_r1.trajectory.blocks import Line, is_compressed, read_pieces

    index = source.files[file].index
    rows = index.rows
    if start >= len(rows):
        return
    place = start
    with index.path.open("rb") as opened:
        for piece in read_pieces(opened, compressed=is_compressed(index.path), start=rows[start].block):
            if not isinstance(piece, Line):
                continue
            # A line without a row is blank, or cannot be read.
            while place < len(rows) and (rows[place].block, rows[place].skip) < (piece.block, piece.skip):
                place += 1
            if place < len(rows) and (rows[place].block, rows[place].skip) == (piece.block, piece.skip):
                yield place, piece.text
                place += 1


def titles(sources: Sequence[Source]) -> list[str]:
    """Names that tell the sources apart."""
    names = [source.name for source in sources]
    return [
        name if names.count(name) == 1 else f"{source.path.resolve().parent.name}/{name}"
        for name, source in zip(names, sources, strict=True)
    ]


Json = dict[str, Any]
"""An object of JSON."""
