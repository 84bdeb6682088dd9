#!/usr/bin/env bash
# math-verify drops the minus of `- 5` in plain text.
#
# Expected (a guess, made before running): `- 5` in plain text is -5, as `$- 5$` is in LaTeX and `-5` is without the blank, so
#   it differs from a gold answer 5.
# What happens: the plain number pattern wants the sign next to the digits and reads `- 5` as 5. The wrong sign scores as right
#   against 5, and the right answer -5, so written, as wrong.
# Versions: math-verify 0.9.0, latex2sympy2-extended 1.11.0, sympy 1.14.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check math-verify==0.9.0 latex2sympy2-extended==1.11.0 sympy==1.14.0

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

from math_verify import parse, verify

pairs = [("$5$", "- 5"), ("$-5$", "- 5"), ("$5$", "-5"), ("$5$", "$- 5$")]
seen = [verify(parse(gold), parse(answer)) for gold, answer in pairs]
print("version: math-verify", importlib.metadata.version("math-verify"), "with sympy", importlib.metadata.version("sympy"))
for (gold, answer), equal in zip(pairs, seen, strict=True):
    print(f"gold {gold}, answer {answer}: {'equal' if equal else 'different'}; parsed {parse(gold)[:1]} and {parse(answer)[:1]}")
print("expected:", "different, equal, different, different")
as_described = seen == [True, False, False, False]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
