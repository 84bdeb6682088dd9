import asyncio
from collections import Counter

import pytest

from workflow_r1.accounting import POLICY, Accounts, Ledger, ModelPrice, PricesConfig, charged_to
from workflow_r1.errors import ServiceTimeoutError
from workflow_r1.inference import ChatReply, ChatRequest, FailingChatModel, ScriptedChatModel
from workflow_r1.retrieval import RecalledPassages, ScriptedSearch
from workflow_r1.trajectory import FinishReason, Message, Usage

PRICES = PricesConfig(
    per_search=0.002, models={"gpt-x": ModelPrice(prompt_per_million=2.0, completion_per_million=10.0)}
)
ASK = ChatRequest((Message(role="user", content="one two three"),))


def reply(prompt_tokens: int = 100, completion_tokens: int = 20, **usage: float) -> ChatReply:
    return ChatReply(
        text="x",
        finish_reason=FinishReason.STOP,
        usage=Usage(llm_calls=1, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, **usage),
    )


def test_a_reply_says_its_price() -> None:
    # 100 tokens at 2 a million and 20 at 10 a million: 0.0002 + 0.0002.
    chat = Accounts(PRICES).meter_chat(ScriptedChatModel([reply()]), endpoint="cheap", model="gpt-x")
    usage = asyncio.run(chat(ASK)).usage
    assert (usage.cost, usage.paid) == (pytest.approx(0.0004), pytest.approx(0.0004))


def test_what_the_store_answers_has_a_price_and_is_not_paid() -> None:
    accounts = Accounts(PRICES)
    stored = reply(stored_calls=1, stored_tokens=120)
    chat = accounts.meter_chat(ScriptedChatModel([stored, reply()]), endpoint="gpt-x")
    usage = asyncio.run(chat(ASK)).usage
    assert (usage.cost, usage.paid) == (pytest.approx(0.0004), 0.0)
    asyncio.run(chat(ASK))
    row = accounts.ledger.take()
    assert (row["total/calls"], row["total/stored_calls"], row["total/stored_tokens"]) == (2, 1, 120)
    assert (row["total/cost"], row["total/paid"]) == (pytest.approx(0.0008), pytest.approx(0.0004))


def test_a_search_that_the_store_answers_is_not_paid() -> None:
    accounts = Accounts(PRICES)
    recalled = accounts.meter_search(ScriptedSearch(lambda _: ()), endpoint="web")
    asyncio.run(recalled("x", k=1))

    async def recall(query: str, *, k: int) -> RecalledPassages:
        return RecalledPassages()

    asyncio.run(accounts.meter_search(recall, endpoint="web")("x", k=1))
    row = accounts.ledger.rows()["endpoint/web"]
    assert (row["searches"], row["stored_searches"], row["cost"], row["paid"]) == (2, 1, 0.004, 0.002)


def test_an_unknown_price_is_unknown_and_never_0() -> None:
    accounts = Accounts(PRICES)
    chat = accounts.meter_chat(ScriptedChatModel([reply()]), endpoint="other", model="gpt-y")
    assert asyncio.run(chat(ASK)).usage.cost is None
    assert accounts.ledger.rows()["endpoint/other"]["cost"] is None
    free = accounts.meter_chat(ScriptedChatModel([reply()]), endpoint="here", is_free=True)
    assert asyncio.run(free(ASK)).usage.cost == 0.0


def test_the_endpoints_own_price_comes_before_its_models() -> None:
    prices = PricesConfig(
        models={
            "gpt-x": ModelPrice(prompt_per_million=2.0, completion_per_million=10.0),
            "cheap": ModelPrice(prompt_per_million=0.0, completion_per_million=0.0),
        }
    )
    chat = Accounts(prices).meter_chat(ScriptedChatModel([reply()]), endpoint="cheap", model="gpt-x")
    assert asyncio.run(chat(ASK)).usage.cost == 0.0


def test_a_service_without_token_figures_is_said_to_have_none() -> None:
    accounts = Accounts(PRICES)
    chat = accounts.meter_chat(ScriptedChatModel([reply(0, 0), reply()]), endpoint="gpt-x")
    assert asyncio.run(chat(ASK)).usage.cost is None
    asyncio.run(chat(ASK))
    row = accounts.ledger.rows()["endpoint/gpt-x"]
    assert (row["calls"], row["unreported_calls"], row["cost"]) == (2, 1, None)


def test_calls_are_booked_to_operator_and_endpoint() -> None:
    accounts = Accounts(PRICES)
    chat = accounts.meter_chat(ScriptedChatModel([reply()] * 3), endpoint="gpt-x")
    search = accounts.meter_search(ScriptedSearch(), endpoint="web")

    async def run() -> Usage:
        await chat(ASK)
        with charged_to("MultiAnswerGenerate") as charge:
            # Tasks that start in the context are charged, too.
            await asyncio.gather(asyncio.create_task(chat(ASK)), asyncio.create_task(chat(ASK)))
            await search("x", k=3)
        return charge.usage

    usage = asyncio.run(run())
    assert (usage.llm_calls, usage.searches, usage.cost) == (2, 1, pytest.approx(2 * 0.0004 + 0.002))
    rows = accounts.ledger.rows()
    assert {name: row["calls"] for name, row in rows.items()} == {
        "total": 3, f"operator/{POLICY}": 1, "operator/MultiAnswerGenerate": 2, "endpoint/gpt-x": 3, "endpoint/web": 0,
    }  # fmt: skip
    assert rows["endpoint/web"]["paid"] == 0.002
    assert rows["total"]["seconds_p50"] > 0


def test_a_sum_of_money_does_not_depend_on_the_order_of_replies() -> None:
    amounts = [0.1, 0.2, 0.3, 1e-9, 0.7, 1e3]

    def total(order: list[float]) -> float | None:
        with charged_to("x") as charge:
            for amount in order:
                charge.add(Usage(llm_calls=1, cost=amount, paid=amount))
        return charge.usage.cost

    assert len({total(amounts), total(amounts[::-1]), total(sorted(amounts))}) == 1
    assert sum(amounts) != sum(amounts[::-1])  # plain sums differ


def test_an_operator_with_an_llm_of_its_own_tells_more_than_was_metered() -> None:
    with charged_to("x") as charge:
        charge.add(Usage(llm_calls=1, prompt_tokens=5))
    assert charge.fuller(Usage(llm_calls=2, prompt_tokens=9)).prompt_tokens == 9
    assert charge.fuller(Usage()).prompt_tokens == 5


def test_what_an_llm_of_its_own_costs_is_unknown_unless_the_operator_tells_it() -> None:
    with charged_to("x") as charge:
        charge.add(Usage(llm_calls=1, prompt_tokens=5, cost=0.5, paid=0.5))
        charge.add(Usage(searches=2, stored_searches=1, cost=0.25, paid=0.125))
    assert charge.fuller(Usage(llm_calls=2, prompt_tokens=9)).cost is None
    told = charge.fuller(Usage(llm_calls=2, prompt_tokens=9, cost=1.0, paid=1.0))
    # Searches were metered, whatever the operator says of its LLM.
    assert (told.llm_calls, told.searches, told.stored_searches, told.cost, told.paid) == (2, 2, 1, 1.25, 1.125)


def test_a_service_that_counts_only_what_it_wrote_has_no_price() -> None:
    accounts = Accounts(PRICES)
    chat = accounts.meter_chat(ScriptedChatModel([reply(prompt_tokens=0), reply()]), endpoint="gpt-x")
    assert asyncio.run(chat(ASK)).usage.cost is None
    asyncio.run(chat(ASK))
    row = accounts.ledger.take()
    assert (row["total/unreported_calls"], row["total/cost"]) == (1, None)


def test_failures_are_counted_by_kind() -> None:
    accounts = Accounts(PRICES)
    chat = accounts.meter_chat(FailingChatModel(ServiceTimeoutError("late")), endpoint="gpt-x")
    search = accounts.meter_search(ScriptedSearch(error=ServiceTimeoutError("late")), endpoint="web")
    for call in (chat(ASK), search("x", k=1)):
        with pytest.raises(ServiceTimeoutError):
            asyncio.run(call)
    row = accounts.ledger.take()
    assert row["total/failures/ServiceTimeoutError"] == 2
    assert row["endpoint/web/failures/ServiceTimeoutError"] == 1
    assert row["total/calls"] == 0 and row["total/seconds_p50"] is None
    assert accounts.ledger.take().keys() == {key for key in accounts.ledger.take() if key.startswith("total/")}


def test_failed_attempts_are_read_from_the_client() -> None:
    client = ScriptedChatModel([reply()])
    client.failures = Counter({"throttled": 3})  # type: ignore[attr-defined]
    accounts = Accounts(PRICES)
    accounts.limit_chat(client, endpoint="gpt-x")
    client.failures["throttled"] += 2  # type: ignore[attr-defined]
    assert accounts.ledger.take()["endpoint/gpt-x/failed_attempts/throttled"] == 2
    assert "endpoint/gpt-x/failed_attempts/throttled" not in accounts.ledger.take()


def test_percentiles_leave_the_store_out() -> None:
    ledger = Ledger()
    for seconds in range(1, 102):
        ledger.book("a", Usage(llm_calls=1), float(seconds))
    ledger.book("a", Usage(llm_calls=1, stored_calls=1), 0.0)
    row = ledger.take()
    assert (row["endpoint/a/seconds_p50"], row["endpoint/a/seconds_p95"]) == (51.0, 96.0)
    assert row["endpoint/a/calls"] == 102


def test_accounts_of_several_processes_add_up() -> None:
    together, parts = Ledger(), [Ledger(), Ledger()]
    for index, part in enumerate(parts):
        for ledger in (together, part):
            with charged_to("Custom" if index else "Review"):
                ledger.book("a", Usage(llm_calls=1, prompt_tokens=3 + index, cost=0.5, paid=0.5), 1.0 + index)
            ledger.book_failure("b", ServiceTimeoutError("late"))
    main = parts[0]
    handed = [part.hand_over() for part in parts]
    assert main.take() == Ledger().take()
    for accounts in handed:
        main.take_in(accounts)
    assert main.take() == together.take()
