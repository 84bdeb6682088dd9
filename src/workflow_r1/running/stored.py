"""The stored trajectories of a run, an evaluation or a file. Reading them runs no code of theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_r1.errors import DataError, UserError, found_at
from workflow_r1.trajectory import Trajectory
from workflow_r1.trajectory.index import IndexRow, TrajectoryIndex
from workflow_r1.workflows.selection import Selection, select


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of trajectories."""

    method: str
    """Folder of the method in an evaluation; empty elsewhere."""
    benchmark: str
    """Name of the benchmark's file in an evaluation; empty elsewhere."""
    index: TrajectoryIndex
    """Its rows."""

    @property
    def label(self) -> str:
        """Method and benchmark of an evaluation; empty elsewhere."""
        return f"{self.method}/{self.benchmark}" if self.method else ""


@dataclass(frozen=True, slots=True)
class Selected:
    """The selected trajectories of one file."""

    file: StoredFile
    """The file."""
    rows: Sequence[IndexRow]
    """Their rows, in the order of the file."""

    def read(self) -> Iterator[Trajectory]:
        """Read them one at a time.

        Raises:
            DataError: the file is no longer what it was.
        """
        return self.file.index.read_all(self.rows)


def open_stored(place: Path, *, method: str | None = None, benchmark: str | None = None) -> list[StoredFile]:
    """Open the trajectories of a place.

    Args:
        place: the directory of a training run or of an evaluation, or a file of trajectories.
        method: only this method of an evaluation.
        benchmark: only this benchmark of an evaluation.

    Raises:
        DataError: there are no trajectories.
        UserError: a method or benchmark is asked for that the place does not have.
    """
    from workflow_r1.evaluation.harness import TRAJECTORIES
    from workflow_r1.recording.run_files import trajectories_file

    if place.is_dir():
        folder = place / TRAJECTORIES
        found = sorted(path for path in folder.glob("*/*") if path.name.endswith((".jsonl", ".jsonl.gz")))
        files = [path for path in found if not path.name.endswith((".index.jsonl", ".index.jsonl.gz"))]
        if files:
            named = [(path.parent.name, path.name.removesuffix(".gz").removesuffix(".jsonl"), path) for path in files]
            kept = [each for each in named if method in (None, each[0]) and benchmark in (None, each[1])]
            if not kept:
                known = ", ".join(sorted({f"{name}/{of}" for name, of, _ in named}))
                raise UserError(
                    f"{place} has no trajectories of {method or 'any method'} on {benchmark or 'any benchmark'}; it has {known}"
                )
            return [StoredFile(name, of, TrajectoryIndex(path)) for name, of, path in kept]
    if method is not None or benchmark is not None:
        raise UserError(f"expected the directory of an evaluation with --method or --benchmark, received {place}")
    path = trajectories_file(place) if place.is_dir() else place
    if place.is_dir() and not path.is_file():
        raise DataError(f"expected the directory of a run or an evaluation with trajectories, found {found_at(path)}")
    return [StoredFile("", "", TrajectoryIndex(path))]


def select_stored(files: Sequence[StoredFile], selection: Selection) -> list[Selected]:
    """Select trajectories of some files; files without any are left out.

    Raises:
        DataError: a file is no longer what it was.
    """
    found = (Selected(file, list(select(file.index, selection))) for file in files)
    return [each for each in found if each.rows]
