"""Time and memory of the report of an evaluation.

Writes an evaluation of made-up answers, then its report, each in a process of its own::

    python benchmarks/report.py [--methods 14] [--questions 1021] [--trajectories]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, append_rows
from workflow_r1.trajectory import (
    AnswerReward,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    Turn,
    Usage,
    append_trajectories,
)

METHODS = (
    "policy", "direct", "cot", "self-consistency", "medprompt", "medprompt-knn", "react", "expert-workflow", "random",
    "oracle-choice", "aflow", "maas", "direct+search", "cot+search",
)  # fmt: skip
BENCHMARKS = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
STATUSES = (*(EvaluationStatus.ANSWERED,) * 16, EvaluationStatus.NO_ANSWER, EvaluationStatus.MALFORMED,
            EvaluationStatus.OUT_OF_BUDGET, EvaluationStatus.FAILED)  # fmt: skip


def write_evaluation(
    directory: Path, *, num_methods: int, num_questions: int, num_seeds: int = 1, trajectories: bool
) -> int:
    """Write a card, rows, summaries of searches, and trajectories where asked for. Returns the number of rows."""
    directory.mkdir(parents=True, exist_ok=True)
    methods = (METHODS + tuple(f"method-{number}" for number in range(num_methods)))[:num_methods]
    (directory / "card.json").write_text(json.dumps(make_card(methods, num_seeds)))
    rng = np.random.default_rng(0)
    for number, method in enumerate(methods):
        for benchmark in BENCHMARKS:
            for seed in range(num_seeds):
                rows = _make_rows(rng, method, number, benchmark, num_questions, seed)
                append_rows(directory / "rows.jsonl", rows)
                if trajectories:
                    path = directory / "trajectories" / method / f"{benchmark}.jsonl"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    append_trajectories(path, (make_trajectory(row) for row in rows))
    for method in {"aflow", "maas"} & set(methods):
        for seed in range(num_seeds):
            state = directory / "searches" / method / f"seed-{seed}"
            state.mkdir(parents=True)
            found = {
                "llm_calls": 4180,
                "tokens": 2_310_000,
                "cost": 1.37,
                "seconds": 812.4,
                "found": "AnswerGenerate x3 -> ScEnsemble",
            }
            (state / "summary.json").write_text(json.dumps(found))
    return num_methods * len(BENCHMARKS) * num_questions * num_seeds


def make_card(methods: tuple[str, ...], num_seeds: int) -> dict[str, object]:
    """A card of the usual shape."""
    return {
        "schema_version": 1,
        "title": "made-up answers",
        "is_simulation": True,
        "methods": {
            name: {"method": name, "operators": {"Search": "Search: query"} if "+search" in name else {}}
            for name in methods
        },
        "benchmarks": {name: {"num_questions": 0, "fingerprint": f"{name}-0"} for name in BENCHMARKS},
        "seeds": list(range(num_seeds)),
        "repeats": 1,
        "llm": {"kind": "openai", "model": "made-up"},
        "search": {"kind": "bm25", "k": 5, "corpus": "made-up.jsonl", "versions": {"PyStemmer": "3.1.0"}},
        "scoring": {"headline": "exact match with any golden answer", "normaliser": "SQuAD"},
        "prompts": "0" * 64,
        "runs": [{"git_revision": "0" * 40, "packages": {"numpy": np.__version__}}],
    }


def _make_rows(
    rng: np.random.Generator, method: str, number: int, benchmark: str, num_questions: int, seed: int
) -> list[EvaluationRow]:
    place = BENCHMARKS.index(benchmark)
    right = rng.random(num_questions) < 0.15 + 0.05 * place + 0.02 * (number % 9)
    overlap = np.round(rng.beta(0.3, 2.0, num_questions) * 12) / 12
    statuses = rng.integers(len(STATUSES), size=num_questions)
    calls = rng.poisson(number, num_questions) + 1
    rows = []
    for question in range(num_questions):
        status = STATUSES[statuses[question]]
        score = float(right[question]) if status is EvaluationStatus.ANSWERED else 0.0
        f1 = max(score, float(overlap[question])) if status is EvaluationStatus.ANSWERED else 0.0
        failed = status is EvaluationStatus.FAILED
        rows.append(
            EvaluationRow(
                method=method, benchmark=benchmark, question_id=f"question-{question}", seed=seed, status=status,
                exact_match=None if failed else score, f1=None if failed else f1,
                turns=int(calls[question]), llm_calls=int(calls[question]), tokens=int(350 * calls[question]),
                seconds=1.5 * float(calls[question]), cost=0.0002 * float(calls[question]),
            )
        )  # fmt: skip
    return rows


def make_trajectory(row: EvaluationRow) -> ScoredTrajectory:
    """The trajectory of a row, of some 5 kB."""
    call = OperatorCall(
        operator="Search", input="who did what", observation="passage " * 200, valid=True, usage=Usage(llm_calls=1)
    )
    turns = [
        Turn(
            index=number,
            text="<think>" + "a thought " * 20 + "</think>",
            well_formed=True,
            calls=(call,),
            token_ids=tuple(range(100)),
        )
        for number in range(1, 3)
    ]
    score = row.exact_match or 0.0
    return ScoredTrajectory(
        id=f"{row.method}-{row.benchmark}-{row.question_id}-s{row.seed}-r{row.repeat}",
        group_id="group",
        question=Question(
            id=row.question_id, text=f"What is asked by {row.question_id}?", golden_answers=("an answer", "the answer"),
            dataset=row.benchmark, metadata={"type": ("bridge", "comparison")[len(row.question_id) % 2]},
        ),
        turns=tuple(turns),
        answer="an answer" if row.exact_match else None if row.status is not EvaluationStatus.ANSWERED else "another",
        stop_reason=StopReason.ANSWERED,
        reward=AnswerReward(total=score, answer=score, format=0.0, exact_match=score, f1=row.f1 or 0.0),
    )  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=14)
    parser.add_argument("--questions", type=int, default=1021, help="of each of the seven benchmarks")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trajectories", action="store_true", help="also trajectories, of some 5 kB each")
    parser.add_argument("--keep", type=Path, help="write the evaluation here, and keep it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = arguments.keep or Path(folder) / "evaluation"
        num_rows = write_evaluation(
            directory, num_methods=arguments.methods, num_questions=arguments.questions, num_seeds=arguments.seeds,
            trajectories=arguments.trajectories,
        )  # fmt: skip
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "workflow_r1.cli", "report", str(directory)], check=True, stdout=subprocess.DEVNULL
        )
        seconds = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        sizes = {path.name: path.stat().st_size for path in sorted((directory / "report").iterdir())}
    print(f"{num_rows:,} rows: {seconds:.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s of the processor)")
    print(f"largest resident memory {usage.ru_maxrss / 1024:.0f} MiB")
    print(", ".join(f"{name} {size / 1024:.0f} KiB" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
