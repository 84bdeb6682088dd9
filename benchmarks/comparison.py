"""Time and memory of a comparison of recorded answers.

Writes a log of made-up rows, then reads and compares it in this process::

    python benchmarks/comparison.py [--methods 10] [--questions 10000] [--seeds 1]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from workflow_r1.evaluation.answers import read_answers
from workflow_r1.evaluation.comparison import compare_methods
from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, append_rows


def write_log(path: Path, *, num_methods: int, num_questions: int, num_seeds: int) -> int:
    """Write rows of every method, question and seed; a hundredth of them failures. Returns their number."""
    rng = np.random.default_rng(0)
    for method in range(num_methods):
        for seed in range(num_seeds):
            right = rng.random(num_questions) < 0.3 + 0.02 * method
            overlap = np.round(rng.beta(0.3, 2.0, num_questions) * 12) / 12
            failed = rng.random(num_questions) < 0.01
            append_rows(
                path,
                (
                    EvaluationRow(
                        method=f"method {method}", benchmark="benchmark", question_id=f"question-{question}", seed=seed,
                        status=EvaluationStatus.FAILED if failed[question] else EvaluationStatus.ANSWERED,
                        exact_match=None if failed[question] else float(right[question]),
                        f1=None if failed[question] else float(max(right[question], overlap[question])),
                        turns=1 + method, llm_calls=1 + method, tokens=500 * (1 + method), seconds=1.5, cost=0.001 * method,
                    )
                    for question in range(num_questions)
                ),
            )  # fmt: skip
    return num_methods * num_questions * num_seeds


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=10)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "evaluation.jsonl"
        num_rows = write_log(
            path, num_methods=arguments.methods, num_questions=arguments.questions, num_seeds=arguments.seeds
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        answers = read_answers([path])
        read = time.perf_counter()
        comparison = compare_methods(answers, reference="method 0")
        compared = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{num_rows:,} rows, {path.name}: read in {read - started:.1f} s, compared in {compared - read:.1f} s")
    print(f"{len(comparison.figures)} figures of each kind, {len(comparison.tests)} tests")
    print(f"largest resident memory {peak / 1024:.0f} MiB, of which {before / 1024:.0f} MiB before reading")


if __name__ == "__main__":
    main()
