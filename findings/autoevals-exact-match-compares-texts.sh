#!/usr/bin/env bash
# autoevals' `ExactMatch` calls 1 and "1" the same, and {"a": 1} and {"a": 1.0} different.
#
# Expected (a guess, made before running): objects are compared as JSON values: a number differs from its text, and 1 is 1.0.
# What happens: whatever is no text is written as JSON first, and the two texts are compared. The order of keys counts as well, so
#   the arguments of a right tool call are wrong when the model names them in another order, and an answer of the wrong type is
#   right.
# Versions: autoevals 0.4.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check autoevals==0.4.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from autoevals import ExactMatch

pairs = [(1, "1"), ({"a": 1}, {"a": 1.0}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({"a": 1}, {"a": 1})]
seen = [ExactMatch().eval(output, expected).score for output, expected in pairs]
print("version: autoevals", importlib.metadata.version("autoevals"))
print("expected: 0, 1, 1, 1")
for (output, expected), score in zip(pairs, seen, strict=True):
    print(f"seen: {output!r} for {expected!r} scores {score}")
as_described = seen == [1, 0, 0, 1]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
