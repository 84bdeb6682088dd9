#!/usr/bin/env bash
# verl's DAPO reward takes a pair of numbers for one number.
#
# Expected (a guess, made before running): `Answer: 1, 2` is a pair, and wrong for the answer 12.
# What happens: spaces are deleted, and then all commas where only digits are left, so the pair is `12` and earns 1. Commas are
#   read as separators of thousands wherever they stand. A policy that lists candidates is paid for their digits.
# Versions: verl 0.9.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps verl==0.9.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import runpy

# The file is loaded by itself, because the package as a whole needs torch, which this reward does not.
package = importlib.metadata.distribution("verl")
compute_score = runpy.run_path(str(package.locate_file("verl/utils/reward_score/math_dapo.py")))["compute_score"]
pairs = [("1, 2", "12"), ("3,4", "34"), ("x = 1, 2", "12"), ("1,000", "1000"), ("1; 2", "12")]
seen = [compute_score(f"Answer: {answer}", truth)["score"] for answer, truth in pairs]
print("version: verl", package.version)
print("expected: -1 for all pairs but that of 1,000")
for pair, score in zip(pairs, seen, strict=True):
    print(f"seen: answer and truth {pair}: {score}")
as_described = seen == [1.0, 1.0, 1.0, 1.0, -1.0]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
