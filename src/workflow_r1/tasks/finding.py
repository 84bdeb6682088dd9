"""Finds the class of a task: one that ships with the package, the user's own by file or module, or one that is installed."""

import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflow_r1.errors import ConfigError, MissingExtraError
from workflow_r1.nearest import did_you_mean
from workflow_r1.references import explain_import, explain_settings, is_file, load_reference
from workflow_r1.tasks.task import Task

ENTRY_POINTS = "workflow_r1.tasks"
"""Group of the entry points: each names a class of a task."""

SHIPPED: Mapping[str, str] = {
    "textarena": "workflow_r1.tasks.textarena:TextArena",
    "openenv": "workflow_r1.tasks.openenv:OpenEnv",
}
"""Tasks that ship with the package, besides question answering; each may need an extra, and is imported when it is used."""

SHIPPED_PURPOSES: Mapping[str, str] = {
    "textarena": "text games for one player (TextArena)",
    "openenv": "an environment behind an address (OpenEnv)",
}
"""A phrase on each of them."""

_SUBCLASS = "name a subclass of workflow_r1.tasks.Task"


def installed_tasks() -> dict[str, EntryPoint]:
    """Return the entry points of installed tasks by name; none of them is imported."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value))
    return {entry.name: entry for entry in reversed(found)}


def find_task(name: str) -> type[Task]:
    """Return the class of a task.

    Args:
        name: a name of :data:`SHIPPED`, ``path/file.py:Class``, ``package.module:Class``, or the name of an entry point.

    Raises:
        ConfigError: there is no such task, its code cannot be imported, or it is not a task.
        MissingExtraError: it needs a package that is not installed.
    """
    if ":" in name:
        return _checked(_load_own(name), name)
    if name in SHIPPED:
        return _checked(load_reference(SHIPPED[name], key="task"), name)
    installed = installed_tasks()
    if name in installed:
        try:
            return _checked(installed[name].load(), name)
        except (ConfigError, MissingExtraError):
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(f"task: entry point {name} ({installed[name].value}): {explain_import(error)}") from error
    known = ["qa", *SHIPPED, *installed]
    hint = did_you_mean(name, known) or "; a task of your own is path/to/file.py:Class"
    raise ConfigError(f"task: expected one of {', '.join(known)}, received {name!r}{hint}")


def make_task(name: str, settings: Mapping[str, Mapping[str, Any]]) -> Task:
    """Find a task and give it its settings.

    Args:
        name: see :func:`find_task`.
        settings: the tables ``[tasks.NAME]``; that of the task's name is its own, and there may be no other.

    Raises:
        ConfigError: there is no such task, its settings are wrong, or there are settings of another.
        MissingExtraError: it needs a package that is not installed.
    """
    kind = find_task(name)
    for other in settings:
        if other != kind.name:
            hint = did_you_mean(other, [kind.name])
            raise ConfigError(
                f"tasks.{other}: expected settings of the task {kind.name!r} alone, in [tasks.{kind.name}]{hint}"
            )
    try:
        # As the configuration itself is read: strict, but a list may be a tuple and a text a path.
        read = kind.Settings.model_validate_json(json.dumps(settings.get(kind.name, {}), default=str), strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(explain_settings(f"tasks.{kind.name}", kind.Settings, error))) from None
    try:
        return kind(read)
    except (ConfigError, MissingExtraError):
        raise
    except Exception as error:
        raise ConfigError(f"task {kind.name}: {explain_import(error, _file_of(name))}") from error


def _load_own(name: str) -> object:
    try:
        return load_reference(name, key="task")
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"task: {explain_import(error, _file_of(name))}") from error


def _file_of(name: str) -> Path | None:
    source = name.rpartition(":")[0]
    return Path(source).expanduser().resolve() if source and is_file(source) else None


def _checked(found: object, name: str) -> type[Task]:
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(f"task: expected a class of a task at {name}, received {found!r}; {_SUBCLASS}")
    if not isinstance(getattr(found, "name", None), str) or not found.name:
        raise ConfigError(
            f'task: expected a name, as in `name = "my-game"`, found none in {found.__qualname__} ({name})'
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"task: expected {', '.join(missing)} in {found.__qualname__} ({name}), found none")
    return found
