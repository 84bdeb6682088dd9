import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from workflow_r1.accounting import Accounts, Budget, BudgetConfig, ModelPrice, PricesConfig, Spent
from workflow_r1.errors import (
    BudgetExceededError,
    ConfigError,
    DataError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from workflow_r1.inference import (
    ChatModel,
    ChatReply,
    ChatRequest,
    FailingChatModel,
    OpenAIChatConfig,
    OpenAIChatModel,
    ScriptedChatModel,
)
from workflow_r1.inference.loopback import Fault, LoopbackServer
from workflow_r1.retrieval import ScriptedSearch, SearchBackend
from workflow_r1.retrieval.server_search import RetrievalServerConfig, RetrievalServerSearch
from workflow_r1.trajectory import FinishReason, Message, Usage

PRICES = PricesConfig(per_search=0.5, models={"gpt-x": ModelPrice(prompt_per_million=1e6, completion_per_million=2e6)})
ASK = ChatRequest((Message(role="user", content="one two three"),))
REPLY = ChatReply(
    text="x", finish_reason=FinishReason.STOP, usage=Usage(llm_calls=1, prompt_tokens=3, completion_tokens=1)
)
"""Costs 3 * 1 + 1 * 2 = 5."""


def limited(config: BudgetConfig, *, inner: ScriptedChatModel | None = None):
    accounts = Accounts(PRICES, budget=Budget(config, currency="EUR"))
    inner = inner or ScriptedChatModel(lambda _: REPLY)
    return accounts.limit_chat(inner, endpoint="gpt-x"), accounts.budget, inner


@pytest.mark.parametrize(
    ("config", "num_calls", "told"),
    [
        (BudgetConfig(calls=3), 3, "3 of 3 calls (budget.calls); spent in all: 3 calls, 12 tokens, 15 EUR"),
        (BudgetConfig(tokens=9), 3, "12 of 9 tokens (budget.tokens)"),
        (BudgetConfig(money=6.0), 2, "10 of 6 EUR (budget.money)"),
    ],
)
def test_a_limit_stops_before_the_call(config: BudgetConfig, num_calls: int, told: str) -> None:
    chat, budget, inner = limited(config)
    for _ in range(num_calls):
        asyncio.run(chat(ASK))
    with pytest.raises(BudgetExceededError) as stopped:
        asyncio.run(chat(ASK))
    assert told in str(stopped.value) and f"Raise {stopped.value.key} to continue" in str(stopped.value)
    assert len(inner.requests) == budget.spent.calls == num_calls


def test_calls_in_flight_do_not_pass_a_limit_of_calls() -> None:
    async def slow(*arguments: object, **options: object) -> ChatReply:
        await asyncio.sleep(0.01)
        return REPLY

    async def run() -> list[object]:
        chat = Accounts(PRICES, budget=Budget(BudgetConfig(calls=5))).limit_chat(slow, endpoint="gpt-x")
        return await asyncio.gather(*(chat(ASK) for _ in range(20)), return_exceptions=True)

    replies = asyncio.run(run())
    assert sum(isinstance(reply, ChatReply) for reply in replies) == 5
    assert sum(isinstance(reply, BudgetExceededError) for reply in replies) == 15


def test_a_call_that_failed_is_spent_since_it_reached_the_service() -> None:
    chat, budget, _ = limited(BudgetConfig(calls=2), inner=FailingChatModel(ServiceTimeoutError("late")))
    for _ in range(2):
        with pytest.raises(ServiceTimeoutError):
            asyncio.run(chat(ASK))
    with pytest.raises(BudgetExceededError):
        asyncio.run(chat(ASK))
    assert budget.spent == Spent(calls=2)


class Served(LoopbackServer):
    """Counts the requests that reach it, failed on purpose or not."""

    num_requests = 0

    def _draw(self, body: bytes) -> Fault | None:
        self.num_requests += 1
        return super()._draw(body)


def over_http(server: LoopbackServer, budget: Budget, *, concurrency: int = 4, max_retries: int = 8) -> ChatModel:
    config = OpenAIChatConfig(
        model="m", base_url=server.url, concurrency=concurrency, max_retries=max_retries, backoff_seconds=0.0
    )
    return Accounts(budget=budget).limit_chat(OpenAIChatModel(config), endpoint="m")


def test_what_reached_the_server_is_what_is_counted_retries_and_lost_calls_included() -> None:
    faults = (Fault.ERROR_503, Fault.RESET, Fault.THROTTLED)
    for limit in (None, 25):
        budget = Budget(BudgetConfig(calls=limit))
        with Served(ScriptedChatModel(lambda _: REPLY), fault_rate=0.5, faults=faults, seed=1) as server:
            chat = over_http(server, budget, max_retries=1)
            requests = [ChatRequest((Message(role="user", content=f"{number}"),)) for number in range(30)]

            async def ask_all(chat: ChatModel = chat, requests: list[ChatRequest] = requests) -> list[object]:
                return await asyncio.gather(*map(chat, requests), return_exceptions=True)

            replies = asyncio.run(ask_all())
            num_lost = sum(isinstance(reply, ServiceUnavailableError) for reply in replies)
            assert num_lost > 0 or limit is not None
            assert budget.spent.calls == server.num_requests
            assert server.num_requests == 25 if limit else server.num_requests > 30


def test_a_call_that_is_given_up_while_it_waits_for_its_place_is_given_back() -> None:
    budget = Budget(BudgetConfig(calls=10))

    async def run(chat: ChatModel, server: Served) -> None:
        calls = [asyncio.create_task(chat(ASK)) for _ in range(10)]
        while server.num_requests < 2:  # noqa: ASYNC110 - of the server's thread
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    with Served(ScriptedChatModel(lambda _: REPLY), latency_seconds=30.0) as server:
        asyncio.run(run(over_http(server, budget, concurrency=2), server))
        assert budget.spent.calls == server.num_requests == 2
    assert budget.num_calls_left == 8


def test_searches_of_one_request_count_one_each_and_its_repetition_once() -> None:
    async def found(request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"result": [[{"document": {"contents": '"T"\nx'}, "score": 1.0}] for _ in request["queries"]]}

    budget = Budget()

    async def run(search: SearchBackend) -> None:
        await asyncio.gather(*(search(f"query {number}", k=1) for number in range(5)))

    with Served(
        ScriptedChatModel(), routes={"/retrieve": found}, fault_rate=0.8, faults=[Fault.ERROR_503], seed=0
    ) as server:
        config = RetrievalServerConfig(url=server.url.removesuffix("/v1"), backoff_seconds=0.0, max_retries=50)
        search = Accounts(budget=budget).limit_search(RetrievalServerSearch(config), endpoint="search")
        asyncio.run(run(search))
        assert server.num_requests > 1  # The first attempt of this request is drawn to fail.
        assert budget.spent.calls == 5 + server.num_requests - 1


def test_minutes_are_counted_from_the_start_and_over_a_resume() -> None:
    now = 100.0
    budget = Budget(BudgetConfig(minutes=1), clock=lambda: now)
    budget.begin_call()
    now = 159.0
    budget.begin_call()
    now = 160.0
    with pytest.raises(BudgetExceededError, match="1 of 1 minutes"):
        budget.begin_call()
    later = Budget(BudgetConfig(minutes=2), clock=lambda: now)
    later.restart(budget.spent)
    now = 219.0
    later.begin_call()
    now = 220.0
    with pytest.raises(BudgetExceededError):
        later.begin_call()


def test_minutes_that_the_caller_counts() -> None:
    budget = Budget(BudgetConfig(minutes=1))
    budget.begin_call()
    assert budget.minutes_used_up(59.9) is None
    error = budget.minutes_used_up(60.0)
    assert error is not None and error.key == "budget.minutes"


def test_what_was_spent_goes_on_after_a_resume(tmp_path: Path) -> None:
    chat, budget, _ = limited(BudgetConfig(calls=2))
    asyncio.run(chat(ASK))
    budget.spent.write(tmp_path / "spent.json")
    assert Spent.read(tmp_path / "spent.json") == Spent(calls=1, tokens=4, money=5.0)
    assert Spent.read(tmp_path / "absent.json") == Spent()
    chat, budget, _ = limited(BudgetConfig(calls=2))
    budget.restart(Spent.read(tmp_path / "spent.json"))
    asyncio.run(chat(ASK))
    with pytest.raises(BudgetExceededError, match="2 of 2 calls"):
        asyncio.run(chat(ASK))
    (tmp_path / "spent.json").write_text("{]")
    with pytest.raises(DataError, match="spent so far"):
        Spent.read(tmp_path / "spent.json")


def test_money_cannot_be_limited_where_a_price_is_unknown() -> None:
    accounts = Accounts(PricesConfig(), budget=Budget(BudgetConfig(money=1.0)))
    with pytest.raises(ConfigError, match=r'prices\.models\."gpt-x" \(0 where it costs nothing\)'):
        accounts.limit_chat(ScriptedChatModel(), endpoint="cheap", model="gpt-x")
    with pytest.raises(ConfigError, match=r"prices\.per_search"):
        accounts.limit_search(ScriptedSearch(), endpoint="web")
    accounts.limit_chat(ScriptedChatModel(), endpoint="expert", is_free=True)


def test_another_key_may_need_the_prices() -> None:
    accounts = Accounts(PricesConfig(), budget=Budget(prices_for="reward.cost.kind"))
    with pytest.raises(
        ConfigError, match=r"reward\.cost\.kind: expected the price .*gpt-x.*, or take another kind of cost"
    ):
        accounts.limit_chat(ScriptedChatModel(), endpoint="cheap", model="gpt-x")
    accounts.limit_chat(ScriptedChatModel(), endpoint="expert", is_free=True)


def test_money_cannot_be_limited_after_calls_of_unknown_price() -> None:
    budget = Budget(BudgetConfig(money=1.0))
    with pytest.raises(ConfigError, match=r"spent before.*spent\.json"):
        budget.restart(Spent(calls=1, money=None))
    Budget(BudgetConfig(calls=5)).restart(Spent(calls=1, money=None))


def test_what_is_limited_must_be_told_by_the_service() -> None:
    silent = ScriptedChatModel(lambda _: ChatReply(text="x", finish_reason=FinishReason.STOP, usage=Usage(llm_calls=1)))
    for config in (BudgetConfig(tokens=5), BudgetConfig(money=5.0)):
        chat, _, _ = limited(config, inner=silent)
        with pytest.raises(ConfigError, match=r"gpt-x gives none.*budget\.calls"):
            asyncio.run(chat(ASK))
    chat, budget, _ = limited(BudgetConfig(calls=5), inner=silent)
    asyncio.run(chat(ASK))
    assert budget.spent == Spent(calls=1, tokens=0, money=None)
    assert "an unknown amount of money" in budget.describe()


def test_searches_by_a_service_are_calls() -> None:
    accounts = Accounts(PRICES, budget=Budget(BudgetConfig(money=0.9)))
    search = accounts.limit_search(ScriptedSearch(), endpoint="web")
    for _ in range(2):
        asyncio.run(search("x", k=1))
    with pytest.raises(BudgetExceededError):
        asyncio.run(search("x", k=1))
    assert accounts.budget.spent == Spent(calls=2, money=1.0)


def test_processes_that_count_together_share_a_limit_and_what_was_spent() -> None:
    totals: dict[str, float] = {}

    def tally(name: str, amount: float) -> float:
        totals[name] = totals.get(name, 0) + amount
        return totals[name]

    one, other = Budget(BudgetConfig(calls=5)), Budget(BudgetConfig(calls=5))
    one.restart(Spent(calls=2, tokens=7, money=0.5), tally=tally)
    other.restart(Spent(), tally=tally)
    for budget in (one, other, one):
        budget.begin_call()
        budget.end_call(tokens=1, money=0.25, name="x")
    with pytest.raises(BudgetExceededError, match="5 of 5 calls"):
        other.begin_call()
    assert one.spent == other.spent == Spent(calls=5, tokens=10, money=1.25)
    other.end_call(tokens=0, money=None, name="x")
    assert one.spent.money is None


def test_a_request_that_is_sent_again_in_another_form_reached_the_server_twice() -> None:
    async def reply(request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        if "max_tokens" in request:
            told = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, {"error": {"message": told, "param": "max_tokens", "code": "unsupported_parameter"}}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
        return 200, {"model": "m", "choices": [choice]}

    budget = Budget()
    with Served(ScriptedChatModel(), routes={"/v1/chat/completions": reply}) as server:
        chat = over_http(server, budget)
        asyncio.run(chat(ASK))
        assert budget.spent.calls == server.num_requests == 2
        asyncio.run(chat(ASK))
        assert budget.spent.calls == server.num_requests == 3
