#!/usr/bin/env bash
# math-verify reads the repeating decimal 0.333... as 0.
#
# Expected (a guess, made before running): `0.\overline{3}` is one third, or cannot be parsed; in neither case is it equal to 0.
# What happens: the overlined digits become a symbol that multiplies: `0.\overline{3}` is 0 times a symbol, which is 0, and
#   `0.1\overline{6}` is 0.1 times a symbol. With the first as the gold answer, the answer 0 scores as right and 1/3 as wrong;
#   the second equals nothing.
# Versions: math-verify 0.9.0, latex2sympy2-extended 1.11.0, sympy 1.14.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check math-verify==0.9.0 latex2sympy2-extended==1.11.0 sympy==1.14.0

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

from math_verify import parse, verify

pairs = [(r"$0.\overline{3}$", "$1/3$"), (r"$0.\overline{3}$", "$0$"), (r"$0.1\overline{6}$", "$1/6$")]
seen = [verify(parse(gold), parse(answer)) for gold, answer in pairs]
print("version: math-verify", importlib.metadata.version("math-verify"), "with sympy", importlib.metadata.version("sympy"))
for (gold, answer), equal in zip(pairs, seen, strict=True):
    print(f"gold {gold}, answer {answer}: {'equal' if equal else 'different'}; parsed {parse(gold)[:1]} and {parse(answer)[:1]}")
print("expected:", "equal, different, equal")
as_described = seen == [False, True, False]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
