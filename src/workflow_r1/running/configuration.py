"""The configuration that a person names, by a file, a preset or a run directory, and the questions that it holds out."""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.errors import ConfigError, MissingExtraError
from workflow_r1.installation import install_command

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.trajectory import Question

Overrides = str | Sequence[str] | Mapping[str, object] | None
"""Single keys to set: ``section.key=value``, one or several, or values by ``section.key``."""


def open_config(
    source: "str | Path | RunConfig | None", overrides: Overrides = None, *, trust: bool = False
) -> "RunConfig":
    """Read a configuration, to act on it: the embedded quickstart's for None, a preset's, a file's, or a run directory's.

    A run directory stands for its configuration with its trained policy. A TOML file that a person names is trusted as
    a Makefile is. A run directory, and the ``config.toml`` in one, may be somebody else's, and is not: see
    :mod:`workflow_r1.running.trust`.

    Args:
        source: its name, or the configuration itself.
        overrides: ``section.key=value`` texts, or values by ``section.key``; later ones win.
        trust: the user trusts the run directory; that is recorded.

    Raises:
        ConfigError: the message names every wrong key and value, its place, the expected one, and the nearest right key.
        UntrustedError: the run directory is not trusted, and its configuration would run code, start programs or ask
            services.
    """
    from workflow_r1.running.trust import check_trust

    config = read_config(source, overrides)
    directory = run_directory_of(source)
    if directory is not None:
        check_trust(directory, config, overrides=_read_overrides(overrides), trust=trust)
    return config


def run_directory_of(source: "str | Path | RunConfig | None") -> Path | None:
    """Return the run directory that CONFIG names, by itself or by its ``config.toml``; None for other files and presets."""
    if not isinstance(source, str | Path):
        return None
    path = Path(source)
    if path.is_dir():
        return path
    # A link to the configuration of a run is that run's, whatever the link's own name.
    named = path if path.name == "config.toml" else path.resolve()
    return named.parent if named.name == "config.toml" and named.is_file() else None


def read_config(source: "str | Path | RunConfig | None", overrides: Overrides = None) -> "RunConfig":
    """Read the configuration that CONFIG names, only to look at it: none of its parts may be run or asked.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    from workflow_r1.config import RunConfig, change_run_config, change_settings, load_run_config

    if source == "":  # A shell makes this of a variable that is not set; Path would take it for the working directory.
        raise ConfigError("expected a TOML file, the name of a preset or a run directory, received an empty text")
    given = _read_overrides(overrides)
    if isinstance(source, RunConfig):
        return change_run_config(source, given)
    if source is None or not Path(source).is_dir():
        return load_run_config(source, given)
    directory = Path(source)
    if not (directory / "config.toml").is_file():
        raise ConfigError(
            f"expected a run directory with a config.toml, found none in {directory}; "
            "`workflow-r1 train` makes run directories under runs/"
        )
    config = load_run_config(directory / "config.toml", given)
    policy = directory / "policy"
    if policy.is_dir() and not any(override.startswith("policy.model") for override in given):
        config = change_settings(config, {"policy.model": str(policy)})
    return config


def names_configuration(text: str | None) -> bool:
    """Return True where a text is the name of a preset, or a path at which something lies."""
    from workflow_r1.config import preset_names

    return bool(text) and (text in preset_names() or _exists(str(text)))


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # A text too long for a file's name, or with a null in it.
        return False


def _read_overrides(given: Overrides) -> list[str]:
    from workflow_r1.config import write_override

    if isinstance(given, Mapping):
        return [write_override(key, value) for key, value in given.items()]
    return [given] if isinstance(given, str) else list(given or [])


def require(module: str, *, extra: str, purpose: str) -> None:
    """Refuse early, and with the remedy, where an optional dependency is absent.

    Raises:
        MissingExtraError: ``module`` is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"{purpose} needs {module}, which is not installed; run: {install_command(extra)}")


def with_questions(config: "RunConfig", file: Path | None) -> "RunConfig":
    """The configuration with a file's questions held out in place of its own.

    Raises:
        ConfigError: the configuration's task has instances of its own.
    """
    from workflow_r1.config import change_settings
    from workflow_r1.config.run import QUESTIONS

    if file is None:
        return config
    if config.task != QUESTIONS:
        raise ConfigError(
            f"expected no file of questions with task = {config.task!r}, which holds out instances of its own, received {file}"
        )
    return change_settings(config, {"data.source": "files", "data.evaluation": file})


def check_at_least(least: float, **given: float | None) -> None:
    """Refuse an argument that is too small; None stands for one that was not given.

    Raises:
        ConfigError: the message names the argument.
    """
    for name, value in given.items():
        if value is not None and not value >= least:
            raise ConfigError(f"{name}: expected at least {least:g}, received {value}")


def open_questions(config: "RunConfig", limit: int | None) -> "list[Question]":
    """Return the held-out questions: all of a file, as many as training would ask of the embedded world, or ``limit``.

    Raises:
        ConfigError: there are no questions, or the limit is below 1.
        DataError: the file is missing, empty or malformed.
    """
    from workflow_r1.running.parts import held_out_questions

    check_at_least(1, limit=limit)
    everything = sys.maxsize if config.data.source == "files" else None
    chosen = held_out_questions(config, everything if limit is None else limit)
    if not chosen:
        raise ConfigError("expected at least one question; training.evaluation_questions is 0, so give a limit")
    return chosen
