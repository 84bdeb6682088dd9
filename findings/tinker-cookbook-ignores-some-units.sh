#!/usr/bin/env bash
# To Tinker Cookbook's grader of answers, three hours are three minutes.
#
# Expected (a guess, made before running): "3 hours" is wrong where "3 minutes" is right, whether or not a bare "3" is accepted.
# What happens: a list of units is cut from both answers, so hours, minutes, days and weeks are the same, and so are inches, feet
#   and meters, and even feet and hours. Units that are not in the list count: 5 km differs from 5 miles, and "7 m" from "7 cm".
#   A question about a duration or a length rewards the wrong unit.
# Versions: tinker-cookbook 0.6.1, sympy 1.14.0, pylatexenc 2.11. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sympy==1.14.0 pylatexenc==2.11
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps tinker-cookbook==0.6.1  # the grader needs no PyTorch

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from tinker_cookbook.recipes.math_rl.math_grading import grade_answer

pairs = [
    ("3 hours", "3 minutes"),
    ("3 days", "3 weeks"),
    ("5 inches", "5 feet"),
    ("5 feet", "5 meters"),
    ("5 feet", "5 hours"),
    ("5 km", "5 miles"),
    ("7 m", "7 cm"),
]
print("version:", {name: importlib.metadata.version(name) for name in ("tinker-cookbook", "sympy", "pylatexenc")})
seen = []
for answer, reference in pairs:
    seen.append(grade_answer(answer, reference))
    print(f"answer {answer!r}, reference {reference!r}: expected: False, seen: {seen[-1]}")
as_described = seen == [True] * 5 + [False] * 2
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
