#!/usr/bin/env bash
# verl's rewards for numbers take a right answer for wrong where a full stop or bold type touches it.
#
# Expected (a guess, made before running): `The answer is 5.` is right for 5 under the flexible form of the GSM8K reward, which
#   looks for the last number, and `**Answer:** 5` is right under the DAPO reward.
# What happens: the number includes the full stop or the comma after it, so `5.` is compared with `5`, in the strict form as well.
#   The DAPO reward keeps stars and full stops, and the answers earn -1. A policy is punished for a whole sentence and for
#   Markdown.
# Versions: verl 0.9.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps verl==0.9.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import runpy

# The files are loaded by themselves, because the package as a whole needs torch, which these rewards do not.
package = importlib.metadata.distribution("verl")
files = [str(package.locate_file(f"verl/utils/reward_score/{name}.py")) for name in ("gsm8k", "math_dapo")]
gsm8k, dapo = (runpy.run_path(file)["compute_score"] for file in files)
flexible = {answer: gsm8k(answer, "5", method="flexible") for answer in ("The answer is 5", "The answer is 5.", "It is 5, I think")}
strict = {answer: gsm8k(answer, "5") for answer in ("#### 5", "#### 5.")}
lines = {answer: dapo(answer, "5")["score"] for answer in ("Answer: 5", "Answer: 5.", "**Answer:** 5", "Answer: **5**")}
print("version: verl", package.version)
print("expected: 1 for each answer")
for name, seen in (("GSM8K, flexible", flexible), ("GSM8K, strict", strict), ("DAPO", lines)):
    print(f"seen: {name}:", seen)
as_described = [*flexible.values()] == [1, 0, 0] and [*strict.values()] == [1, 0] and [*lines.values()] == [1, -1, -1, -1]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
