#!/usr/bin/env bash
# pydantic-evals leaves the cases in which the task or the scorer failed out of the average.
#
# Expected (a guess, made before running): a case whose task raises an error counts as 0 in the average score, or the average says
#   that it is missing.
# What happens: the average is that of the other cases. A policy that fails on 9 questions of 10 and is right on one has an average
#   of 1.0, and so has one whose scorer cannot read 9 of its answers. The failures are in a list of their own, which the average
#   does not mention. A score of NaN is left out as well.
# Versions: pydantic-evals 2.62.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydantic-evals==2.62.0

"$folder/venv/bin/python" - <<'PYTHON'
import dataclasses
import importlib.metadata
import logging

from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Evaluator

logging.disable()


@dataclasses.dataclass
class Score(Evaluator):
    def evaluate(self, ctx):
        return float(ctx.output)


def task_fails(question):
    if question:
        raise ValueError("no answer")
    return "1"


def answer_unreadable(question):
    return "one" if question else "1"


def answer_nan(question):
    return "nan" if question else "1"


dataset = Dataset(name="questions", cases=[Case(name=f"q{n}", inputs=n) for n in range(10)], evaluators=[Score()])
seen = {}
print("version: pydantic-evals", importlib.metadata.version("pydantic-evals"))
print("expected: an average of 0.1, or none")
for task in (task_fails, answer_unreadable, answer_nan):
    report = dataset.evaluate_sync(task, progress=False)
    seen[task.__name__] = report.averages().scores["Score"]
    print(f"seen: {task.__name__}: average {seen[task.__name__]}, failures {len(report.failures)}")
as_described = seen == {"task_fails": 1.0, "answer_unreadable": 1.0, "answer_nan": 1.0}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
