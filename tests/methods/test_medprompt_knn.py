"""MedPrompt with examples: the choice of examples, the examples of a question, and the kept files."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from workflow_r1.errors import ConfigError, ServiceUnavailableError
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.methods.medprompt_knn import ANSWERS
from workflow_r1.methods.passages import THE_QUESTION
from workflow_r1.methods.similarity import by_embeddings, by_words
from workflow_r1.retrieval import Passage, ScriptedSearch
from workflow_r1.trajectory import Message, Question

ASKED = Question(id="t", text="Who directed the film Jaws?", golden_answers=("Spielberg",))
TRAIN = [
    Question(id="a", text="Who directed the film Alien?", golden_answers=("Scott",)),
    Question(id="b", text="Who directed Vertigo?", golden_answers=("Hitchcock",)),
    Question(id="c", text="In which country is Oslo?", golden_answers=("Norway",)),
    Question(id="d", text="Who directed the film Psycho?", golden_answers=("Hitchcock",)),
    Question(
        id="e", text="who directed the film JAWS", golden_answers=("Spielberg",)
    ),  # the asked one, in other letters
    Question(id="f", text="Who directed the  film Jaws?", golden_answers=("Spielberg",)),
]
KNOWN = {"Alien": "Scott", "Vertigo": "Hitchcock", "Oslo": "Norway", "Jaws": "Spielberg", "Psycho": "Hawks"}


def knows(messages: tuple[Message, ...]) -> str:
    asked = messages[0].content.rpartition(THE_QUESTION)[2]
    answer = next((answer for name, answer in KNOWN.items() if name in asked.rpartition("<question>")[2]), "?")
    return f"<reasoning>I know.</reasoning><answer>{answer}</answer>"


def test_examples_were_answered_rightly_and_the_most_similar_is_last(run_method, tmp_path: Path) -> None:
    chat = ScriptedChatModel(knows)
    result = run_method(
        "medprompt-knn", chat, ASKED, train=TRAIN, directory=tmp_path, medprompt_knn={"num_examples": 2}
    )
    (trajectory,) = result.trajectories
    assert (trajectory.answer, trajectory.usage.llm_calls) == ("Spielberg", 5)
    sent = chat.requests[-1].messages[0].content
    shown = sent.partition("<question>")[2]
    assert shown.startswith(
        "Questions that were answered rightly, the most similar last:\n\n"
        "Question: Who directed Vertigo?\nReasoning: I know.\nAnswer: Hitchcock\n\n"
        "Question: Who directed the film Alien?\nReasoning: I know.\nAnswer: Scott\n\n"
        f"{THE_QUESTION}\n{ASKED.text}</question>"
    )
    assert "Psycho" not in sent  # its answer was wrong
    # What is asked is never an example, in whatever letters and under whatever name it stands among the training questions.
    assert sent.lower().count("jaws") == 1


def test_the_cost_of_the_examples_is_kept_and_nothing_is_done_twice(run_method, tmp_path: Path) -> None:
    first = ScriptedChatModel(knows)
    run_method("medprompt-knn", first, ASKED, train=TRAIN, directory=tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(first.requests) == 4 + 5
    assert (summary["llm_calls"], summary["asked"], summary["examples"]) == (4, 4, 3)
    second = ScriptedChatModel(knows)
    run_method("medprompt-knn", second, ASKED, train=TRAIN, directory=tmp_path)
    assert len(second.requests) == 5


def test_it_goes_on_where_it_was_stopped(run_method, tmp_path: Path) -> None:
    run_method("medprompt-knn", ScriptedChatModel(knows), ASKED, train=TRAIN, directory=tmp_path)
    whole = (tmp_path / "examples.json").read_text()
    lines = (tmp_path / ANSWERS).read_text().splitlines(keepends=True)
    (tmp_path / ANSWERS).write_text("".join(lines[:2]) + lines[2][:40])
    (tmp_path / "examples.json").unlink()
    chat = ScriptedChatModel(knows)
    run_method("medprompt-knn", chat, ASKED, train=TRAIN, directory=tmp_path)
    assert len(chat.requests) == len(lines) - 2 + 5
    assert (tmp_path / "examples.json").read_text() == whole


def test_a_failing_service_stops_it_and_is_asked_again(run_method, tmp_path: Path) -> None:
    def fail_once(messages: tuple[Message, ...]) -> str | Exception:
        return ServiceUnavailableError("down") if "Oslo" in messages[0].content else knows(messages)

    with pytest.raises(ServiceUnavailableError, match="1 of"):
        run_method("medprompt-knn", ScriptedChatModel(fail_once), ASKED, train=TRAIN, directory=tmp_path)
    chat = ScriptedChatModel(knows)
    run_method("medprompt-knn", chat, ASKED, train=TRAIN, directory=tmp_path)
    assert len(chat.requests) == 1 + 5


def test_without_any_example_the_question_stands_alone(run_method, tmp_path: Path) -> None:
    chat = ScriptedChatModel(lambda messages: "<reasoning>r</reasoning><answer>no idea</answer>")
    run_method("medprompt-knn", chat, ASKED, train=TRAIN, directory=tmp_path)
    assert f"<question>{ASKED.text}</question>" in chat.requests[-1].messages[0].content


def test_passages_stand_between_the_examples_and_the_question(run_method, tmp_path: Path) -> None:
    chat = ScriptedChatModel(knows)
    search = ScriptedSearch({ASKED.text: [Passage(id="p", title="Jaws", text="By Spielberg.", score=1.0)]})
    run_method("medprompt-knn+search", chat, ASKED, train=TRAIN, directory=tmp_path, search=search)
    sent = chat.requests[-1].messages[0].content
    assert 0 < sent.index("Alien") < sent.index("[1] Jaws: By Spielberg.") < sent.index(THE_QUESTION)
    assert sent.count(THE_QUESTION) == 1


def test_it_needs_a_place_and_refuses_another_ones(run_method, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--output"):
        run_method("medprompt-knn", ScriptedChatModel(knows), ASKED, train=TRAIN)
    run_method("medprompt-knn", ScriptedChatModel(knows), ASKED, train=TRAIN, directory=tmp_path)
    with pytest.raises(ConfigError, match="another"):
        run_method("medprompt-knn", ScriptedChatModel(knows), ASKED, train=TRAIN[:2], directory=tmp_path)


# ---------------------------------------------------------------------------------------------------------- similarity


class Letters:
    """An embedding: how often a, b and c stand in a text."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        self.asked += texts
        counts = np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=float)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True), len(texts)


def test_embeddings_rank_by_cosine_and_are_made_once(tmp_path: Path) -> None:
    texts = ["aac", "bbb", "aaaaa", "abc"]

    async def rank(model: Letters, text: str) -> tuple[list[int], int]:
        find, tokens = await by_embeddings(texts, model, [text], tmp_path / "vectors.jsonl")
        return await find(text), tokens

    model = Letters()
    assert asyncio.run(rank(model, "aa")) == ([2, 0, 3, 1], 5)
    assert asyncio.run(rank(model, "aa")) == ([2, 0, 3, 1], 5)
    assert asyncio.run(rank(model, "b")) == ([1, 3, 0, 2], 6)
    assert model.asked == [*texts, "aa", "b"]


def test_words_rank_by_those_they_share() -> None:
    texts = ["Who wrote Emma?", "When was Oslo founded?", "Who wrote the novel Emma about Highbury?"]

    async def rank(text: str) -> list[int]:
        return await by_words(texts)(text)

    assert asyncio.run(rank("Who wrote Emma?")) == [0, 2]
    assert asyncio.run(rank("xyzzy")) == []
