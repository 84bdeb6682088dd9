"""The operators of a pool: found, configured and checked."""

from collections.abc import Collection, Mapping, Sequence

from workflow_r1.config.sections import PoolSettings
from workflow_r1.errors import ConfigError
from workflow_r1.nearest import did_you_mean
from workflow_r1.operators import Operator, find_operators


def build_operators(pool: PoolSettings) -> Mapping[str, Operator]:
    """Return the operators by name: the package's own, the plugins', and those of entry points.

    Raises:
        ConfigError: a plugin or a setting cannot be used, or an operator's name is unknown.
    """
    found = find_operators(pool.plugins, names={*pool.names, *pool.settings})
    operators = {name: each.operator for name, each in found.operators.items()}
    _check_names("operators", pool.settings, operators, found.problems)
    operators |= {name: operators[name].configure(values) for name, values in pool.settings.items()}
    _check_names("environment.operators", pool.names, operators, found.problems)
    return operators


def check_pool(names: Sequence[str], operators: Mapping[str, Operator]) -> None:
    """Refuse names without an operator, and operators that lack settings.

    Raises:
        ConfigError: names the first, and the nearest right one.
    """
    _check_names("environment.operators", names, operators)
    for name in names:
        if operators[name].settings_type is not None and operators[name].settings is None:
            operators[name].configure({})  # Raises, and names the missing service.


def _check_names(
    key: str, names: Collection[str], operators: Mapping[str, Operator], problems: Sequence[str] = ()
) -> None:
    for name in names:
        if name not in operators:
            hint = did_you_mean(name, operators) or "; plugins may add more"
            left_out = "".join(f"\nleft out: {problem}" for problem in problems)
            raise ConfigError(f"{key}: expected names among {', '.join(operators)}; received {name!r}{hint}{left_out}")
