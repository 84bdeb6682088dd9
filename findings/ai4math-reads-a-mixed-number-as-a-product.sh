#!/usr/bin/env bash
# ai4math takes three and a half in LaTeX for three halves.
#
# Expected (a guess, made before running): `3\frac{1}{2}` is 3.5, as `3 1/2` is.
# What happens: it is 1.5. The right answer to a question about lengths or recipes earns nothing where one side writes it as a
#   mixed number, and the product earns the reward.
# Versions: ai4math 0.1.0 with its reader of LaTeX, sympy 1.14.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "ai4math[latex]==0.1.0" sympy==1.14.0 antlr4-python3-runtime==4.11.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from ai4math import verify_equivalence

plain = {answer: bool(verify_equivalence("3 1/2", answer)) for answer in ("3.5", "1.5")}
latex = {answer: bool(verify_equivalence(r"3\frac{1}{2}", answer)) for answer in ("3.5", r"\frac{7}{2}", "1.5")}
print("version: ai4math", importlib.metadata.version("ai4math"))
print("expected: 3.5 is right for each, and 1.5 is wrong")
print("seen, 3 1/2:       ", plain)
print(r"seen, 3\frac{1}{2}:", latex)
as_described = list(plain.values()) == [True, False] and list(latex.values()) == [False, False, True]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
