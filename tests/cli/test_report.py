"""``workflow-r1 report`` on evaluations. On training runs: ``test_training_commands.py``."""

import json
from pathlib import Path

import pytest

from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, append_rows


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    directory = tmp_path / "evaluation"
    directory.mkdir()
    append_rows(
        directory / "rows.jsonl",
        [
            EvaluationRow(
                method=method, benchmark=benchmark, question_id=str(number), status=EvaluationStatus.ANSWERED,
                exact_match=float(number < right), f1=float(number < right), llm_calls=1, tokens=100,
            )
            for benchmark in ("nq", "popqa", "hotpotqa")
            for method, right in (("policy", 30), ("cot", 5))
            for number in range(40)
        ],
    )  # fmt: skip
    (directory / "card.json").write_text(json.dumps({"title": "mine", "is_simulation": True}))
    return directory


def test_an_evaluation_gets_its_report(call, evaluation: Path) -> None:
    code, output, errors = call("report", evaluation)
    assert (code, errors) == (0, "")
    assert "A simulation" in output
    assert "worse than policy on nq (by 0.625" in " ".join(output.split())
    assert {path.name for path in (evaluation / "report").iterdir()} >= {
        "report.md", "report.html", "report.csv", "report.json", "frontier.svg",
    }  # fmt: skip


def test_options_choose_reference_figure_confidence_and_place(call, evaluation: Path, tmp_path: Path) -> None:
    code, output, _ = call(
        "report",
        evaluation,
        "--reference",
        "cot",
        "--figure",
        "f1",
        "--confidence",
        "0.9",
        "--output",
        tmp_path / "there",
    )
    assert code == 0
    assert "better than cot" in output
    report = json.loads((tmp_path / "there" / "report.json").read_text())["comparison"]
    assert (report["reference"], report["figure"], report["confidence"]) == ("cot", "f1", 0.9)
    assert not (evaluation / "report").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--figure", "accuracy"], "figure: expected one of exact_match, f1, success, reward, received 'accuracy'"),
        (["--confidence", "95"], "confidence: expected a number from 0.5 to below 1"),
        (["--reference", "sc"], "expected the reference to be one of cot, policy, received 'sc'"),
    ],
)
def test_a_wrong_option_is_told(call, evaluation: Path, options: list[str], message: str) -> None:
    code, _, errors = call("report", evaluation, *options)
    assert code == 2
    assert message in " ".join(errors.split())


def test_an_evaluation_and_something_else_do_not_go_together(call, evaluation: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    code, _, errors = call("report", evaluation, tmp_path / "run")
    assert code == 2
    assert "expected directories of evaluations" in errors
    code, _, errors = call("report", tmp_path / "run", "--reference", "cot")
    assert code == 2
    assert "expected the directory of an evaluation with --reference" in errors
