import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from workflow_r1.errors import DataError
from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, append_rows, iterate_rows


def row(name: str = "q", **changes: object) -> EvaluationRow:
    fields: dict[str, object] = {
        "method": "cot", "benchmark": "nq", "question_id": name, "status": "answered", "exact_match": 1.0, "f1": 1.0
    }  # fmt: skip
    return EvaluationRow.model_validate(fields | changes)


FAILED = {"status": EvaluationStatus.FAILED, "exact_match": None, "f1": None}


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [
        row("a", seed=2**70, repeat=3, f1=0.1 + 0.2, turns=2, llm_calls=3, tokens=400, seconds=0.25, cost=0.125),
        row("b", cost=None),
        row("é\n", **FAILED),
    ]
    append_rows(path, rows[:1])
    append_rows(path, rows[1:])
    assert list(iterate_rows(path)) == rows
    assert json.loads(path.read_text().splitlines()[0])["schema_version"] == 1


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_rows(path, [row("a"), row("b")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [kept.question_id for kept in iterate_rows(path)] == ["a", "b"]


def test_what_a_crash_cut_off_is_left_out_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_rows(path, [row("a"), row("b")])
    path.write_bytes(path.read_bytes()[:-20])
    assert [kept.question_id for kept in iterate_rows(path)] == ["a"]
    append_rows(path, [row("c")])
    assert [kept.question_id for kept in iterate_rows(path)] == ["a", "c"]


@pytest.mark.parametrize(
    "changes",
    [
        {"exact_match": None},
        {"f1": None},
        {"status": "failed"},
        {**FAILED, "f1": 0.0},
    ],
)
def test_a_score_is_missing_exactly_where_the_infrastructure_failed(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="null for that one"):
        row(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f1": 1.5}, r"log.jsonl:2: f1: Input should be less than or equal to 1"),
        ({"f1": float("nan")}, r"log.jsonl:2: f1: "),
        ({"cost": -1}, r"log.jsonl:2: cost: "),
        ({"tokens": 10**30}, r"log.jsonl:2: tokens: "),
        ({"status": "wrong"}, r"log.jsonl:2: status: .*'answered', 'no_answer'"),
        ({"reward": 1}, r"log.jsonl:2: the row: .*expected exact_match and f1 .or reward"),
        ({"exact_match": None}, r"log.jsonl:2: the row: .*expected exact_match and f1"),
        ({"schema_version": 2, "reward": 1}, r"log.jsonl:2: expected an evaluation row of schema_version 1, found 2"),
        ({"schema_version": 2}, r"schema_version 1, found 2"),
    ],
)
def test_a_wrong_row_is_named_with_its_line_and_field(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "log.jsonl"
    append_rows(path, [row()])
    with path.open("a") as file:
        file.write(json.dumps(json.loads(row().model_dump_json()) | changes) + "\n")
    with pytest.raises(DataError, match=message):
        list(iterate_rows(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nothing", "not JSON"),
        ("[1]", "found a list"),
        ('{"method": "cot"}', "schema_version 1, found None"),
        (
            '{"method":"cot","benchmark":"nq","question_id":"q","status":"answered","exact_match":1,"f1":1}',
            "found None",
        ),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_row_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        list(iterate_rows(path))
    with pytest.raises(DataError, match="expected a file of evaluation rows, found nothing"):
        list(iterate_rows(tmp_path / "none.jsonl"))
