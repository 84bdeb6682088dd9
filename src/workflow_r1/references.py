"""Code of the user's own, named in a configuration: ``package.module:name`` or ``path/file.py:name``."""

import difflib
import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from workflow_r1.errors import ConfigError


def load_reference(reference: str, *, key: str) -> object:
    """Import what a reference names.

    A module is looked for where Python looks, then in the working directory. A file is imported once, however often it is
    named. What goes wrong *inside* the code while it is imported is raised as it is, since its traceback says more than we
    could: all but a package that is not installed.

    Args:
        reference: ``package.module:name`` or ``path/file.py:name``; the name may be dotted.
        key: of the configuration, which errors name.

    Raises:
        ConfigError: the reference is malformed, names no module, file or object that there is, or its code needs a package
            that is not installed.
    """
    source, separator, name = reference.rpartition(":")
    if not separator or not source or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{key}: expected module:name or path/file.py:name, received {reference!r}")
    try:
        found: object = _import_file(Path(source), key) if source.endswith(".py") else _import_module(source, key)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{key}: expected to import {source}, but it needs {error.name!r}, which is not installed; install it"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{key}: expected {part!r} in {source}, found no such name{hint}")
        found = getattr(found, part)
    return found


def _import_module(name: str, key: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        # The installed command, unlike `python -m`, does not look there.
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself or a package that it lies in; what it imports in its turn is its own affair.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"{key}: expected the module {name!r}, found none; install it, run from its directory, or name its file "
            f"(path/file.py:name)"
        ) from None


def _import_file(path: Path, key: str) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"{key}: expected a Python file, found nothing at {path}")
    # A name of its own: two files may be called the same.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{key}: expected a Python file, found one that cannot be imported: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
