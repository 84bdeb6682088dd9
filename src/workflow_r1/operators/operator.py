"""An operator is one typed async function; name, usage and argument tags are read off its signature."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from workflow_r1.operators.arguments import Argument, parse_arguments, render_usage
from workflow_r1.operators.services import OperatorResult, OperatorServices
from workflow_r1.prompts import neutralise

OperatorFunction = Callable[..., Awaitable[OperatorResult]]
"""``async (question: str, solutions: list[str], ..., *, services: OperatorServices) -> OperatorResult``."""

_SERVICES = "services"


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the pool. Made by :func:`operator`."""

    name: str
    """Name that the policy writes, e.g. ``AnswerGenerate``."""
    purpose: str
    """One line for the prompt: what it is good for."""
    usage: str
    """One line for the prompt: how a call is written."""
    arguments: tuple[Argument, ...]
    """What a call gives, in the order of the signature."""
    function: OperatorFunction = field(repr=False)
    """What carries it out."""

    async def __call__(self, input: str, services: OperatorServices) -> OperatorResult:
        """Carry out one call.

        Args:
            input: what the policy wrote after the colon; any string.
            services: what it may use.

        Returns:
            The observation. Where ``valid`` is False it is text of our own, or neutralised already.

        Raises:
            ServiceError: a service failed after its retries.
            ConfigError: the operator needs a service that ``services`` lacks.
        """
        text = input.encode("utf-8", errors="replace").decode("utf-8")
        parsed = parse_arguments(text, self.arguments)
        if parsed.problems:
            return OperatorResult(
                observation=f"{self.name} was not run: {'; '.join(parsed.problems)}. Write: {self.usage}", valid=False
            )
        result = await self.function(**parsed.values, services=services.for_operator(self.name))
        if result.valid:
            return result
        return OperatorResult(observation=neutralise(result.observation), valid=False, usage=result.usage)


def operator(*, purpose: str) -> Callable[[OperatorFunction], Operator]:
    """Make an operator of an async function.

    The function's name in Pascal case is the operator's name (``sc_ensemble`` -> ``ScEnsemble``). Each parameter of type
    ``str`` or ``list[str]`` is an argument and the name of its tag; ``services`` is given by keyword.

    Args:
        purpose: one line for the prompt: what the operator is good for.

    Returns:
        A decorator that turns the function into an :class:`Operator`.

    Raises:
        TypeError: the function is not async, or its signature is not of this form.
    """

    def make(function: OperatorFunction) -> Operator:
        name = "".join(part[:1].upper() + part[1:] for part in function.__name__.split("_"))
        arguments = _read_signature(function)
        return Operator(
            name=name,
            purpose=purpose,
            usage=f"{name}: {render_usage(arguments)}",
            arguments=arguments,
            function=function,
        )

    return make


def _read_signature(function: OperatorFunction) -> tuple[Argument, ...]:
    place = f"operator function {function.__name__!r}"
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{place}: expected an async function; write `async def`")
    parameters = dict(inspect.signature(function, eval_str=True).parameters)
    services = parameters.pop(_SERVICES, None)
    if services is None or services.kind is not inspect.Parameter.KEYWORD_ONLY:
        raise TypeError(f"{place}: expected a keyword-only parameter `services`; write `*, services: OperatorServices`")
    if not parameters:
        raise TypeError(f"{place}: expected at least one argument of type str or list[str] before `*`")
    arguments = []
    for parameter in parameters.values():
        if parameter.annotation not in (str, list[str]):
            raise TypeError(
                f"{place}: expected str or list[str] for {parameter.name!r}, received {parameter.annotation}"
            )
        arguments.append(Argument(name=parameter.name, is_list=parameter.annotation == list[str]))
    return tuple(arguments)
