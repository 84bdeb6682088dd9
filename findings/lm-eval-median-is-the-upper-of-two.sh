#!/usr/bin/env bash
# lm-eval's median of an even number of scores is the larger of the two in the middle.
#
# Expected (a guess, made before running): the median of 1, 2, 3 and 4 is 2.5.
# What happens: it is 3. Half of the answers right is a median of 1, and the median of two runs is the better one. An odd number of
#   scores has its usual median, so a figure changes when one question is added.
# Versions: lm-eval 0.4.13. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lm-eval==0.4.13

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import statistics

from lm_eval.api.metrics import median

scores = [[1, 2, 3, 4], [4, 1, 3, 2], [0, 0, 1, 1], [0.2, 0.8], [3, 1, 2]]
expected = [statistics.median(row) for row in scores]
seen = [float(median(row)) for row in scores]
print("version: lm-eval", importlib.metadata.version("lm-eval"))
print("scores:  ", scores)
print("expected:", expected)
print("seen:    ", seen)
as_described = seen == [3, 3, 1, 0.8, 2]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
