"""Reward functions of the user's own: found by their reference, called, and their results checked."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_r1.errors import ConfigError, RewardError
from workflow_r1.references import explain_import, load_reference, place_of, place_of_error
from workflow_r1.trajectory import ScoredTrajectory

GROUP = "group"
"""Name of the parameter by which a function asks for a whole group."""


@dataclass(frozen=True, slots=True)
class RewardFunction:
    """A function ``(trajectory) -> number`` or ``(group) -> numbers``; the parameter's name tells which."""

    name: str
    """Name of the function: its part of the reward."""
    function: Callable[..., Any] = field(repr=False)
    """Function that the user wrote."""
    takes_group: bool
    """True where it is given all trajectories of a group at once."""

    @property
    def place(self) -> str:
        """Place of its source: ``file:line``."""
        return place_of(self.function)

    def __call__(self, group: Sequence[ScoredTrajectory]) -> list[float]:
        """Return one number for each trajectory of a group.

        Args:
            group: trajectories with the task's own reward.

        Raises:
            RewardError: the function raised an error, or returned something else; names file and line.
        """
        if not self.takes_group:
            return [self._number(self._call(each, f"trajectory {each.id!r}"), each) for each in group]
        asked = f"group {group[0].group_id!r}" if group else "an empty group"
        numbers = self._call(list(group), asked)
        if not isinstance(numbers, Sequence | tuple) and not hasattr(numbers, "__len__"):
            raise self._wrong(f"a list of {len(group)} numbers", _shown(numbers), asked)
        if isinstance(numbers, str) or len(numbers) != len(group):
            found = _shown(numbers) if isinstance(numbers, str) else f"{len(numbers)} of them"
            raise self._wrong(f"a list of {len(group)} numbers", found, asked)
        return [self._number(number, each) for number, each in zip(numbers, group, strict=True)]

    def _call(self, given: object, asked: str) -> Any:
        try:
            return self.function(given)
        except Exception as error:
            raise RewardError(
                f"{place_of_error(error, Path(self.place.rpartition(':')[0])) or self.place}: the reward function {self.name} raised {type(error).__name__}: {error} "
                f"({asked}); mend it, or take it out of reward.weights"
            ) from error

    def _number(self, value: Any, trajectory: ScoredTrajectory) -> float:
        asked = f"trajectory {trajectory.id!r}"
        if value is None or isinstance(value, str | bytes):
            raise self._wrong("a finite number", _shown(value), asked)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise self._wrong("a finite number", _shown(value), asked) from None
        if not math.isfinite(number):
            raise self._wrong("a finite number", str(number), asked)
        return number

    def _wrong(self, expected: str, received: str, asked: str) -> RewardError:
        return RewardError(
            f"{self.place}: expected the reward function {self.name} to return {expected}, received {received} ({asked})"
        )


def load_function(reference: str) -> RewardFunction:
    """Import a reward function.

    Args:
        reference: ``path/file.py:function`` or ``package.module:function``.

    Raises:
        ConfigError: there is no such function, it takes something else, or its file cannot be imported.
    """
    key = f'reward.weights."{reference}"'
    try:
        found = load_reference(reference, key=key)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{key}: {explain_import(error)}") from error
    name = reference.rpartition(":")[2].rpartition(".")[2]
    if not callable(found):
        raise ConfigError(f"{key}: expected a function, found {type(found).__name__}")
    if inspect.iscoroutinefunction(found):
        raise ConfigError(f"{key}: expected a plain function, found an async one; write `def {name}(trajectory)`")
    return RewardFunction(name, found, takes_group=_only_parameter(found, key) == GROUP)


def _only_parameter(function: Callable[..., Any], key: str) -> str:
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # Some built-in functions have no signature.
        parameters = []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if len(needed) != 1 or needed[0].kind not in positional:
        raise ConfigError(
            f"{key}: expected a function of one argument, `trajectory` or `group`, received "
            f"({', '.join(str(each) for each in parameters)})"
        )
    return needed[0].name


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
