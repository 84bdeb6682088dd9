import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from workflow_r1.evaluation.answers import STATUSES, Answers, read_answers
from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, append_rows


def row(
    question: str, score: float | None, *, method: str = "cot", benchmark: str = "nq", seed: int = 0, repeat: int = 0
) -> EvaluationRow:
    status = EvaluationStatus.FAILED if score is None else EvaluationStatus.ANSWERED
    return EvaluationRow(
        method=method, benchmark=benchmark, question_id=question, seed=seed, repeat=repeat,
        status=status, exact_match=None if score is None else float(score == 1), f1=score, turns=2,
    )  # fmt: skip


def read(path: Path, rows: list[EvaluationRow]) -> dict[tuple[str, str], Answers]:
    path.unlink(missing_ok=True)
    append_rows(path, rows)
    return read_answers([path])


def test_rows_are_grouped_and_questions_numbered_alike(tmp_path: Path) -> None:
    answers = read(
        tmp_path / "log.jsonl",
        [row("b", 1.0), row("a", 0.5), row("b", 0.0, method="sc"), row("a", 1.0, benchmark="popqa")],
    )
    assert list(answers) == [("cot", "nq"), ("cot", "popqa"), ("sc", "nq")]
    assert answers["cot", "nq"].questions.tolist() == [0, 1]
    assert answers["cot", "nq"].f1.tolist() == [0.5, 1.0]
    assert answers["sc", "nq"].questions.tolist() == [1]


def test_a_later_row_replaces_an_earlier_one(tmp_path: Path) -> None:
    log, more = tmp_path / "log.jsonl", tmp_path / "more.jsonl"
    append_rows(log, [row("a", None), row("b", 0.0), row("a", 1.0), row("a", 0.5, repeat=1)])
    append_rows(more, [row("b", 1.0)])
    answers = read_answers([log, more])["cot", "nq"]
    assert answers.f1.tolist() == [1.0, 0.5, 1.0]
    assert answers.repeats.tolist() == [0, 1, 0]
    assert answers.num_replaced == 2
    assert [STATUSES[status] for status in answers.statuses] == ["answered"] * 3


def test_score_table_by_hand(tmp_path: Path) -> None:
    answers = read(
        tmp_path / "log.jsonl",
        [
            # Seeds 7 and -3, so -3 comes first; two repeats under 7, one of them failed on b.
            row("a", 1.0, seed=7), row("a", 0.5, seed=7, repeat=1), row("a", 0.0, seed=-3),
            row("b", None, seed=7), row("b", 0.25, seed=7, repeat=1), row("b", 1.0, seed=-3),
            # Failed, or not asked, under one seed: left out.
            row("c", 1.0, seed=7), row("c", None, seed=-3),
            row("d", 1.0, seed=7),
        ],
    )["cot", "nq"]  # fmt: skip
    questions, f1 = answers.score_table("f1")
    assert questions.tolist() == [0, 1]
    assert f1.tolist() == [[0.0, 0.75], [1.0, 0.25]]
    assert answers.score_table("exact_match")[1].tolist() == [[0.0, 0.5], [1.0, 0.0]]


def test_nothing_scored_is_an_empty_table(tmp_path: Path) -> None:
    questions, scores = read(tmp_path / "log.jsonl", [row("a", None)])["cot", "nq"].score_table("f1")
    assert (questions.tolist(), scores.shape) == ([], (0, 1))


def test_the_order_of_the_log_changes_nothing(tmp_path: Path) -> None:
    rows = [
        row(f"q{question}", question / 20, method=method, seed=seed)
        for question in range(20)
        for method in ("cot", "sc")
        for seed in (5, 1)
    ]
    shuffled = rows.copy()
    random.Random(0).shuffle(shuffled)
    one, other = read(tmp_path / "one.jsonl", rows), read(tmp_path / "other.jsonl", shuffled)
    assert list(one) == list(other)
    for key, answers in one.items():
        for name in answers.__slots__:
            np.testing.assert_array_equal(getattr(answers, name), getattr(other[key], name))


def test_rows_are_not_kept_as_objects(tmp_path: Path) -> None:
    num = 5000
    append_rows(tmp_path / "log.jsonl", [row(f"question-{index}", 1.0) for index in range(num)])
    tracemalloc.start()
    answers = read_answers([tmp_path / "log.jsonl"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(answers["cot", "nq"].f1) == num
    # 11 columns of 8 bytes, grown, copied and sorted, and the ids; a row as an object takes a kilobyte.
    assert peak / num < 700


def test_no_rows(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("")
    assert read_answers([tmp_path / "log.jsonl"]) == {}
    with pytest.raises(ValueError, match="found nothing"):
        read_answers([tmp_path / "none.jsonl"])
