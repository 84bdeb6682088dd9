#!/usr/bin/env bash
# Tinker Cookbook's grader of answers accepts a two-letter word with its letters swapped.
#
# Expected (a guess, made before running): "No" is wrong where "on" is right, and "ab" where "ba" is.
# What happens: a short answer is read as a product of variables, whose order is free, after capitals have become small letters:
#   CO is OC, MA is AM, and the order "B A" is the order "A B". A reward for answers that are abbreviations, options or orders
#   accepts wrong ones. Words of three letters, "B, A" and some pairs such as IL and LI are told apart.
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

pairs = [("No", "on"), ("BA", "AB"), ("CO", "OC"), ("MA", "AM"), ("B A", "A B"), ("B, A", "A, B"), ("abc", "cab"), ("IL", "LI")]
print("version:", {name: importlib.metadata.version(name) for name in ("tinker-cookbook", "sympy", "pylatexenc")})
seen = []
for answer, reference in pairs:
    seen.append(grade_answer(answer, reference))
    print(f"answer {answer!r}, reference {reference!r}: expected: False, seen: {seen[-1]}")
as_described = seen == [True] * 5 + [False] * 3
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
