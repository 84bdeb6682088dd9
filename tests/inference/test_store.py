"""An LLM behind the store of calls."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from workflow_r1.errors import (
    ContentRejectedError,
    FilteredError,
    ReplayMissError,
    ServiceTimeoutError,
    TooLongError,
)
from workflow_r1.inference import (
    ChatReply,
    ChatRequest,
    Endpoint,
    FailingChatModel,
    ReplyFlaw,
    RoutedChatModel,
    ScriptedChatModel,
    StoredChatModel,
)
from workflow_r1.store import CallStore
from workflow_r1.trajectory import FinishReason, Message, Usage

QUESTION = (Message(role="user", content="Who directed Jaws?"),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite3"


def numbered() -> ScriptedChatModel:
    """Gives another reply to every request."""
    return ScriptedChatModel([f"reply {number}" for number in range(1, 100)])


def ask(inner: Any, path: Path, *requests: dict[str, Any], mode: Any = "use", **identity: Any) -> list[ChatReply]:
    async def main() -> list[ChatReply]:
        with CallStore(path, mode=mode) as store:
            chat = StoredChatModel(inner, store, **{"model": "m", "endpoint": "http://a/v1", **identity})
            return [await chat(ChatRequest(**{"messages": QUESTION, **request})) for request in requests]

    return asyncio.run(main())


def test_a_reply_comes_back_as_it_was_and_says_that_it_was_stored(path: Path) -> None:
    cut = ChatReply(
        "half \ud800 a surrogate pair, and Zürich", FinishReason.LENGTH,
        Usage(llm_calls=1, prompt_tokens=7, completion_tokens=5, cost=0.25, paid=0.25),
    )  # fmt: skip
    first, again = ask(ScriptedChatModel([cut]), path, {}, {})
    assert first == cut
    assert (again.text, again.finish_reason) == (cut.text, cut.finish_reason)
    assert again.usage == Usage(llm_calls=1, prompt_tokens=7, completion_tokens=5, stored_calls=1, stored_tokens=12)
    (replayed,) = ask(None, path, {}, mode="replay")
    assert replayed == again


def test_a_reply_without_token_figures_is_one_without_them_in_a_replay(path: Path) -> None:
    usage = Usage(llm_calls=1, prompt_tokens=7, unreported_calls=1)
    (first,) = ask(ScriptedChatModel([ChatReply("x", FinishReason.STOP, usage)]), path, {})
    (again,) = ask(None, path, {}, mode="replay")
    assert first.usage.tokens is again.usage.tokens is None


@pytest.mark.parametrize("refusal", [TooLongError("9 tokens"), FilteredError("flagged")])
def test_a_refusal_of_what_was_asked_is_heard_again_in_a_replay(path: Path, refusal: ContentRejectedError) -> None:
    inner = ScriptedChatModel(lambda _: refusal)
    for chat, mode in ((inner, "use"), (inner, "use"), (None, "replay")):
        with pytest.raises(type(refusal), match=str(refusal)):
            ask(chat, path, {}, mode=mode)
    assert len(inner.requests) == 1


def test_thought_and_flaw_are_kept_and_a_reply_without_them_is_stored_as_before(path: Path) -> None:
    silent = ChatReply("", FinishReason.STOP, Usage(llm_calls=1), reasoning="Hm.", flaw=ReplyFlaw.REASONING_ONLY)
    plain = ChatReply("a", FinishReason.STOP, Usage(llm_calls=1))
    ask(ScriptedChatModel([silent, plain]), path, {}, {"sample_index": 1, "temperature": 1.0})
    again, plain_again = ask(None, path, {}, {"sample_index": 1, "temperature": 1.0}, mode="replay")
    assert (again.text, again.reasoning, again.flaw) == ("", "Hm.", ReplyFlaw.REASONING_ONLY)
    assert (plain_again.reasoning, plain_again.flaw) == ("", None)


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": (Message(role="user", content="Who directed Jaws 2?"),)},
        {"messages": (Message(role="system", content="Who directed Jaws?"),)},
        {"messages": (*QUESTION, *QUESTION)},
        {"temperature": 0.5},
        {"max_tokens": 10},
        {"sample_index": 1},
        {"stop": ("x",)},
    ],
)
def test_what_makes_another_call(path: Path, request_: dict[str, Any]) -> None:
    inner = numbered()
    plain, other, plain_again, other_again = ask(inner, path, {}, request_, {}, request_)
    assert (plain.text, other.text) == (plain_again.text, other_again.text) == ("reply 1", "reply 2")
    assert len(inner.requests) == 2


def test_a_store_recorded_by_an_earlier_version_is_found_again() -> None:
    """The request that makes the key, literally: another spelling would lose every store that there is."""

    class Keys:
        mode, by_address = "use", True

        async def answer(self, call: Any, ask: Any) -> tuple[dict[str, Any], bool]:
            self.request = json.dumps(call.request, sort_keys=True, separators=(",", ":"))
            return await ask(), False

    keys = Keys()
    chat = StoredChatModel(numbered(), keys, model="m", endpoint="http://a/v1", extra_body={"top_k": 3})  # type: ignore[arg-type]
    asyncio.run(chat(ChatRequest(QUESTION, temperature=1, max_tokens=9, sample_index=2, stop=("x",))))
    assert keys.request == (
        '{"endpoint":"http://a/v1","extra_body":{"top_k":3},"max_tokens":9,"messages":[["user","Who directed Jaws?"]],'
        '"model":"m","sample_index":2,"stop":["x"],"temperature":1.0}'
    )


@pytest.mark.parametrize("identity", [{"model": "n"}, {"endpoint": "http://b/v1"}, {"extra_body": {"top_k": 1}}])
def test_what_makes_another_service(path: Path, identity: dict[str, Any]) -> None:
    inner = numbered()
    plain = {"endpoint": "http://a/v1"}
    texts = [ask(inner, path, {}, **chosen)[0].text for chosen in (plain, plain | identity, plain, plain | identity)]
    assert texts == ["reply 1", "reply 2", "reply 1", "reply 2"]


def test_equal_requests_in_other_types_are_one_call(path: Path) -> None:
    inner = numbered()
    ask(inner, path, {"temperature": 0}, {"temperature": 0.0})
    assert len(inner.requests) == 1


def test_a_server_that_moves_is_the_same_where_the_address_does_not_count(path: Path) -> None:
    async def main() -> list[str]:
        with CallStore(path, by_address=False) as store:
            inner = numbered()
            chats = [StoredChatModel(inner, store, model="m", endpoint=f"http://{host}/v1") for host in "ab"]
            return [(await chat(ChatRequest(QUESTION))).text for chat in chats]

    assert asyncio.run(main()) == ["reply 1", "reply 1"]


def test_independent_samples_stay_independent(path: Path) -> None:
    samples = [{"temperature": 0.7, "sample_index": index} for index in range(3)]
    assert [reply.text for reply in ask(numbered(), path, *samples)] == ["reply 1", "reply 2", "reply 3"]
    replayed = ask(None, path, *reversed(samples), mode="replay")
    assert [reply.text for reply in replayed] == ["reply 3", "reply 2", "reply 1"]


def test_a_miss_names_the_call(path: Path) -> None:
    ask(numbered(), path, {})
    long = (Message(role="user", content=f"Review the solution. {'x' * 5000} <solution>42</solution>"),)
    with pytest.raises(ReplayMissError) as miss:
        ask(None, path, {"messages": long, "sample_index": 2}, mode="replay", model="expert", endpoint="http://a/v1")
    message = str(miss.value)
    assert "expert at http://a/v1" in message
    assert "sample 2" in message
    assert "Review the solution." in message
    assert "<solution>42</solution>" in message
    assert len(message) < 1000


def test_a_replay_follows_a_failover(path: Path) -> None:
    """The endpoint that was down when the run was recorded has no reply in the store; the next one has."""

    def route(store: CallStore, **chats: Any) -> RoutedChatModel:
        stored = {
            name: StoredChatModel(chat, store, model="m", endpoint=f"http://{name}/v1") for name, chat in chats.items()
        }
        return RoutedChatModel([Endpoint(name, chat) for name, chat in stored.items()])

    async def main() -> None:
        questions = [(Message(role="user", content=f"question {number}"),) for number in range(20)]
        with CallStore(path) as store:
            chat = route(store, a=FailingChatModel(), b=numbered())
            told = [(await chat(ChatRequest(question))).text for question in questions]
            assert chat.failovers["a"] > 0
        with CallStore(path, mode="replay") as store:
            chat = route(store, a=None, b=None)
            assert [(await chat(ChatRequest(question))).text for question in questions] == told
            with pytest.raises(ReplayMissError, match="another question"):
                await chat(ChatRequest((Message(role="user", content="another question"),)))

    asyncio.run(main())


def test_failures_are_not_stored(path: Path) -> None:
    with pytest.raises(ServiceTimeoutError):
        ask(FailingChatModel(ServiceTimeoutError("slow")), path, {})
    assert ask(numbered(), path, {})[0].text == "reply 1"


def test_without_an_llm_there_is_only_replay(path: Path) -> None:
    with pytest.raises(ValueError, match='only the mode "replay" asks none'):
        ask(None, path, {})


def test_closing_reaches_the_llm_and_leaves_the_store_open(path: Path) -> None:
    class Connected(ScriptedChatModel):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    async def main() -> None:
        inner = Connected(["a", "b"])
        with CallStore(path) as store:
            chat = StoredChatModel(inner, store, model="m", endpoint="http://a/v1")
            await chat(ChatRequest(QUESTION))
            await chat.aclose()
            assert inner.closed
            await chat(ChatRequest(QUESTION, sample_index=1))
            await StoredChatModel(numbered(), store, model="m", endpoint="http://a/v1").aclose()

    asyncio.run(main())
