"""Small evaluations, written by hand."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, append_rows
from workflow_r1.trajectory import (
    AnswerReward,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
    append_trajectories,
)

WriteEvaluation = Callable[..., Path]
STATUSES = {"n": EvaluationStatus.NO_ANSWER, "m": EvaluationStatus.MALFORMED, "b": EvaluationStatus.OUT_OF_BUDGET}

CARD: dict[str, Any] = {
    "schema_version": 1,
    "title": "a small one",
    "is_simulation": False,
    "llm": {"kind": "openai", "model": "tiny"},
    "search": {"kind": "bm25", "k": 5},
    "scoring": {"normaliser": "SQuAD"},
    "prompts": "ab" * 32,
    "benchmarks": {},
    "methods": {},
}


def make_rows(
    method: str, benchmark: str, letters: str, *, seed: int = 0, calls: int = 1, cost: float | None = None
) -> list[EvaluationRow]:
    """One row per letter: ``1`` right, ``0`` wrong, ``n`` no answer, ``m`` malformed, ``b`` out of budget, ``f`` failed."""
    return [
        EvaluationRow(
            method=method, benchmark=benchmark, question_id=f"q{number:02}", seed=seed,
            status=EvaluationStatus.FAILED if letter == "f" else STATUSES.get(letter, EvaluationStatus.ANSWERED),
            exact_match=None if letter == "f" else float(letter == "1"), f1=None if letter == "f" else float(letter == "1"),
            turns=calls, llm_calls=calls, tokens=100 * calls, seconds=0.5, cost=cost,
        )
        for number, letter in enumerate(letters)
    ]  # fmt: skip


def make_trajectory(
    row: EvaluationRow, *, text: str = "Who?", operators: Iterable[str] = ("Search",), kind: str = ""
) -> Trajectory:
    failed = row.status is EvaluationStatus.FAILED
    calls = tuple(OperatorCall(operator=name, input="x", observation="y", valid=True) for name in operators)
    fields: dict[str, Any] = {
        "id": f"{row.method}-{row.benchmark}-{row.question_id}-s{row.seed}-r{row.repeat}",
        "group_id": "g",
        "question": Question(
            id=row.question_id, text=text, golden_answers=("gold",), metadata={"type": kind} if kind else {}
        ),
        "turns": (Turn(index=1, text=f"turn of {row.method}", well_formed=True, calls=calls),),
        "answer": "an answer" if row.status is EvaluationStatus.ANSWERED else None,
    }
    if failed:
        return Trajectory(**fields, stop_reason=StopReason.OPERATOR_FAILED, error="the server is down")
    score = row.exact_match or 0.0
    reward = AnswerReward(total=score, answer=score, format=0.0, exact_match=score, f1=score)
    return ScoredTrajectory(**fields, stop_reason=StopReason.ANSWERED, reward=reward)


@pytest.fixture
def write(tmp_path: Path) -> WriteEvaluation:
    """Writes an evaluation: rows, card, trajectories, and returns its directory."""

    def write_evaluation(
        rows: Iterable[EvaluationRow],
        *,
        name: str = "evaluation",
        trajectories: Iterable[tuple[str, str, Trajectory]] = (),
        card: dict[str, Any] | None = CARD,
    ) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        append_rows(directory / "rows.jsonl", rows)
        if card is not None:
            (directory / "card.json").write_text(json.dumps(card))
        for method, benchmark, trajectory in trajectories:
            path = directory / "trajectories" / method / f"{benchmark}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            append_trajectories(path, [trajectory])
        return directory

    return write_evaluation


@pytest.fixture
def logs() -> SimpleNamespace:
    """Makes rows and trajectories."""
    return SimpleNamespace(rows=make_rows, trajectory=make_trajectory, CARD=CARD)
