"""Files of results: an unusable path is refused before the results cost anything."""

import os
from pathlib import Path

from workflow_r1.errors import UserError


def check_can_append(file: Path, *, option: str) -> None:
    """Refuse a file that could not be appended to. Creates nothing.

    Args:
        file: need not exist yet, nor its directory.
        option: the option that chooses it.

    Raises:
        UserError: the path is a directory, or the file or its place is write-protected.
    """
    if file.is_dir():
        raise UserError(f"{option}: expected a file, but {file} is a directory; name a file in it")
    there = next(place for place in (file, *file.absolute().parents) if place.exists())
    if (there != file and not there.is_dir()) or not os.access(there, os.W_OK):
        raise UserError(f"{option}: expected a file that can be written, but {there} does not allow it; choose another")


def check_can_make(directory: Path) -> None:
    """Refuse a directory that could not be made or written into. Creates nothing.

    Args:
        directory: need not exist yet.

    Raises:
        UserError: a file is in its way, or its place is write-protected.
    """
    there = next(place for place in (directory, *directory.absolute().parents) if os.path.lexists(place))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(
            f"expected a directory that can be made at {directory}, but {there} does not allow it; choose another place"
        )
