import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from method_searches import WORLD, Expert, make_context, search_killed

from workflow_r1.config.methods import MethodsConfig
from workflow_r1.errors import BudgetExceededError, ConfigError, ServiceUnavailableError
from workflow_r1.inference import ChatModel, ChatReply, ChatRequest
from workflow_r1.methods import METHODS, MethodContext
from workflow_r1.methods.aflow.archive import Round
from workflow_r1.trajectory import Message

TRAIN = WORLD.questions("train", 40)


def context(
    directory: Path | None, chat: ChatModel, *, told: list[str] | None = None, **settings: Any
) -> MethodContext:
    aflow = {"rounds": 6, "questions": 20, "patience": 0, **settings}
    return make_context(
        directory, chat, train=TRAIN, settings={"aflow": aflow}, told=told, llm_is_simulated=True, concurrency=4
    )


def search(directory: Path, chat: ChatModel, **settings: Any) -> None:
    prepare = METHODS["aflow"].prepare
    assert prepare is not None
    asyncio.run(prepare(context(directory, chat, **settings)))


def rounds_in(directory: Path) -> list[Round]:
    return [Round.model_validate_json(path.read_bytes()) for path in sorted(directory.glob("round-??.json"))]


def test_search_validates_every_round_and_answers_with_the_best(tmp_path: Path) -> None:
    chat, told = Expert(), []
    search(tmp_path, chat, told=told)
    rounds = rounds_in(tmp_path)
    assert [each.number for each in rounds] == [1, 2, 3, 4, 5, 6, 7]
    assert all(each.num_scored == 20 for each in rounds)
    assert len({each.graph.fingerprint for each in rounds if each.graph}) == 7
    summary = json.loads((tmp_path / "summary.json").read_text())
    best = max(rounds, key=lambda each: each.score or 0)
    assert summary["found"]["score"] == best.score
    assert summary["llm_calls"] == len(chat.requests) == sum(each.usage.llm_calls for each in rounds)
    assert set(summary) >= {"llm_calls", "tokens", "cost", "seconds", "found"}
    assert "simulation" in summary["proposer"]
    assert told[0].startswith("AFlow, proposals by random edits (a simulation")
    assert "140 calls in all" in told[0]
    policy = METHODS["aflow"].make_policy(context(tmp_path, chat))
    assert policy.graph == best.graph or summary["found"]["round"] != best.number  # type: ignore[attr-defined]
    assert policy.name == "aflow"


def test_no_question_that_is_to_be_answered_is_searched_on(tmp_path: Path) -> None:
    chat, told = Expert(), []
    given = context(tmp_path, chat, told=told)
    held_out = [
        TRAIN[0],
        TRAIN[1].model_copy(update={"id": "other", "text": f" {TRAIN[1].text.upper()}"}),
        # Another benchmark numbers its questions alike: TRAIN[2] is not to be answered.
        TRAIN[2].model_copy(update={"text": "Which question bears the number of another?"}),
    ]
    prepare = METHODS["aflow"].prepare
    assert prepare is not None
    given = MethodContext(
        **{name: getattr(given, name) for name in MethodContext.__slots__ if name not in ("questions", "settings")},
        questions=held_out,
        settings=MethodsConfig.model_validate({"aflow": {"rounds": 0, "questions": 40}}),
    )
    asyncio.run(prepare(given))
    assert "2 training questions are left out, since they are to be answered afterwards" in told
    assert len(chat.requests) == 38
    assert not any(question.text in request for request in chat.requests for question in TRAIN[:2])


@pytest.mark.parametrize("at", [0, 7, 33, 61])
def test_search_stopped_by_the_budget_goes_on_without_asking_twice(tmp_path: Path, at: int) -> None:
    whole = Expert()
    search(tmp_path / "whole", whole)

    def used_up(number: int, text: str) -> Exception | None:
        return BudgetExceededError("used up", key="budget.calls", limit=at) if number >= at else None

    stopped = Expert(used_up)
    with pytest.raises(BudgetExceededError):
        search(tmp_path / "parts", stopped)
    rest = Expert()
    search(tmp_path / "parts", rest)
    # A trajectory that was cut off in its middle begins anew: at most one for each that was live.
    asked_again = len(stopped.requests) + len(rest.requests) - len(whole.requests)
    assert 0 <= asked_again <= 4 * 5
    assert rounds_in(tmp_path / "parts") == rounds_in(tmp_path / "whole")
    again = Expert()
    search(tmp_path / "parts", again)
    assert again.requests == []


def test_killed_search_goes_on_without_repeating_an_answer(tmp_path: Path) -> None:
    search_killed(Path(__file__), "search", tmp_path / "parts", at=47)
    lines = sum(len(path.read_text().splitlines()) for path in (tmp_path / "parts").glob("*.rep-1.jsonl"))
    assert lines > 20
    whole, rest = Expert(), Expert()
    search(tmp_path / "whole", whole)
    search(tmp_path / "parts", rest)
    assert rounds_in(tmp_path / "parts") == rounds_in(tmp_path / "whole")
    kept = sum(len(path.read_text().splitlines()) for path in (tmp_path / "parts").glob("*.rep-1.jsonl"))
    assert kept == 7 * 20


def test_failed_answers_are_asked_again_and_never_scored(tmp_path: Path) -> None:
    def fails(number: int, text: str) -> Exception | None:
        return ServiceUnavailableError("down") if TRAIN[0].text in text else None

    search(tmp_path, Expert(fails), rounds=1, questions=40)
    first = rounds_in(tmp_path)[0]
    assert (first.num_scored, first.num_failed) == (39, 1)
    rows = [json.loads(line) for line in (tmp_path / "round-01.rep-1.jsonl").read_text().splitlines()]
    assert [row["question"]["id"] for row in rows if "reward" not in row] == [TRAIN[0].id] * 2


def test_search_stops_where_too_many_fail_and_goes_on_when_the_service_is_back(tmp_path: Path) -> None:
    def fails(number: int, text: str) -> Exception | None:
        return ServiceUnavailableError("down") if any(question.text in text for question in TRAIN[:8]) else None

    with pytest.raises(ServiceUnavailableError, match=r"round 1: 8 of 40 answers failed"):
        search(tmp_path, Expert(fails), rounds=1, questions=40)
    assert not (tmp_path / "round-01.json").exists()
    back = Expert()
    search(tmp_path, back, rounds=0, questions=40)
    assert len(back.requests) == 8


def test_other_settings_are_another_search_and_more_rounds_are_not(tmp_path: Path) -> None:
    search(tmp_path, Expert(), rounds=1)
    with pytest.raises(ConfigError, match=r"holds another search: .*num_questions was 20 and is 10"):
        search(tmp_path, Expert(), rounds=1, questions=10)
    search(tmp_path, Expert(), rounds=2)
    assert len(rounds_in(tmp_path)) == 3
    assert len(json.loads((tmp_path / "summary.json").read_text())["rounds"]) == 3


def test_search_needs_a_directory_and_an_answer_needs_a_search(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="aflow searches before it answers"):
        METHODS["aflow"].make_policy(context(None, Expert()))
    with pytest.raises(ConfigError, match="let it search first"):
        METHODS["aflow"].make_policy(context(tmp_path, Expert()))


class ProposingExpert(Expert):
    """Answers as the expert does; of requests for a workflow it replies by a script."""

    def __init__(self, proposals: Sequence[str]) -> None:
        super().__init__()
        self.proposals = list(proposals)
        self.conversations: list[tuple[Message, ...]] = []

    async def __call__(self, request: ChatRequest) -> ChatReply:
        if not request.messages[0].content.startswith("A workflow answers questions"):
            return await super().__call__(request)
        self.conversations.append(request.messages)
        reply = await super().__call__(replace(request, messages=(Message(role="user", content="x"),)))
        return ChatReply(text=self.proposals.pop(0), finish_reason=reply.finish_reason, usage=reply.usage)


def proposal(operator: str, modification: str = "another operator") -> str:
    argument = "query" if operator == "PromptOptimizer" else "question"
    node = {"name": "only", "operator": operator, "arguments": {argument: "{question}"}}
    return json.dumps({"modification": modification, "graph": {"nodes": [node], "output": "{only}"}})


def test_unusable_and_repeated_proposals_are_explained_and_cost_no_round(tmp_path: Path) -> None:
    chat = ProposingExpert(["{}", proposal("AnswerGenerate"), proposal("AnswerGenerate", "in other words"), proposal("PromptOptimizer")])  # fmt: skip
    search(tmp_path, chat, proposer="llm", rounds=2)
    rounds = rounds_in(tmp_path)
    assert [each.modification for each in rounds[1:]] == ["another operator"] * 2
    assert rounds[1].proposal_usage.llm_calls == rounds[2].proposal_usage.llm_calls == 2
    assert "expected a JSON object" in chat.conversations[1][-1].content
    assert "this workflow was tried before (its score was" in chat.conversations[3][-1].content
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["proposal_calls"] == 4
    assert summary["llm_calls"] == 4 + sum(each.usage.llm_calls for each in rounds)
    assert summary["proposer"] == "LLM"


def test_round_without_a_usable_proposal_is_given_up_and_the_search_goes_on(tmp_path: Path) -> None:
    chat = ProposingExpert([*["nothing"] * 5, proposal("AnswerGenerate")])
    search(tmp_path, chat, proposer="llm", rounds=2)
    rounds = rounds_in(tmp_path)
    assert (rounds[1].graph, rounds[1].score) == (None, None)
    assert rounds[2].graph is not None


def test_reply_that_was_paid_for_is_not_asked_for_again(tmp_path: Path) -> None:
    chat = ProposingExpert(["{}", proposal("AnswerGenerate")])
    search(tmp_path, chat, proposer="llm", rounds=1)
    (tmp_path / "round-02.json").unlink()
    (tmp_path / "summary.json").unlink()
    again = ProposingExpert([])
    search(tmp_path, again, proposer="llm", rounds=1)
    assert again.requests == []
    assert rounds_in(tmp_path)[1].proposal_usage.llm_calls == 2


def test_repeats_are_answers_of_their_own(tmp_path: Path) -> None:
    drawn: set[int] = set()

    class Sampling(ProposingExpert):
        async def __call__(self, request: ChatRequest) -> ChatReply:
            if request.temperature > 0 and not request.messages[0].content.startswith("A workflow answers"):
                drawn.add(request.sample_index)
            return await super().__call__(request)

    search(tmp_path, Sampling([proposal("MultiAnswerGenerate")]), proposer="llm", rounds=1, repeats=2)
    assert [each.num_scored for each in rounds_in(tmp_path)] == [40, 40]
    assert len(drawn) == 6
    assert {0, 1, 2} < drawn
