"""Turns from a server: cut where they end, appended as they came, failures told apart."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from workflow_r1.embedded import policy_directory
from workflow_r1.engines.verl.server_policy import ServerPolicy
from workflow_r1.errors import ServiceUnavailableError, TooLongError
from workflow_r1.policy.model import load_tokenizer
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.trajectory import FinishReason, Message

TOKENIZER = load_tokenizer(str(policy_directory()))
RENDERER = Renderer(TOKENIZER)
END = RENDERER.end_of_turn_id


@dataclass
class Reply:
    token_ids: list[int]
    log_probs: list[float] | None
    stop_reason: str | None = "completed"
    extra_fields: dict[str, Any] = field(default_factory=dict)


def encode(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False))


def policy(replies: list[Reply | Exception], asked: list[dict[str, Any]], **sampling: Any) -> ServerPolicy:
    async def generate(request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Reply:
        asked.append({"request_id": request_id, "prompt_ids": prompt_ids, **sampling_params})
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    return ServerPolicy(
        RENDERER,
        generate,
        sampling=SamplingConfig(**sampling),
        parameters={"temperature": 0.7},
        end_ids=frozenset({END}),
        seeded=True,
        name="p",
        failures=(ConnectionError,),
    )


def turns_of(texts: list[list[int]], **sampling: Any) -> tuple[list[Any], list[dict[str, Any]], ServerPolicy]:
    asked: list[dict[str, Any]] = []
    made = policy([Reply(ids, [-0.5] * len(ids), extra_fields={"global_steps": 3}) for ids in texts], asked, **sampling)

    async def act() -> list[Any]:
        async with made.session(seed=11) as session:
            found = []
            for number in range(len(texts)):
                context = session.extend([Message(role="user", content=f"message {number}")])
                found.append((context, await session.sample(max_tokens=50)))
            return found

    return asyncio.run(act()), asked, made


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (
            "ray::Server.generate()\n  File server.py, in context_length_check\nValueError: The decoder prompt (length 5000) is "
            "longer than the maximum model length of 2048.",
            TooLongError,
        ),
        (
            "ray::Server.generate()\n  File server.py, in context_length_check\nRuntimeError: died",
            ServiceUnavailableError,
        ),
    ],
)
def test_a_context_that_the_server_does_not_take_is_the_policys(message: str, kind: type[Exception]) -> None:
    made = policy([ConnectionError(message)], [])

    async def act() -> None:
        async with made.session(seed=11) as session:
            session.extend([Message(role="user", content="m")])
            await session.sample(max_tokens=50)

    with pytest.raises(kind) as raised:
        asyncio.run(act())
    assert type(raised.value) is kind


def test_context_only_grows_and_holds_the_tokens_as_sampled() -> None:
    first, second = [*encode("<think>a</think>"), END], encode("<think>b")  # The second turn is cut off.
    found, asked, made = turns_of([first, second, first])
    (prompt, one), (between, two), (after, _) = found
    assert (one.token_ids, one.finish_reason) == (tuple(first), FinishReason.STOP)
    assert (two.token_ids, two.finish_reason) == (tuple(second), FinishReason.LENGTH)
    assert one.text == "<think>a</think>"
    assert one.logprobs == (-0.5,) * len(first)
    assert asked[0]["prompt_ids"] == [*prompt]
    assert asked[1]["prompt_ids"] == [*prompt, *first, *between]
    assert asked[2]["prompt_ids"] == [*prompt, *first, *between, *second, *after]
    assert between[0] != END and after[0] == END  # A turn without its end gets it as context.
    assert made.versions == [3, 3, 3]


def test_requests_carry_limits_ends_and_a_seed_of_their_own() -> None:
    _, asked, _ = turns_of([[END], [END]], max_turn_tokens=20)
    assert [request["max_tokens"] for request in asked] == [20, 20]
    assert {request["request_id"] for request in asked} == {"b"}
    assert asked[0]["seed"] != asked[1]["seed"]
    assert asked[0]["stop_token_ids"] == [END]
    assert (asked[0]["temperature"], asked[0]["logprobs"]) == (0.7, True)


def test_what_follows_an_action_is_dropped_where_turns_end_there() -> None:
    action = encode("<think>a</think><answer>b</answer>")
    beyond = [*action, *encode(" and more"), END]
    (_, cut), *_ = turns_of([beyond], turn_end="action")[0]
    assert RENDERER.decode(cut.token_ids).endswith("</answer>")
    assert cut.token_ids == tuple(beyond[: len(cut.token_ids)])
    assert len(cut.logprobs) == len(cut.token_ids) < len(beyond)
    assert cut.finish_reason is FinishReason.STOP
    (_, whole), *_ = turns_of([beyond], turn_end="end_token")[0]
    assert whole.token_ids == tuple(beyond)


@pytest.mark.parametrize(
    "reply", [ConnectionError("gone"), Reply([], None, "aborted"), Reply([5, 6], [-1.0, -1.0], "aborted")]
)
def test_a_lost_or_aborting_server_is_infrastructure(reply: Reply | Exception) -> None:
    async def act() -> None:
        async with policy([reply], []).session(seed=1) as session:
            session.extend([Message(role="user", content="?")])
            await session.sample(max_tokens=5)

    with pytest.raises(ServiceUnavailableError):
        asyncio.run(act())


@pytest.mark.parametrize("reply", [ZeroDivisionError("a mistake"), Reply([5, 6], None), Reply([5, 6], [-1.0])])
def test_a_programming_error_is_raised(reply: Reply | Exception) -> None:
    async def act() -> None:
        async with policy([reply], []).session(seed=1) as session:
            session.extend([Message(role="user", content="?")])
            await session.sample(max_tokens=5)

    with pytest.raises((ZeroDivisionError, ValueError)):
        asyncio.run(act())


def test_a_closing_tag_that_the_thought_names_ends_no_turn() -> None:
    ids = encode("<think>an </answer> ends it</think><tool>a: b</tool> more")
    [(_, turn)], _, _ = turns_of([ids], turn_end="action")
    assert turn.text == "<think>an </answer> ends it</think><tool>a: b</tool>"


@pytest.mark.parametrize("wrong", [float("nan"), float("-inf"), 0.5])
def test_log_probabilities_that_are_none_fail_the_trajectory(wrong: float) -> None:
    made = policy([Reply([5, END], [-0.5, wrong])], [])

    async def act() -> None:
        async with made.session(seed=11) as session:
            session.extend([Message(role="user", content="m")])
            await session.sample(max_tokens=50)

    with pytest.raises(ServiceUnavailableError, match="finite log-probabilities"):
        asyncio.run(act())
