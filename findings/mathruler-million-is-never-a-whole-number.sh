#!/usr/bin/env bash
# mathruler finds "2 million" unequal to 2000000.
#
# Expected (a guess, made before running): the grader, which is used for rewards in reinforcement learning, takes "2 million" for
#   2000000.
# What happens: the word becomes a power of ten, and a later rule refuses each answer that is not itself written as an integer
#   where the reference is one. `1.5 million` for 1500000 is wrong as well, while 1e3 is right for 1000 and 5 meters is right for
#   5.
# Versions: mathruler 0.1.0, sympy 1.14.0, pylatexenc 2.11, tqdm 4.70.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mathruler==0.1.0 sympy==1.14.0 pylatexenc==2.11 tqdm==4.70.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from mathruler.grader import grade_answer

pairs = [("2 million", "2000000"), ("1.5 million", "1500000"), ("2000000", "2 million"), ("1e3", "1000"), ("5 meters", "5")]
seen = [grade_answer(*pair) for pair in pairs]
print("version:", {name: importlib.metadata.version(name) for name in ("mathruler", "sympy", "pylatexenc")})
print("expected: True for each pair")
for pair, verdict in zip(pairs, seen, strict=True):
    print("seen:", pair, verdict)
as_described = seen == [False, False, False, True, True]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
