"""An operator is one typed async function; name, usage and argument tags are read off its signature."""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from workflow_r1.errors import (
    ConfigError,
    ContentRejectedError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    TooLongError,
    WorkflowR1Error,
)
from workflow_r1.operators.arguments import REQUIRED, Argument, parse_arguments, read_type, render_usage
from workflow_r1.operators.resource import Opener, Resource
from workflow_r1.operators.services import OperatorResult, OperatorServices
from workflow_r1.prompts import neutralise
from workflow_r1.references import explain_settings, place_of
from workflow_r1.services.secrets import mask_addresses

OperatorFunction = Callable[..., Awaitable[OperatorResult | str]]
"""``async (question: str, count: int = 3, *, services: OperatorServices) -> OperatorResult``, or of the observation alone.
``services``, ``settings`` and ``resource`` are given, by keyword, to a function that names them."""

Need = Literal["llm", "search"]
"""A service of the configuration."""

_GIVEN = frozenset({"services", "settings", "resource"})
"""Parameters that are not arguments of a call."""

_GRAMMAR_TAGS = frozenset({"think", "tool", "answer", "info"})
"""Tags that cannot stand inside a call."""

_MAX_QUOTED_CHARS = 300
"""Longest part of an error's own message, or of a call's input, that a message repeats, in characters."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the pool. Made by :func:`operator`."""

    name: str
    """Name that the policy writes, e.g. ``AnswerGenerate``."""
    purpose: str
    """Purpose, as one line for the prompt."""
    usage: str
    """Usage line for the prompt: the form of a call."""
    arguments: tuple[Argument, ...]
    """Arguments of a call, in the order of the signature."""
    function: OperatorFunction = field(repr=False)
    """Function that carries it out."""
    takes: frozenset[str] = frozenset({"services"})
    """Names among ``services``, ``settings`` and ``resource`` that the function takes."""
    needs: frozenset[Need] = frozenset({"llm"})
    """Services of the configuration without which it cannot work."""
    timeout_seconds: float | None = None
    """Longest that one call may take; None leaves it to the services' own limits."""
    service_errors: tuple[type[Exception], ...] = ()
    """Exceptions of the function that mean a failed service."""
    settings_type: type[BaseModel] | None = None
    """Type of its section ``[operators.NAME]`` of the configuration; None where it takes no settings."""
    settings: BaseModel | None = None
    """The settings in force; None where it takes none, or needs some that it was not given."""
    opens: Opener | None = field(default=None, repr=False)
    """Maker of the context of its resource."""
    resource: Resource | None = field(default=None, repr=False)
    """Resource that it holds open between calls."""

    @property
    def place(self) -> str:
        """Place of its source: ``file:line``."""
        return place_of(self.function)

    async def __call__(self, input: str, services: OperatorServices) -> OperatorResult:
        """Carry out one call.

        Args:
            input: the policy's text after the colon; any string.
            services: LLM and search that it may use.

        Returns:
            The observation. Where ``valid`` is False it is text of our own, or neutralised already; so it is where a
            service refuses the call's length or content.

        Raises:
            ServiceError: a service failed after its retries, or the call took too long.
            ConfigError: the operator lacks a service or settings.
            Exception: the function is wrong; a note on the exception names the operator and the call.
        """
        text = input.encode("utf-8", errors="replace").decode("utf-8")
        parsed = parse_arguments(text, self.arguments)
        if parsed.problems:
            return OperatorResult(
                observation=f"{self.name} was not run: {'; '.join(parsed.problems)}. Write: {self.usage}", valid=False
            )
        limit = asyncio.timeout(self.timeout_seconds)
        try:
            async with limit:
                result = await self._run(parsed.values, services)
        except Exception as error:
            judged = self._judge(error, text, is_late=limit.expired())
            if isinstance(judged, ContentRejectedError):
                # The service refuses the policy's own text: that is the policy's mistake, and it can write something
                # else.
                return OperatorResult(observation=f"{self.name} was not run: {_advise(judged)}", valid=False)
            if judged is error:
                raise
            raise judged from error
        if result.valid:
            return result
        return replace(result, observation=neutralise(result.observation))

    def configure(self, values: Mapping[str, Any]) -> "Operator":
        """Return the operator with settings of its own, and so with a resource of its own.

        Args:
            values: its section ``[operators.NAME]``; a missing key keeps its default.

        Raises:
            ConfigError: names each key and value that does not fit.
        """
        key = f"operators.{self.name}"
        if self.settings_type is None:
            raise ConfigError(f"{key}: expected no such section, since {self.name} takes no settings; take it out")
        try:
            settings = self.settings_type.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError("\n".join(explain_settings(key, self.settings_type, error))) from None
        return replace(self, settings=settings, resource=_make_resource(self.opens, settings))

    async def _run(self, values: Mapping[str, Any], services: OperatorServices) -> OperatorResult:
        if self.settings_type is not None and self.settings is None:
            self.configure({})  # Raises, and names the missing service.
        given: dict[str, Any] = {"services": services.for_operator(self.name), "settings": self.settings}
        if "resource" in self.takes and self.resource is not None:
            given["resource"] = await self.resource.get()
        result = await self.function(**values, **{name: given[name] for name in self.takes})
        if isinstance(result, str):
            return OperatorResult(observation=result)
        if not isinstance(result, OperatorResult):
            raise TypeError(f"expected a text or an OperatorResult, received {type(result).__name__}")
        if not isinstance(result.observation, str):
            raise TypeError(
                f"expected a text as the observation of an OperatorResult, received {type(result.observation).__name__}"
            )
        if result.reward is not None and not math.isfinite(result.reward):
            raise ValueError(f"expected a finite number as the reward of an OperatorResult, received {result.reward}")
        return result

    def _judge(self, error: Exception, text: str, *, is_late: bool) -> Exception:
        """Distinguish a failed service from a programming error."""
        while isinstance(error, ExceptionGroup):  # The function made several requests at once.
            found = error.exceptions
            error = next((inner for inner in found if not isinstance(inner, self._failures)), found[0])
        if is_late and isinstance(error, TimeoutError):
            return ServiceTimeoutError(
                f"{self.name}: expected an observation within {self.timeout_seconds:g} s, received none; see what it waits "
                "for, or raise timeout_seconds of its @operator"
            )
        if isinstance(error, WorkflowR1Error):
            return error
        if isinstance(error, self._failures):
            kind = ServiceTimeoutError if isinstance(error, TimeoutError) else ServiceUnavailableError
            return kind(f"{self.name}: expected its service to reply, received {_describe_error(error)}")
        error.add_note(
            f"The operator {self.name} ({self.place}) raised this, called with {text[:_MAX_QUOTED_CHARS]!r}. An error that "
            "may come from outside belongs into service_errors of its @operator; one of the call's arguments into an "
            "OperatorResult with valid=False."
        )
        return error

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        return (ServiceError, ConnectionError, TimeoutError, *self.service_errors)


def operator(
    *,
    purpose: str,
    needs: tuple[Need, ...] | None = None,
    timeout_seconds: float | None = None,
    service_errors: tuple[type[Exception], ...] = (),
    opens: Opener | None = None,
) -> Callable[[OperatorFunction], Operator]:
    """Make an operator of an async function.

    The function's name in Pascal case is the operator's name (``sc_ensemble`` -> ``ScEnsemble``). Its parameters are
    the arguments of a call and the names of their tags; see :func:`~workflow_r1.operators.arguments.read_type` for
    their types. Three keyword-only parameters are not arguments; a function that names them gets:

        services: OperatorServices      the configuration's LLM and search
        settings: SomeModel             its section ``[operators.NAME]``, read into this pydantic model
        resource                        the thing that ``opens`` holds open

    It returns an ``OperatorResult``, or the observation as a text.

    Args:
        purpose: one line for the prompt.
        needs: services that must be configured. By default the LLM where the function takes ``services``, else nothing.
        timeout_seconds: longest that one call may take, its waits for services included; then it counts as a failed
            service.
        service_errors: exceptions of the function that mean a failed service, besides ``ServiceError``,
            ``ConnectionError`` and ``TimeoutError``, e.g. ``(httpx2.HTTPError,)``. Any other one is a programming error.
        opens: an async context manager, given the settings where it has a parameter for them. It is entered at the first
            call and left when the event loop ends.

    Returns:
        A decorator that turns the function into an :class:`Operator`.

    Raises:
        TypeError: the function is not async, or its signature is not of this form.
    """

    def make(function: OperatorFunction) -> Operator:
        if not hasattr(function, "__name__"):
            raise TypeError(f"expected an async function with a name, received {function!r}; write `async def`")
        place = f"operator function {function.__name__!r}"
        if not purpose.strip() or "\n" in purpose:
            raise TypeError(f"{place}: expected a purpose of one line, received {purpose!r}")
        name = "".join(part[:1].upper() + part[1:] for part in function.__name__.split("_"))
        arguments, takes, settings_type = _read_signature(function, place)
        if opens is not None:
            settings_type = settings_type or _settings_of(opens, place)
        if ("resource" in takes) != (opens is not None):
            raise TypeError(f"{place}: expected both a keyword-only parameter `resource` and `opens`, or neither")
        made = Operator(
            name=name,
            purpose=purpose,
            usage=f"{name}: {render_usage(arguments)}",
            arguments=arguments,
            function=function,
            takes=takes,
            needs=frozenset(needs if needs is not None else ("llm",) if "services" in takes else ()),
            timeout_seconds=timeout_seconds,
            service_errors=tuple(service_errors),
            settings_type=settings_type,
            opens=opens,
            resource=None if settings_type else _make_resource(opens, None),
        )
        if settings_type is None:
            return made
        try:
            return made.configure({})
        except ConfigError:
            return made  # It has settings without a default.

    return make


def _read_signature(
    function: OperatorFunction, place: str
) -> tuple[tuple[Argument, ...], frozenset[str], type[BaseModel] | None]:
    """Return the arguments, the names of the other parameters, and the type of the settings."""
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{place}: expected an async function; write `async def`")
    parameters = _parameters(function, place)
    takes = _GIVEN & parameters.keys()
    for name in sorted(takes):
        if parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"{place}: expected a keyword-only parameter `{name}`; write `*, {name}: ...`")
    settings_type = _settings_type(parameters["settings"], place) if "settings" in takes else None
    arguments = []
    for parameter in parameters.values():
        if parameter.name in takes:
            continue
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            raise TypeError(f"{place}: expected parameters with names of their own, received {parameter}")
        if parameter.name in _GRAMMAR_TAGS:
            raise TypeError(
                f"{place}: <{parameter.name}> is a tag of the policy's grammar; name the argument otherwise"
            )
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        try:
            arguments.append(read_type(parameter.name, parameter.annotation, default))
        except TypeError as error:
            raise TypeError(f"{place}: {error}") from None
    if not arguments:
        raise TypeError(f"{place}: expected at least one argument, e.g. `query: str`")
    return tuple(arguments), frozenset(takes), settings_type


def _parameters(function: Callable[..., Any], place: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function, eval_str=True).parameters
    except NameError as error:
        raise TypeError(f"{place}: {error}; import what its annotations name at run time") from None


def _settings_of(opens: Opener, place: str) -> type[BaseModel] | None:
    """Type of the argument of ``opens``; None where it takes nothing."""
    parameters = [*_parameters(opens, place).values()]
    return _settings_type(parameters[0], place) if parameters else None


def _settings_type(parameter: inspect.Parameter, place: str) -> type[BaseModel]:
    annotation = parameter.annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"{place}: expected a pydantic model as the type of `{parameter.name}`, received {annotation}")
    return annotation


def _make_resource(opens: Opener | None, settings: BaseModel | None) -> Resource | None:
    if opens is None:
        return None
    takes_settings = bool(inspect.signature(opens).parameters)
    return Resource(lambda: opens(settings) if takes_settings else opens())


def _advise(refused: ContentRejectedError) -> str:
    """Return the policy's observation of a refusal; the service's own message names addresses, which the policy never sees."""
    if isinstance(refused, TooLongError):
        return "the input is longer than the service behind it takes. Write a shorter input."
    return "the service behind it does not allow what the input says. Write the input in other words."


def _describe_error(error: Exception) -> str:
    """Kind and message of an error from outside, short, without logins and queries of addresses, which may hold keys."""
    text = mask_addresses(" ".join(str(error).split()), whole_query=True)
    return f"{type(error).__name__}: {text[:_MAX_QUOTED_CHARS]}" if text else type(error).__name__
