"""A run's own directory: made at the start, with the full record of the run's configuration and environment."""

import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_r1.errors import UserError
from workflow_r1.recording.run_lock import LOCK
from workflow_r1.services.secrets import mask_addresses
from workflow_r1.trajectory.storage import UNFINISHED

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig

CONFIG = "config.toml"
ENVIRONMENT = "environment.json"

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "PyStemmer", "httpx2", "pydantic")
"""Packages whose versions can change a number."""


def make_run_directory(
    config: "RunConfig", chosen: Path | None, *, kind: str = "", option: str | None = "--resume"
) -> Path:
    """Make a directory of its own for a run and write the resolved configuration and the environment into it.

    Args:
        config: the configuration, whose ``directory`` and ``name`` give the default place.
        chosen: the place; must not hold anything yet. None takes the default.
        kind: put between name and time, e.g. ``evaluation``.
        option: the command's option that continues a directory; None where it has no such option.

    Raises:
        UserError: the chosen place is taken.
    """
    if chosen is not None:
        check_place(chosen, option=option)
        chosen.mkdir(parents=True, exist_ok=True)
        try:
            # Several processes may start at once, and one of them makes the file.
            (chosen / CONFIG).touch(exist_ok=False)
        except FileExistsError:
            raise _taken(chosen, option) from None
        directory = chosen
    else:
        directory = _make_unique(config.directory, _stem(config, kind))
    write_description(directory, config)
    return directory


def check_place(chosen: Path | None, *, option: str | None = "--resume") -> None:
    """Refuse a place that is taken.

    Args:
        chosen: the place.
        option: the command's option that continues a directory; None where it has no such option.

    Raises:
        UserError: the place holds something.
    """
    if chosen is not None and chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir())):
        raise _taken(chosen, option)


def _taken(chosen: Path, option: str | None) -> UserError:
    remedy = (
        "choose another" if option is None else f"choose another, or `{option} {chosen}` if it is a run to continue"
    )
    return UserError(f"expected a new or empty directory, but {chosen} holds something: {remedy}")


def write_description(directory: Path, config: "RunConfig") -> None:
    """Write ``config.toml`` and ``environment.json``, and remember that the run was made here."""
    from workflow_r1.config import dump_toml
    from workflow_r1.running.simulation import is_simulated
    from workflow_r1.running.trust import effects_of, remember
    from workflow_r1.trajectory.storage import write_atomically

    # A report reads it here: it imports no operator to find out.
    described = describe_environment() | {"simulation": is_simulated(config)}
    write_atomically(directory / CONFIG, dump_toml(config))
    write_atomically(directory / ENVIRONMENT, json.dumps(described, indent=2) + "\n")
    if effects_of(config):
        remember(directory)


def choose_place(config: "RunConfig") -> Path:
    """Return the directory that a run would get now; nothing is made."""
    stem = _stem(config, "")
    names = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
    return next(place for name in names if not (place := config.directory / name).exists())


def _stem(config: "RunConfig", kind: str) -> str:
    return "-".join(part for part in (config.name, kind, datetime.now().strftime("%Y%m%d-%H%M%S")) if part)


def _make_unique(parent: Path, stem: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        directory = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            directory.mkdir()
        except FileExistsError:
            number += 1
        else:
            return directory


def is_described_only(directory: Path) -> bool:
    """Return whether a directory holds a run's description, perhaps of a run that was killed there, and nothing else."""
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    return CONFIG in names and all(name in (CONFIG, ENVIRONMENT, LOCK) or name.startswith(UNFINISHED) for name in names)


def discard_if_unused(directory: Path) -> None:
    """Remove a run directory that holds nothing but its description, and in which no one is at work: it never started."""
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if names <= {CONFIG, ENVIRONMENT}:
        for name in names:
            (directory / name).unlink()
        directory.rmdir()


def describe_environment() -> dict[str, Any]:
    """Return versions, machine and command: the conditions of a figure besides the configuration."""
    from workflow_r1.version import __version__

    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "workflow_r1": __version__,
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": versions,
        "command": [mask_addresses(argument) for argument in sys.argv[1:]],
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _git_revision() -> str | None:
    """The revision of the checkout that the package runs from, ``+changes`` where files differ from it."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An installed package may lie inside some other project's checkout: only its own counts.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    revision = git("rev-parse", "HEAD")
    return f"{revision}+changes" if git("status", "--porcelain", "--", "..") else revision
