"""Routes: a choice that repeats, shares by weight, failover, and rest for an endpoint that is down."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from workflow_r1.errors import (
    EndpointRejectedError,
    ReplayMissError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from workflow_r1.inference import (
    ChatModel,
    ChatReply,
    ChatRequest,
    Endpoint,
    FailingChatModel,
    RoutedChatModel,
    ScriptedChatModel,
)
from workflow_r1.inference.endpoints import rank
from workflow_r1.trajectory import FinishReason, Message, Usage


def replying(text: str) -> ScriptedChatModel:
    return ScriptedChatModel(lambda _: text)


def ask(chat: ChatModel, text: str = "q", **arguments: Any) -> str:
    return asyncio.run(chat(ChatRequest((Message(role="user", content=text),), **arguments))).text


def first_choice(*endpoints: Endpoint, avoid: str = "") -> str:
    """A question that goes to the first of the endpoints."""
    route = RoutedChatModel(endpoints)
    for number in range(1000):
        if ask(route, f"q{number}") == endpoints[0].name:
            return f"q{number}"
    raise AssertionError("no question goes there")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_request_goes_to_one_endpoint_whatever_the_order_of_the_configuration() -> None:
    def route(names: str) -> RoutedChatModel:
        return RoutedChatModel([Endpoint(name, replying(name)) for name in names])

    one, other = route("abc"), route("cab")
    chosen = [ask(one, f"q{number}") for number in range(50)]
    assert set(chosen) == set("abc")
    assert [ask(other, f"q{number}") for number in range(50)] == chosen


@pytest.mark.parametrize(
    "changes", [{"sample_index": 1}, {"temperature": 0.5}, {"max_tokens": 5}, {"stop": ["x"]}], ids=str
)
def test_every_part_of_a_request_takes_part_in_the_choice(changes: dict[str, Any]) -> None:
    route = RoutedChatModel([Endpoint(name, replying(name)) for name in "ab"])
    plain = [ask(route, f"q{number}") for number in range(60)]
    changed = [ask(route, f"q{number}", **changes) for number in range(60)]
    differ = sum(a != b for a, b in zip(plain, changed, strict=True))
    assert 15 <= differ <= 45


def test_shares_follow_the_weights() -> None:
    endpoints = [Endpoint("a", replying("a"), weight=3.0), Endpoint("b", replying("b")), Endpoint("c", replying("c"))]
    shares = Counter(rank(endpoints, str(number))[0].name for number in range(5000))
    assert shares["a"] / 5000 == pytest.approx(0.6, abs=0.03)
    assert shares["b"] / 5000 == pytest.approx(0.2, abs=0.03)


def test_a_new_endpoint_takes_over_its_share_and_moves_nothing_else() -> None:
    old = [Endpoint("a", replying("a")), Endpoint("b", replying("b"))]
    new = [*old, Endpoint("c", replying("c"))]
    for number in range(300):
        before, after = rank(old, str(number))[0].name, rank(new, str(number))[0].name
        assert after in (before, "c")


def test_weight_nought_is_only_a_reserve() -> None:
    endpoints = [Endpoint("reserve", replying("reserve"), weight=0.0), Endpoint("a", replying("a"), weight=0.01)]
    assert {rank(endpoints, str(number))[0].name for number in range(300)} == {"a"}
    down = RoutedChatModel([endpoints[0], Endpoint("a", FailingChatModel(), weight=1.0)])
    assert ask(down) == "reserve"
    assert down.failovers == {"a": 1}


@pytest.mark.parametrize("error", [ServiceUnavailableError, ServiceTimeoutError, EndpointRejectedError])
def test_what_is_the_endpoints_fault_goes_on_to_the_next(error: type[ServiceError]) -> None:
    route = RoutedChatModel([Endpoint("a", FailingChatModel(error("down"))), Endpoint("b", replying("b"))])
    assert [ask(route, f"q{number}") for number in range(10)] == ["b"] * 10


def test_what_is_the_requests_fault_does_not() -> None:
    refusing = [Endpoint(name, FailingChatModel(ServiceRejectedError("too long"))) for name in "ab"]
    with pytest.raises(ServiceRejectedError, match=r"^too long$"):
        ask(RoutedChatModel(refusing))
    assert sum(len(endpoint.chat.requests) for endpoint in refusing) == 1  # type: ignore[attr-defined]


def test_a_programming_error_does_not() -> None:
    with pytest.raises(KeyError):
        ask(RoutedChatModel([Endpoint(name, FailingChatModel(KeyError("k"))) for name in "ab"]))


def test_all_fail() -> None:
    failing = FailingChatModel(ServiceUnavailableError("no connection"))
    route = RoutedChatModel([Endpoint("a", failing), Endpoint("b", failing)])
    with pytest.raises(
        ServiceUnavailableError, match=r"none of 2 endpoints replied: \[.\] no connection; \[.\] no con"
    ):
        ask(route)


def test_an_endpoint_that_is_down_rests_and_is_tried_by_one_request_at_a_time() -> None:
    clock = Clock()
    failing = FailingChatModel()
    down = Endpoint("a", failing, cool_down_seconds=30, clock=clock)
    question = first_choice(Endpoint("a", replying("a")), Endpoint("b", replying("b")))
    route = RoutedChatModel([down, Endpoint("b", replying("b"), clock=clock)])

    def attempts(num: int) -> int:
        before = len(failing.requests)
        assert [ask(route, question) for _ in range(num)] == ["b"] * num
        return len(failing.requests) - before

    assert attempts(2) == 2
    assert not down.is_down  # Two in a row may be bad luck.
    assert attempts(8) == 1
    assert down.is_down
    clock.now = 29.9
    assert attempts(5) == 0
    clock.now = 30.1
    assert attempts(5) == 1
    clock.now = 60.2
    down.chat = replying("a")
    assert [ask(route, question) for _ in range(3)] == ["a"] * 3
    assert not down.is_down


def test_a_request_that_an_earlier_endpoint_answers_does_not_use_up_the_trial_of_one_that_is_down() -> None:
    clock = Clock()
    main, reserve = replying("main"), Endpoint("reserve", FailingChatModel(), weight=0.0, clock=clock)
    route = RoutedChatModel([Endpoint("main", main, clock=clock), reserve])
    reserve.note_failure(EndpointRejectedError("bad key"))
    reserve.chat = replying("reserve")
    clock.now = 31.0
    assert ask(route) == "main"
    route.endpoints[0].chat = FailingChatModel()
    clock.now = 32.0  # The reserve's pause has been over since 30, and nobody has tried it.
    assert ask(route) == "reserve"
    assert not reserve.is_down


def test_one_reply_ends_a_row_of_failures() -> None:
    replies = iter([ServiceTimeoutError("t"), ServiceTimeoutError("t"), "a"] * 5)
    shaky = Endpoint("a", ScriptedChatModel(lambda _: next(replies)), weight=1e9)
    route = RoutedChatModel([shaky, Endpoint("b", replying("b"), weight=1e-9)])
    assert [ask(route) for _ in range(15)] == ["b", "b", "a"] * 5


def test_a_bad_key_rests_at_once() -> None:
    refused = FailingChatModel(EndpointRejectedError("bad key"))
    route = RoutedChatModel([Endpoint("a", refused, weight=1e9), Endpoint("b", replying("b"), weight=1e-9)])
    for _ in range(5):
        ask(route)
    assert len(refused.requests) == 1


def test_where_all_are_down_all_are_tried() -> None:
    endpoints = [Endpoint(name, FailingChatModel()) for name in "ab"]
    route = RoutedChatModel(endpoints)
    for _ in range(4):
        with pytest.raises(ServiceUnavailableError):
            ask(route)
    assert all(endpoint.is_down for endpoint in endpoints)
    for endpoint in endpoints:
        endpoint.chat = replying("back")
    assert ask(route) == "back"


@pytest.mark.parametrize("error", [ServiceUnavailableError, EndpointRejectedError])
def test_a_request_that_every_other_endpoint_failed_tries_those_that_rest(error: type[ServiceError]) -> None:
    """It had failed with one of them back up; the next request, with none up, tried them all."""
    resting = Endpoint("rests", replying("back"))
    resting.note_failure(EndpointRejectedError("bad key"))
    route = RoutedChatModel([Endpoint("up", FailingChatModel(error("no"))), resting])
    assert ask(route) == "back"
    assert not resting.is_down and route.failovers == {"up": 1}


def test_health_is_shared_by_the_routes_of_an_endpoint() -> None:
    failing = FailingChatModel(EndpointRejectedError("bad key"))
    shared = Endpoint("a", failing, weight=1e9)
    for other in "bc":
        assert ask(RoutedChatModel([shared, Endpoint(other, replying(other), weight=1e-9)])) == other
    assert len(failing.requests) == 1


def test_a_replay_looks_for_the_reply_at_every_endpoint() -> None:
    def missing(name: str) -> FailingChatModel:
        return FailingChatModel(ReplayMissError(f"no reply of {name}"))

    route = RoutedChatModel([Endpoint("a", missing("a"), weight=1e9), Endpoint("b", replying("b"), weight=1e-9)])
    assert [ask(route) for _ in range(5)] == ["b"] * 5
    assert not route.failovers
    assert not any(endpoint.is_down for endpoint in route.endpoints)
    route = RoutedChatModel([Endpoint("a", missing("a"), weight=1e9), Endpoint("b", missing("b"), weight=1e-9)])
    with pytest.raises(ReplayMissError, match="no reply of a"):
        ask(route)


def test_a_stored_reply_says_nothing_of_the_endpoints_health() -> None:
    stored = ChatReply("stored", FinishReason.STOP, Usage(llm_calls=1, stored_calls=1))
    failure = ServiceUnavailableError("down")
    replies = iter([failure, failure, stored, failure])
    shaky = Endpoint("a", ScriptedChatModel(lambda _: next(replies)), weight=1e9)
    route = RoutedChatModel([shaky, Endpoint("b", replying("b"), weight=1e-9)])
    assert [ask(route) for _ in range(4)] == ["b", "b", "stored", "b"]
    assert shaky.is_down


def test_closing_closes_every_endpoint() -> None:
    class Connected(ScriptedChatModel):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    connected = Connected()
    asyncio.run(RoutedChatModel([Endpoint("a", connected), Endpoint("b", replying("b"))]).aclose())
    assert connected.closed


@pytest.mark.parametrize("names", ["", "aa"])
def test_endpoints_have_distinct_names(names: str) -> None:
    with pytest.raises(ValueError, match="distinct names"):
        RoutedChatModel([Endpoint(name, replying(name)) for name in names])
