#!/usr/bin/env bash
# pydantic-evals checks no answer where the expected one is None.
#
# Expected (a guess, made before running): a case with `expected_output=None` is wrong for the output 2, and right for None.
# What happens: `EqualsExpected` returns nothing for it, so the case has no verdict and is in no average. A question whose right
#   answer is to abstain, or to call no tool, is never wrong. It counts where the evaluator is `Equals(value=None)`.
# Versions: pydantic-evals 2.62.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydantic-evals==2.62.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Equals, EqualsExpected


def average(evaluator):
    cases = [Case(name="has an answer", inputs=1, expected_output=2), Case(name="abstain", inputs=2, expected_output=None)]
    cases[1].evaluators = [evaluator]
    cases[0].evaluators = [EqualsExpected()]
    report = Dataset(name="questions", cases=cases).evaluate_sync(lambda question: 2, progress=False)
    verdicts = {case.name: [result.value for result in case.assertions.values()] for case in report.cases}
    return verdicts, report.averages().assertions


seen = {type(evaluator).__name__: average(evaluator) for evaluator in (EqualsExpected(), Equals(value=None))}
print("version: pydantic-evals", importlib.metadata.version("pydantic-evals"))
print("expected: one case of two is right, an average of 0.5")
for name, (verdicts, share) in seen.items():
    print(f"seen: {name}: verdicts {verdicts}, average {share}")
nothing = ({"has an answer": [True], "abstain": []}, 1.0)
as_described = seen == {"EqualsExpected": nothing, "Equals": ({"has an answer": [True], "abstain": [False]}, 0.5)}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
