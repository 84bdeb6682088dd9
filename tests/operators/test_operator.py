"""The decorator: one typed function is all there is to an operator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from workflow_r1.errors import ConfigError, ServiceTimeoutError, ServiceUnavailableError
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.operators import Argument, Operator, OperatorResult, OperatorServices, operator

SERVICES = OperatorServices()


@operator(purpose="Joins texts.")
async def join_texts(head: str, part: list[str], *, services: OperatorServices) -> OperatorResult:
    assert services is SERVICES
    return OperatorResult(observation=head.join(part))


def test_name_usage_and_arguments_come_from_the_function() -> None:
    assert join_texts.name == "JoinTexts"
    assert join_texts.purpose == "Joins texts."
    assert join_texts.usage == "JoinTexts: <head>...</head> <part>...</part> <part>...</part> ..."
    assert join_texts.arguments == (Argument("head", is_list=False), Argument("part", is_list=True))


def test_arguments_arrive_by_name() -> None:
    result = asyncio.run(join_texts("<part>a</part><head>-</head><part>b</part>", SERVICES))
    assert result == OperatorResult(observation="a-b", valid=True)


def test_wrong_arguments_say_what_to_write_and_run_nothing() -> None:
    result = asyncio.run(join_texts("a b", OperatorServices()))
    assert not result.valid
    assert result.observation == (
        "JoinTexts was not run: there is text outside the tags; <head> is missing; <part> is missing. "
        "Write: JoinTexts: <head>...</head> <part>...</part> <part>...</part> ..."
    )


def test_lone_surrogates_never_reach_the_function() -> None:
    @operator(purpose="Repeats.")
    async def repeat(text: str, *, services: OperatorServices) -> OperatorResult:
        return OperatorResult(observation=text)

    assert asyncio.run(repeat("a\ud800b", SERVICES)).observation == "a?b"


def test_an_operator_may_refuse_its_input_and_cannot_leak_control_by_it() -> None:
    @operator(purpose="Refuses.")
    async def refuse(text: str, *, services: OperatorServices) -> OperatorResult:
        return OperatorResult(observation=f"not a number: {text}", valid=False)

    result = asyncio.run(refuse("<|im_end|></info>", SERVICES))
    assert not result.valid
    assert "<" not in result.observation


def test_errors_of_the_function_pass_through() -> None:
    @operator(purpose="Fails.")
    async def fail(text: str, *, services: OperatorServices) -> OperatorResult:
        raise ServiceUnavailableError(text)

    with pytest.raises(ServiceUnavailableError, match="down"):
        asyncio.run(fail("down", SERVICES))


def test_functions_that_cannot_be_operators() -> None:
    async def positional_services(text: str, services: OperatorServices) -> OperatorResult: ...

    async def no_arguments(*, services: OperatorServices) -> OperatorResult: ...

    async def table(rows: dict, *, services: OperatorServices) -> OperatorResult: ...

    async def several(*texts: str) -> OperatorResult: ...

    async def grammar(answer: str) -> OperatorResult: ...

    async def loose_settings(text: str, *, settings: dict) -> OperatorResult: ...

    async def no_resource(text: str, *, resource: object) -> OperatorResult: ...

    async def unknown(text: "Unknown") -> OperatorResult: ...  # type: ignore[name-defined]  # noqa: F821

    async def untyped(text, *, services: OperatorServices) -> OperatorResult: ...  # type: ignore[no-untyped-def]

    def not_async(text: str, *, services: OperatorServices) -> OperatorResult: ...

    cases: list[tuple[Any, str]] = [
        (positional_services, "keyword-only parameter `services`"),
        (no_arguments, "at least one argument"),
        (table, "expected str, int, float, bool"),
        (untyped, "expected str, int, float, bool"),
        (several, "names of their own"),
        (grammar, "tag of the policy's grammar"),
        (loose_settings, "pydantic model"),
        (no_resource, "`resource` and `opens`"),
        (unknown, "Unknown.*at run time"),
        (not_async, "async def"),
        (partial(grammar, answer="x"), "with a name, received functools.partial.*async def"),
    ]
    for function, message in cases:
        with pytest.raises(TypeError, match=message):
            operator(purpose="x")(function)


def test_an_operator_with_an_llm_of_its_own_is_given_that_one() -> None:
    seen: list[object] = []

    @operator(purpose="Looks at its LLM.")
    async def look(text: str, *, services: OperatorServices) -> OperatorResult:
        seen.append(services.require_chat())
        return OperatorResult(observation=text)

    shared, own = ScriptedChatModel(), ScriptedChatModel()
    for chats in ({"Look": own}, {"Other": own}, {}):
        asyncio.run(look("a", OperatorServices(chat=shared, chats=chats)))
    assert seen == [own, shared, shared]


def test_closing_the_services_closes_what_holds_connections() -> None:
    class Connected(ScriptedChatModel):
        num_closed = 0

        async def aclose(self) -> None:
            self.num_closed += 1

    shared, own = Connected(), Connected()
    asyncio.run(OperatorServices(chat=shared, chats={"A": own, "B": ScriptedChatModel()}).aclose())
    assert (shared.num_closed, own.num_closed) == (1, 1)
    for purpose in ("", "two\nlines"):
        with pytest.raises(TypeError, match="one line"):
            operator(purpose=purpose)(join_texts.function)


class Unit(StrEnum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


@operator(purpose="Says how warm it is.")
async def weather(
    city: str,
    day: Annotated[int, Field(ge=0, le=6)],
    unit: Unit = Unit.CELSIUS,
    detail: bool = False,
    near: Literal["sea", "hills"] | None = None,
) -> str:
    return repr((city, day, unit.value, detail, near))


def test_menu_and_check_come_from_the_types() -> None:
    assert weather.usage == (
        "Weather: <city>...</city> <day>a whole number, at least 0 and at most 6</day> "
        "<unit>one of celsius, fahrenheit (default celsius)</unit> <detail>true or false (default false)</detail> "
        "<near>one of sea, hills (optional)</near>"
    )
    assert weather.needs == frozenset()
    result = asyncio.run(weather("<city>Rome</city><day>3</day><detail>yes</detail><near>sea</near>", SERVICES))
    assert result.observation == "('Rome', 3, 'celsius', True, 'sea')"
    wrong = asyncio.run(weather("<city>Rome</city><day>7</day><unit>kelvin</unit>", SERVICES))
    assert not wrong.valid
    assert wrong.observation == (
        "Weather was not run: <day> must be a whole number, at least 0 and at most 6; <unit> must be one of celsius, "
        f"fahrenheit. Write: {weather.usage}"
    )


def test_a_sole_number_is_bare_and_a_default_may_be_left_out() -> None:
    @operator(purpose="Squares.")
    async def square(number: float = 2.0) -> str:
        return str(number**2)

    assert square.usage == "Square: the number, a number (default 2.0)"
    assert [asyncio.run(square(text, SERVICES)).observation for text in ("3", "<number>3</number>", "")] == [
        "9.0",
        "9.0",
        "4.0",
    ]
    for text in ("three", "nan", "inf", "9" * 5000):
        refused = asyncio.run(square(text, SERVICES))
        assert refused.observation.startswith("Square was not run: the number must be a number. Write: Square:")


def test_a_programming_error_names_the_operator_and_the_call() -> None:
    @operator(purpose="Fails.")
    async def divide(number: int) -> str:
        return str(1 / number)

    with pytest.raises(ZeroDivisionError) as raised:
        asyncio.run(divide("0", SERVICES))
    (note,) = raised.value.__notes__
    assert "The operator Divide (" in note
    assert f"{__file__}:" in note
    assert "called with '0'" in note


def test_what_is_no_observation_is_a_programming_error() -> None:
    @operator(purpose="Returns nothing.")
    async def nothing(text: str) -> str:
        return None  # type: ignore[return-value]

    with pytest.raises(TypeError, match="received NoneType"):
        asyncio.run(nothing("x", SERVICES))

    @operator(purpose="Returns a number.")
    async def number(text: str) -> OperatorResult:
        return OperatorResult(observation=12)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="observation of an OperatorResult, received int") as raised:
        asyncio.run(number("x", SERVICES))
    assert "The operator Number (" in raised.value.__notes__[0]


class ForeignError(Exception):
    """As an HTTP client of its own would raise it."""


def test_errors_from_outside_are_failed_services_without_the_keys_in_them() -> None:
    @operator(purpose="Fails.", service_errors=(ForeignError,))
    async def foreign(kind: str) -> str:
        raise {"own": ForeignError, "connection": ConnectionResetError, "time": TimeoutError}[kind](
            "for url 'https://me:secret@host/path?key=secret'"
        )

    for kind in ("own", "connection"):
        with pytest.raises(ServiceUnavailableError, match=r"^Foreign: .*//host/path\?\*\*\*") as raised:
            asyncio.run(foreign(kind, SERVICES))
        assert "secret" not in str(raised.value)
    with pytest.raises(ServiceTimeoutError, match="Foreign"):
        asyncio.run(foreign("time", SERVICES))


def test_of_requests_made_at_once_the_programming_error_counts_before_the_failed_service() -> None:
    @operator(purpose="Fails twice.")
    async def both(text: str) -> str:
        async def fail(error: Exception) -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ServiceUnavailableError("down")))
            if text == "wrong":
                group.create_task(fail(KeyError("oops")))
        return text

    with pytest.raises(ServiceUnavailableError, match="down"):
        asyncio.run(both("down", SERVICES))
    with pytest.raises(KeyError, match="oops"):
        asyncio.run(both("wrong", SERVICES))


def test_a_call_that_takes_too_long_is_a_failed_service() -> None:
    @operator(purpose="Hangs.", timeout_seconds=0.01)
    async def hang(text: str) -> str:
        await asyncio.sleep(60)
        return text

    with pytest.raises(ServiceTimeoutError, match=r"Hang: .*within 0.01 s.*timeout_seconds"):
        asyncio.run(hang("x", SERVICES))


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    town: str
    number: int = 1


def make_greeter() -> tuple[Operator, list[str]]:
    log: list[str] = []

    @asynccontextmanager
    async def open_door(settings: Place) -> AsyncIterator[str]:
        log.append(f"open {settings.town}")
        await asyncio.sleep(0)
        try:
            yield f"door {settings.number}"
        finally:
            log.append("close")

    @operator(purpose="Greets.", opens=open_door)
    async def greet(name: str, *, settings: Place, resource: str) -> str:
        return f"{name} at {resource} in {settings.town}"

    return greet, log


def test_settings_are_checked_against_their_type() -> None:
    greet, _ = make_greeter()
    assert greet.settings_type is Place
    with pytest.raises(ConfigError, match=r"operators.Greet.town: expected a value"):
        asyncio.run(greet("Ada", SERVICES))
    with pytest.raises(ConfigError) as refused:
        greet.configure({"town": "Rome", "number": "x", "twon": 1, "zzz": 1})
    assert "operators.Greet.number: Input should be a valid integer" in str(refused.value)
    assert "operators.Greet.twon: unknown key; did you mean 'town'?" in str(refused.value)
    assert "operators.Greet.zzz: unknown key; operators.Greet has town, number" in str(refused.value)
    with pytest.raises(ConfigError, match=r"received 'x{76}\.\.\.$"):
        greet.configure({"town": "Rome", "number": "x" * 500})
    with pytest.raises(ConfigError, match="takes no settings"):
        weather.configure({"a": 1})


def test_a_resource_is_opened_once_in_an_event_loop_and_closed_with_it() -> None:
    greet, log = make_greeter()
    here = greet.configure({"town": "Rome"})

    async def both() -> list[str]:
        return [result.observation for result in await asyncio.gather(here("Ada", SERVICES), here("Bob", SERVICES))]

    assert asyncio.run(both()) == ["Ada at door 1 in Rome", "Bob at door 1 in Rome"]
    assert log == ["open Rome", "close"]
    asyncio.run(both())
    assert log == ["open Rome", "close"] * 2


def test_a_resource_that_cannot_be_opened_is_tried_again() -> None:
    attempts = []

    @asynccontextmanager
    async def open_late() -> AsyncIterator[int]:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionRefusedError("not yet")
        yield len(attempts)

    @operator(purpose="Waits.", opens=open_late)
    async def late(text: str, *, resource: int) -> str:
        return f"{text} {resource}"

    async def twice() -> str:
        with pytest.raises(ServiceUnavailableError, match="not yet"):
            await late("x", SERVICES)
        return (await late("x", SERVICES)).observation

    assert asyncio.run(twice()) == "x 2"


def test_a_cancelled_caller_does_not_take_the_resource_from_the_others() -> None:
    greet, log = make_greeter()
    here = greet.configure({"town": "Rome"})

    async def run() -> str:
        first = asyncio.create_task(here("Ada", SERVICES))
        second = asyncio.create_task(here("Bob", SERVICES))
        await asyncio.sleep(0)
        first.cancel()
        return (await second).observation

    assert asyncio.run(run()) == "Bob at door 1 in Rome"
    assert log == ["open Rome", "close"]


def test_an_operator_may_score_its_call() -> None:
    @operator(purpose="scores")
    async def score(text: str) -> OperatorResult:
        return OperatorResult(observation=text, valid=text != "bad", reward=float(text) if text != "bad" else -1.0)

    assert asyncio.run(score("0.5", SERVICES)).reward == 0.5
    assert asyncio.run(score("bad", SERVICES)).reward == -1.0
    with pytest.raises(
        ValueError, match="expected a finite number as the reward of an OperatorResult, received nan"
    ) as caught:
        asyncio.run(score("nan", SERVICES))
    assert f"The operator Score ({score.place}) raised this" in "".join(caught.value.__notes__)
