"""The stored trajectories of a run, an evaluation or a file. Reading them runs no code of theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_r1.errors import DataError, UserError, found_at
from workflow_r1.trajectory import Trajectory
from workflow_r1.trajectory.blocks import COMPRESSED
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


def select_stored(place: Path, selection: Selection) -> list[Selected]:
    """Select stored trajectories.

    Args:
        place: the directory of a training run or of an evaluation, or a file of trajectories.
        selection: conditions on the trajectories.

    Returns:
        One for each file, also where nothing of it is selected.

    Raises:
        DataError: there are no trajectories.
        UserError: a method or benchmark is asked for that the place does not have.
    """
    return [Selected(file, list(select(file.index, selection))) for file in _open(place, selection)]


def _open(place: Path, selection: Selection) -> list[StoredFile]:
    from workflow_r1.evaluation.harness import TRAJECTORIES
    from workflow_r1.recording.run_files import trajectories_file

    method, benchmark = selection.method, selection.benchmark
    named = list(_files_of_evaluation(place / TRAJECTORIES))
    if named:
        kept = [each for each in named if method in (None, each[0]) and benchmark in (None, each[1])]
        if not kept:
            known = ", ".join(f"{name}/{of}" for name, of, _ in named)
            raise UserError(
                f"{place} has no trajectories of {method or 'any method'} on {benchmark or 'any benchmark'}; it has {known}"
            )
        return [StoredFile(name, of, TrajectoryIndex(path)) for name, of, path in kept]
    if method is not None or benchmark is not None:
        raise UserError(f"expected the directory of an evaluation with method= or benchmark=, received {place}")
    path = trajectories_file(place) if place.is_dir() else place
    if place.is_dir() and not path.is_file():
        raise DataError(f"expected the directory of a run or an evaluation with trajectories, found {found_at(path)}")
    return [StoredFile("", "", TrajectoryIndex(path))]


def _files_of_evaluation(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield method, benchmark and file, in alphabetical order."""
    for path in sorted(folder.glob("*/*")):
        name = path.name.removesuffix(COMPRESSED)
        if name.endswith(".jsonl") and not name.endswith(".index.jsonl"):
            yield path.parent.name, name.removesuffix(".jsonl"), path
