"""Finds operators that do not ship with the package: in files and modules that a configuration names, and by entry point.

Files and modules that the configuration names are imported and have to work. An entry point (group
``workflow_r1.operators``) names an operator, or a module that holds some; it comes with any installed package, so one
that cannot be used is reported and left out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from workflow_r1.errors import ConfigError
from workflow_r1.operators.operator import Operator
from workflow_r1.operators.pool import OPERATORS
from workflow_r1.references import explain_import, is_file, load_module

ENTRY_POINTS = "workflow_r1.operators"
"""Group of the entry points."""

_DECORATE = "decorate an async function with @operator(purpose=...) of workflow_r1.operators"


@dataclass(frozen=True, slots=True)
class FoundOperator:
    """An operator and its source."""

    operator: Operator
    """The operator."""
    origin: str
    """``built-in``, ``plugin my_operators.py``, ``entry point weather of my-package 1.2``."""


@dataclass(frozen=True, slots=True)
class FoundOperators:
    """Every operator that a pool may name."""

    operators: Mapping[str, FoundOperator]
    """Operators by name; the built-in ones first."""
    problems: tuple[str, ...] = ()
    """Mistakes of the entry points that were left out."""


def find_operators(plugins: Sequence[str] = (), *, names: Collection[str] | None = None) -> FoundOperators:
    """Find the operators that ship with the package, those of the plugins, and those of entry points.

    Args:
        plugins: files (``my_operators.py``) and modules (``my_package.operators``).
        names: names to find: entry points are imported only where the others lack one of these. None imports them always.

    Raises:
        ConfigError: a plugin cannot be imported, holds no operator, or defines a name that is taken.
    """
    found = {name: FoundOperator(made, "built-in") for name, made in OPERATORS.items()}
    for plugin in plugins:
        for made in _operators_in(_import_plugin(plugin), f"plugins: {plugin}"):
            before = found.setdefault(made.name, FoundOperator(made, f"plugin {plugin}"))
            if before.operator is not made:
                raise ConfigError(f"plugins: {_twice(before.operator, made)}")
    if names is not None and all(name in found for name in names):
        return FoundOperators(found)
    offered: dict[str, FoundOperator] = {}
    problems = []
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        origin = f"entry point {entry.name}" + (f" of {entry.dist.name} {entry.dist.version}" if entry.dist else "")
        try:
            for made in _load(entry, origin):
                before = found.get(made.name) or offered.setdefault(made.name, FoundOperator(made, origin))
                if before.operator is not made:
                    problems.append(f"{origin}: {_twice(before.operator, made)}. Until then the former is used")
        except ConfigError as error:
            problems.append(str(error))
    return FoundOperators({**found, **offered}, tuple(problems))


def _import_plugin(plugin: str) -> ModuleType:
    try:
        return load_module(plugin, key="plugins")
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        file = Path(plugin).expanduser().resolve() if is_file(plugin) else None
        raise ConfigError(
            f"plugins: {'' if file else f'{plugin}: '}{explain_import(error, file)}, or take it out"
        ) from error


def _load(entry: EntryPoint, origin: str) -> list[Operator]:
    try:
        loaded = entry.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{origin} ({entry.value}): {explain_import(error)}, or take it out") from error
    if isinstance(loaded, Operator):
        return [loaded]
    if isinstance(loaded, ModuleType):
        return _operators_in(loaded, origin)
    raise ConfigError(
        f"{origin} ({entry.value}): expected an operator or a module of operators, received {type(loaded).__name__}; {_DECORATE}"
    )


def _operators_in(module: ModuleType, origin: str) -> list[Operator]:
    """Return the operators in a module's namespace, each once, without those of the package's own pool."""
    made = [value for value in vars(module).values() if isinstance(value, Operator)]
    own = list({id(each): each for each in made if OPERATORS.get(each.name) is not each}.values())
    if not own:
        raise ConfigError(f"{origin}: expected at least one operator in {module.__file__}, found none; {_DECORATE}")
    return own


def _twice(first: Operator, second: Operator) -> str:
    return (
        f"expected one operator named {first.name}, found two, at {first.place} and at {second.place}; rename the second's "
        "function (its name in Pascal case is the operator's)"
    )
