import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from method_searches import HELD_OUT, WORLD, Expert, make_context, search_killed

from workflow_r1.errors import BudgetExceededError, ConfigError, DataError, ServiceUnavailableError
from workflow_r1.evaluation import evaluate
from workflow_r1.inference import ChatModel
from workflow_r1.methods import METHODS, MethodContext
from workflow_r1.methods.maas.embedding import HashedEmbeddings, RememberedEmbeddings
from workflow_r1.methods.maas.training import read_answers_log, read_state

TRAIN = WORLD.questions("train", 20)


def context(
    directory: Path | None, chat: ChatModel, *, told: list[str] | None = None, **settings: Any
) -> MethodContext:
    maas = {"passes": 2, "questions": 10, **settings}
    return make_context(directory, chat, train=TRAIN, settings={"maas": maas}, told=told)


def train(directory: Path, chat: ChatModel, **settings: Any) -> None:
    prepare = METHODS["maas"].prepare
    assert prepare is not None
    asyncio.run(prepare(context(directory, chat, **settings)))


def same_state(one: Path, other: Path) -> bool:
    left, right = read_state(one), read_state(other)
    assert left is not None and right is not None
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_every_question_is_answered_in_every_pass_and_its_plan_is_logged(tmp_path: Path) -> None:
    chat, told = Expert(), []
    train(tmp_path, chat, told=told)
    rows = read_answers_log(tmp_path / "answers.jsonl")
    # Ten questions in batches of 4, 4 and 2, twice.
    assert sorted(row.batch for row in rows) == [*[1] * 4, *[2] * 4, *[3] * 2, *[4] * 4, *[5] * 4, *[6] * 2]
    assert {row.question_id for row in rows if row.batch <= 3} == {row.question_id for row in rows if row.batch > 3}
    assert sum(row.usage.llm_calls for row in rows) == len(chat.requests)
    for row in rows:
        assert row.score is not None and row.reward == pytest.approx(row.score - 0.01 * row.usage.llm_calls)
        assert row.plan[0][0] in ("Generate", "GenerateCoT", "MultiGenerateCoT")
        assert row.log_probability < 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["llm_calls"] == len(chat.requests)
    assert set(summary) >= {"llm_calls", "tokens", "cost", "seconds", "found"}
    assert len(summary["found"]["passes"]) == 2
    assert summary["found"]["num_parameters"] == 135_168
    assert "20 answers to training questions in 6 batches" in told[0]


def test_trained_controller_answers_held_out_questions(tmp_path: Path) -> None:
    train(tmp_path, Expert())
    given = context(tmp_path, Expert())
    policy = METHODS["maas"].make_policy(given)
    result = asyncio.run(evaluate(HELD_OUT, policy=policy, make_environment=given.make_environment, seed=5))
    assert policy.name == "maas"
    assert result.figures.exact_match.total == 10
    again = asyncio.run(evaluate(HELD_OUT, policy=policy, make_environment=given.make_environment, seed=5))
    assert [each.answer for each in again.trajectories] == [each.answer for each in result.trajectories]
    plans = {tuple(call.operator for turn in each.turns for call in turn.calls) for each in result.trajectories}
    assert len(plans) > 2


@pytest.mark.parametrize("at", [0, 5, 41, 70])
def test_training_stopped_by_the_budget_goes_on_without_asking_twice(tmp_path: Path, at: int) -> None:
    whole = Expert()
    train(tmp_path / "whole", whole)

    def used_up(number: int, text: str) -> Exception | None:
        return BudgetExceededError("used up", key="budget.calls", limit=at) if number >= at else None

    stopped, rest = Expert(used_up), Expert()
    with pytest.raises(BudgetExceededError):
        train(tmp_path / "parts", stopped)
    train(tmp_path / "parts", rest)
    assert same_state(tmp_path / "parts", tmp_path / "whole")
    kept = sum(row.usage.llm_calls for row in read_answers_log(tmp_path / "parts" / "answers.jsonl"))
    assert kept == len(whole.requests)
    again = Expert()
    train(tmp_path / "parts", again)
    assert again.requests == []


def test_killed_training_goes_on_without_repeating_an_answer(tmp_path: Path) -> None:
    search_killed(Path(__file__), "train", tmp_path / "parts", at=47)
    before = read_answers_log(tmp_path / "parts" / "answers.jsonl")
    assert before
    train(tmp_path / "whole", Expert())
    train(tmp_path / "parts", Expert())
    assert same_state(tmp_path / "parts", tmp_path / "whole")
    rows = read_answers_log(tmp_path / "parts" / "answers.jsonl")
    assert len(rows) == 20
    assert rows[: len(before)] == before


def test_more_passes_go_on_from_the_trained_controller_and_other_settings_do_not(tmp_path: Path) -> None:
    train(tmp_path, Expert(), passes=1)
    with pytest.raises(ConfigError, match="holds another search"):
        train(tmp_path, Expert(), passes=1, learning_rate=0.1)
    train(tmp_path, Expert(), passes=2)
    train(tmp_path / "whole", Expert(), passes=2)
    assert same_state(tmp_path, tmp_path / "whole")


def test_failed_answers_teach_nothing(tmp_path: Path) -> None:
    def fails(number: int, text: str) -> Exception | None:
        return ServiceUnavailableError("down") if TRAIN[0].text in text else None

    train(tmp_path, Expert(fails), questions=20)
    rows = read_answers_log(tmp_path / "answers.jsonl")
    failed = [row for row in rows if row.score is None]
    assert {row.question_id for row in failed} == {TRAIN[0].id}
    assert all(row.reward is None and "down" in (row.error or "") for row in failed)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["num_failed"] == 2
    state = read_state(tmp_path)
    assert state is not None
    assert int(state["num_rewards"]) == 38


def test_outage_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailableError, match="in a row"):
        train(tmp_path, Expert(lambda number, text: ServiceUnavailableError("down")), passes=8)


def test_state_of_another_pool_and_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="let it search first"):
        METHODS["maas"].make_policy(context(tmp_path, Expert()))
    with pytest.raises(ConfigError, match="keeps what it finds"):
        METHODS["maas"].make_policy(context(None, Expert()))
    train(tmp_path, Expert(), passes=1)
    with pytest.raises(DataError, match="expected a controller of this pool and these settings"):
        METHODS["maas"].make_policy(context(tmp_path, Expert(), hidden=8))
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match="expected the state of a training"):
        METHODS["maas"].make_policy(context(tmp_path, Expert()))


def test_lost_state_is_made_anew_from_the_answers(tmp_path: Path) -> None:
    train(tmp_path / "one", Expert())
    train(tmp_path / "other", Expert())
    (tmp_path / "one" / "state.npz").unlink()
    again = Expert()
    train(tmp_path / "one", again)
    assert again.requests == []
    assert same_state(tmp_path / "one", tmp_path / "other")


def test_reward_of_another_plan_is_not_taken_for_one_that_is_drawn_anew(tmp_path: Path) -> None:
    """A question fails in the first pass, and the state is lost: the answers after it were drawn by another controller."""

    def fails(number: int, text: str) -> Exception | None:
        return ServiceUnavailableError("down") if TRAIN[0].text in text and number < 60 else None

    train(tmp_path / "whole", Expert(), questions=20)
    train(tmp_path / "parts", Expert(fails), questions=20)
    assert any(row.score is None for row in read_answers_log(tmp_path / "parts" / "answers.jsonl"))
    (tmp_path / "parts" / "state.npz").unlink()
    train(tmp_path / "parts", Expert(), questions=20)
    assert same_state(tmp_path / "parts", tmp_path / "whole")


def test_vectors_of_an_endpoint_and_their_tokens_are_kept_for_later_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Endpoint(HashedEmbeddings):
        async def __call__(self, texts: Sequence[str]) -> tuple[Any, int]:
            asked.extend(texts)
            return (await super().__call__(texts))[0], len(texts)

    monkeypatch.setattr("workflow_r1.methods.maas.method.make_embeddings", lambda settings: Endpoint())
    embeddings = {"base_url": "http://127.0.0.1:1/v1", "model": "e"}
    train(tmp_path, Expert(), embeddings=embeddings)
    summary = (tmp_path / "summary.json").read_bytes()
    assert len(asked) == json.loads(summary)["embedding_tokens"] == 6 + 10  # moves and questions
    train(tmp_path, Expert(), embeddings=embeddings)
    assert len(asked) == 16
    assert (tmp_path / "summary.json").read_bytes() == summary


def test_hashed_vectors_tell_shared_words_and_endings() -> None:
    texts = ["Where was Ann born?", "Where was Bob born?", "Compare two rivers", "where was ann BORN", "", "?!"]
    vectors, tokens = asyncio.run(HashedEmbeddings()(texts))
    assert (vectors.shape, tokens) == ((6, 384), 0)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 0, 0])
    assert vectors[0] @ vectors[3] == pytest.approx(1)
    assert vectors[0] @ vectors[1] > 0.4 > vectors[0] @ vectors[2]


def test_vector_of_a_text_is_made_once() -> None:
    class Counting(HashedEmbeddings):
        def __init__(self) -> None:
            self.asked: list[str] = []

        async def __call__(self, texts: Sequence[str]) -> tuple[Any, int]:
            self.asked.extend(texts)
            return (await super().__call__(texts))[0], len(texts)

    async def main() -> None:
        embed = RememberedEmbeddings(model := Counting())
        first, _ = await embed(["a b", "c d", "a b"])
        second, tokens = await embed(["c d"])
        assert model.asked == ["a b", "c d"]
        assert (embed.num_tokens, tokens) == (2, 0)
        np.testing.assert_array_equal(first[1], second[0])

    asyncio.run(main())
