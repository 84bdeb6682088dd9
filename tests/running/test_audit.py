"""The audit counts what a search shows of a small corpus, against counts that can be read off it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.data import load_questions
from workflow_r1.errors import ConfigError
from workflow_r1.running.audit import audit
from workflow_r1.running.configuration import open_config
from workflow_r1.trajectory import Question

FILLER = " ".join(["Nothing else is said of it here."] * 12)
CORPUS = (
    ("1", "Amber", f"Amber is a river. {FILLER} The river Amber ends in Lake Quill. {FILLER}"),
    ("2", "Amber bridge", "The bridge over the river Amber was built by Ada Stone."),
    ("3", "Ada Stone", "Ada Stone was born in 1802."),
    ("4", "Slate", "Slate is a hill with a tower."),
)


def question(id: str, text: str, answer: str, *titles: str, dataset: str = "rivers") -> Question:
    return Question(
        id=id,
        text=text,
        golden_answers=(answer,),
        dataset=dataset,
        split="dev",
        metadata={"supporting_titles": list(titles)} if titles else {},
    )


QUESTIONS = [
    question("lake", "Where does the river Amber end?", "Lake Quill", "Amber"),
    question("builder", "Who built the bridge over the river Amber?", "Ada Stone", "Amber bridge"),
    question(
        "year", "When was the builder of the bridge over the river Amber born?", "1802", "Amber bridge", "Ada Stone"
    ),
    question("yes", "Is Slate a hill?", "yes", "Slate"),
    question("absent", "Who owns the hill Slate?", "Nobody Known", dataset="hills"),
]


@pytest.fixture
def config(tmp_path: Path) -> Callable:
    corpus = tmp_path / "corpus.jsonl.gz"
    with gzip.open(corpus, "wt") as file:
        for id, title, text in CORPUS:
            file.write(json.dumps({"id": id, "title": title, "text": text}) + "\n")

    def make(*more: str):
        return open_config(
            None,
            [
                "search.kind=bm25", f"search.corpus={corpus}", f"search.index={tmp_path / 'index'}", "search.k=1",
                'environment.operators=["Search"]', *more,
            ],
        )  # fmt: skip

    return make


def test_counts_by_benchmark(config: Callable) -> None:
    done = audit(config(), QUESTIONS)
    rivers, hills = done.rows
    assert (rivers.dataset, rivers.split, rivers.questions, rivers.yes_or_no) == ("rivers", "dev", 4, 1)
    assert rivers.answer_in_corpus == 3 and hills.answer_in_corpus == 0
    # The bridge's page is the best for all three; river and person stand in the passages after it.
    assert rivers.answer_in_top == {1: 1, 3: 3, 5: 3} and hills.answer_in_top == {1: 0, 3: 0, 5: 0}
    assert rivers.with_titles == 3 and hills.with_titles == 0
    assert rivers.titles_in_top == {1: 1, 3: 3, 5: 3}
    assert rivers.answer_shown == 1 and [each.id for each in done.shown] == ["builder"]
    assert done.as_json()["rows"][0]["answer_in_top"] == rivers.answer_in_top


def test_sees_what_the_policy_sees(config: Callable) -> None:
    """Cut in the middle, the middle of the long passage is missing; cut around the query, the sentence with the answer stays."""
    lake = QUESTIONS[:1]
    whole = audit(config("search.k=3", "environment.max_observation_chars=2000"), lake)
    assert whole.rows[0].answer_in_top[3] == whole.rows[0].answer_shown == 1
    assert audit(config("search.k=3", "environment.max_observation_chars=64"), lake).rows[0].answer_shown == 0
    cut = audit(config("search.k=3", "environment.max_observation_chars=2000", "search.passage_chars=80"), lake)
    assert cut.rows[0].answer_shown == 1 and cut.passage_chars == 80


def test_needs_search(config: Callable) -> None:
    with pytest.raises(ConfigError, match="expected Search among them"):
        audit(config('environment.operators=["AnswerGenerate"]', "llm.kind=embedded"), QUESTIONS)


def test_command(call: Callable, config: Callable, tmp_path: Path) -> None:
    config()
    file = tmp_path / "questions.jsonl"
    file.write_text(
        "".join(
            json.dumps({"id": q.id, "question": q.text, "golden_answers": list(q.golden_answers), "dataset": q.dataset})
            + "\n"
            for q in QUESTIONS
        )
    )
    options = [
        "--questions", str(file), "-o", "search.kind=bm25", "-o", f"search.corpus={tmp_path / 'corpus.jsonl.gz'}", "-o",
        f"search.index={tmp_path / 'index'}", "-o", 'environment.operators=["Search"]',
    ]  # fmt: skip
    code, output, errors = call("data", "audit", *options, "--keep", str(tmp_path / "kept.jsonl"), "--json")
    assert code == 0, errors
    assert [row["questions"] for row in json.loads(output)["rows"]] == [4, 1]
    assert "builder" in {each.id for each in load_questions(tmp_path / "kept.jsonl")}
    code, output, errors = call("data", "audit", *options, "--keep", str(tmp_path / "kept.jsonl"))
    assert code == 2 and "expected a new file" in errors
    code, output, errors = call("data", "audit", *options)
    assert code == 0 and "rivers" in output
