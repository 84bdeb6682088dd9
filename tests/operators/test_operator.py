"""The decorator: one typed function is all there is to an operator."""

import asyncio
from typing import Any

import pytest

from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.operators import Argument, OperatorResult, OperatorServices, operator

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
    async def no_services(text: str) -> OperatorResult: ...

    async def positional_services(text: str, services: OperatorServices) -> OperatorResult: ...

    async def no_arguments(*, services: OperatorServices) -> OperatorResult: ...

    async def number(count: int, *, services: OperatorServices) -> OperatorResult: ...

    async def untyped(text, *, services: OperatorServices) -> OperatorResult: ...  # type: ignore[no-untyped-def]

    def not_async(text: str, *, services: OperatorServices) -> OperatorResult: ...

    cases: list[tuple[Any, str]] = [
        (no_services, "keyword-only parameter `services`"),
        (positional_services, "keyword-only parameter `services`"),
        (no_arguments, "at least one argument"),
        (number, "expected str or list"),
        (untyped, "expected str or list"),
        (not_async, "async def"),
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
