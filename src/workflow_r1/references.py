"""Code of the user's own that a configuration names: a file, a module, or something in one of them; and what is wrong there."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from workflow_r1.errors import ConfigError
from workflow_r1.nearest import did_you_mean

_PACKAGE = str(Path(__file__).parent)

_MAX_SHOWN_CHARS = 80

_importing = threading.RLock()
"""No thread is given a module that another one is still running."""


def load_reference(reference: str, *, key: str) -> object:
    """Import the object that a reference names.

    Args:
        reference: ``package.module:name`` or ``path/file.py:name``; the name may be dotted. The part before the colon
            is what :func:`load_module` takes.
        key: configuration key that errors name.

    Raises:
        ConfigError: the reference is malformed, or its module, file or object does not exist.
    """
    source, separator, name = reference.rpartition(":")
    if not separator or not source or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{key}: expected module:name or path/file.py:name, received {reference!r}")
    try:
        found: object = load_module(source, key=key)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{key}: expected to import {source}, but it needs {error.name!r}, which is not installed; install it"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, dir(found))
            raise ConfigError(f"{key}: expected {part!r} in {source}, found no such name{hint}")
        found = getattr(found, part)
    return found


def load_module(source: str, *, key: str) -> ModuleType:
    """Import a file or a module.

    A module is looked for where Python looks, then in the working directory. A file is imported once, however often it
    is named. An error *inside* the code while it is imported is raised as it is: its traceback says more than we could.

    Args:
        source: ``path/file.py`` or ``package.module``; see :func:`is_file`.
        key: configuration key that errors name.

    Raises:
        ConfigError: there is no such file or module.
    """
    return _import_file(Path(source), key) if is_file(source) else _import_module(source, key)


def place_of_error(error: BaseException, file: Path | None = None) -> str | None:
    """Return the line of the user's code in which an error arose: ``file:line``.

    Args:
        error: the error, with its traceback.
        file: the user's file where it is known: its own innermost line counts, else the innermost outside this package.

    Returns:
        None where no line outside this package took part.
    """
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
        or (not frame.filename.startswith(("<frozen", _PACKAGE)) and "importlib" not in Path(frame.filename).parts)
    ]
    own = [frame for frame in frames if file is not None and frame.filename == str(file)]
    last = next(iter(reversed(own or frames)), None)
    return None if last is None else f"{last.filename}:{last.lineno}"


def place_of(function: Callable[..., Any]) -> str:
    """Return the place of a function's source: ``file:line``, or the function itself where no source is known."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def explain_import(error: BaseException, file: Path | None = None) -> str:
    """Describe the error of an import with its line: the file's own where that is known, else the innermost."""
    place = place_of_error(error, file) or str(file or "the module")
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{place}: expected to import it, received {type(error).__name__}: {message}; mend it"


def explain_settings(section: str, model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """Describe each mistake in a section whose keys the user's own code defines.

    Args:
        section: name of the section in the configuration.
        model: the type that the section was read into.
        error: the error of that.
    """
    for detail in error.errors(include_url=False):
        name = ".".join((section, *(str(part) for part in detail["loc"])))
        if detail["type"] == "extra_forbidden":
            near = did_you_mean(str(detail["loc"][-1]), model.model_fields)
            yield f"{name}: unknown key{near or f'; {section} has ' + (', '.join(model.model_fields) or 'no keys')}"
        elif detail["type"] == "missing":
            yield f"{name}: expected a value, received none; set it in the section [{section}]"
        else:
            received = repr(detail["input"])
            received = received if len(received) <= _MAX_SHOWN_CHARS else f"{received[: _MAX_SHOWN_CHARS - 3]}..."
            yield f"{name}: {detail['msg'].removeprefix('Value error, ')}, received {received}"


def is_file(source: str) -> bool:
    """Return True where code is named by its file, rather than as a module."""
    return source.endswith(".py") or "/" in source or "\\" in source


def _import_module(name: str, key: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        # The installed command, unlike `python -m`, does not look there.
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself or a package that it lies in; its own imports are its own affair.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"{key}: expected a module or a file, found no module {name!r}; install its package, run from its folder, put "
            "that on PYTHONPATH, or name the file (path/to/file.py)"
        ) from None


def _import_file(file: Path, key: str) -> ModuleType:
    path = file.expanduser().resolve()
    if not path.is_file():
        found = "a directory" if path.is_dir() else "nothing"
        raise ConfigError(
            f"{key}: expected a Python file, found {found} at {file}; in a TOML file a relative path is relative to it"
        )
    # Under a name of its own: two files may be called the same, and none must stand in the way of a module of its name.
    name = f"_workflow_r1_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    with _importing:
        return sys.modules[name] if name in sys.modules else _run_file(path, name, key)


def _run_file(path: Path, name: str, key: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{key}: expected a Python file, received {path}; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Before it runs: dataclasses and type hints look their module up.
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
