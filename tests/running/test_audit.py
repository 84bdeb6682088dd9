"""The audit counts what a search shows of a small corpus, against counts that can be read off it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.data import load_questions, save_questions
from workflow_r1.errors import ConfigError
from workflow_r1.evaluation.card import EvaluationCard
from workflow_r1.running.audit import Sample, audit, sample_shown
from workflow_r1.running.audit_check import check_audit
from workflow_r1.running.configuration import open_config
from workflow_r1.running.evaluation import evaluate, plan_evaluation
from workflow_r1.running.findings import Status
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


def test_yes_beside_another_answer_stands_nowhere(config: Callable, tmp_path: Path) -> None:
    """A passage that says yes of something else shows no answer, in the corpus as among the best."""
    with gzip.open(tmp_path / "corpus.jsonl.gz", "at") as file:
        file.write(json.dumps({"id": "5", "title": "Slate tower", "text": "Is there a tower? Yes."}) + "\n")
    asked = QUESTIONS[3].model_copy(update={"golden_answers": ("yes", "it certainly is")})
    (row,) = audit(config("search.k=5"), [asked]).rows
    assert (row.yes_or_no, row.answer_in_corpus, row.answer_shown) == (0, 0, 0) and not any(row.answer_in_top.values())


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


def test_a_sample_counts_what_is_shown_and_leaves_yes_and_no_out(config: Callable) -> None:
    """The index must be there; nothing is built for a look."""
    sets = {"rivers": QUESTIONS[:4], "yes": QUESTIONS[3:4], "hills": QUESTIONS[4:]}
    assert sample_shown(config(), sets) == {}
    audit(config(), QUESTIONS[:1])
    assert sample_shown(config(), sets) == {"rivers": Sample(3, 1), "hills": Sample(1, 0)}
    assert sample_shown(config(), sets, num=1)["rivers"].questions == 1
    assert sample_shown(config('environment.operators=["Review"]'), sets) == {}
    assert sample_shown(open_config(None, []), sets) == {}
    # Where no turn may follow a search, nobody sees what it shows.
    assert sample_shown(config("environment.max_turns=1"), sets)["rivers"] == Sample(3, 0)


def test_the_doctor_says_how_many_answers_search_can_show(config: Callable, tmp_path: Path) -> None:
    save_questions(tmp_path / "train.jsonl", QUESTIONS[:4])
    save_questions(tmp_path / "held-out.jsonl", QUESTIONS[4:])
    audit(config(), QUESTIONS[:1])
    asked = config(
        "data.source=files", f"data.train={tmp_path / 'train.jsonl'}", f"data.evaluation={tmp_path / 'held-out.jsonl'}"
    )
    train, held_out = check_audit(asked)
    assert train.status is Status.OK and train.found.startswith(
        "data.train: Search shows the gold answer of 1 in 3 questions"
    )
    assert (
        held_out.status is Status.WARNING
        and "data.evaluation: Search shows the gold answer of 0 in 1" in held_out.found
    )
    assert list(check_audit(open_config(None, []))) == []


def test_the_card_of_an_evaluation_carries_the_sample(config: Callable, tmp_path: Path) -> None:
    """The embedded policy answers none of it; the finding is about the search."""
    save_questions(tmp_path / "rivers.jsonl", QUESTIONS[:4])
    asked = config()
    audit(asked, QUESTIONS[:1])
    planned = plan_evaluation(asked, methods=["policy"], benchmarks=[f"rivers={tmp_path / 'rivers.jsonl'}"])
    card = EvaluationCard.read(evaluate(planned, directory=tmp_path / "evaluation").directory)
    assert card.audit == {"rivers": {"questions": 3, "shown": 1}}
