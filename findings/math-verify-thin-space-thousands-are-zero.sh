#!/usr/bin/env bash
# math-verify reads `1\,000` as 0 and `12\,345` as 357.
#
# Expected (a guess, made before running): `1\,000`, the usual LaTeX for a thousand with a thin space, is 1000, as `1,000` is.
# What happens: the two groups of digits become two numbers that combine: `1\,000` is 1 times 0, which is 0, and `12\,345` is
#   357, their sum. A gold answer so written scores the answer 0 as right and 1000 as wrong.
# Versions: math-verify 0.9.0, latex2sympy2-extended 1.11.0, sympy 1.14.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check math-verify==0.9.0 latex2sympy2-extended==1.11.0 sympy==1.14.0

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

from math_verify import parse, verify

pairs = [(r"$1\,000$", "$1000$"), (r"$1\,000$", "$0$"), (r"$12\,345$", "$357$"), ("$1,000$", "$1000$")]
seen = [verify(parse(gold), parse(answer)) for gold, answer in pairs]
print("version: math-verify", importlib.metadata.version("math-verify"), "with sympy", importlib.metadata.version("sympy"))
for (gold, answer), equal in zip(pairs, seen, strict=True):
    print(f"gold {gold}, answer {answer}: {'equal' if equal else 'different'}; parsed {parse(gold)[:1]} and {parse(answer)[:1]}")
print("expected:", "equal, different, different, equal")
as_described = seen == [False, True, True, True]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
