#!/usr/bin/env bash
# verl's reward for MATH compares answers up to the first `\text` with a space.
#
# Expected (a guess, made before running): `2 \text{ and } 3` is wrong for 2, and the answer `\text{ Monday}` is wrong for
#   `\text{ Friday}`.
# What happens: what follows `\text{ ` is taken for a unit and is deleted. An answer with a wrong second part earns 1, two words
#   are both the empty text and so equal, and 3 hours are 3 minutes. Without the space, `\text{Monday}` is wrong for
#   `\text{Friday}`.
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
compute_score = runpy.run_path(str(package.locate_file("verl/utils/reward_score/math_reward.py")))["compute_score"]
pairs = [
    (r"2 \text{ and } 3", "2"),
    (r"\text{ Monday}", r"\text{ Friday}"),
    (r"3 \text{ hours}", r"3 \text{ minutes}"),
    (r"\text{Monday}", r"\text{Friday}"),
]
seen = [compute_score(rf"The answer is \boxed{{{answer}}}", truth) for answer, truth in pairs]
print("version: verl", package.version)
print("expected: 0 for each pair")
for (answer, truth), score in zip(pairs, seen, strict=True):
    print(f"seen: answer {answer}, truth {truth}: {score}")
as_described = seen == [1.0, 1.0, 1.0, 0.0]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
