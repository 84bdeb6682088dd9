#!/usr/bin/env bash
# verl's reward for search questions takes 1.5 for 15 and -5 for 5.
#
# Expected (a guess, made before running): exact match ignores the punctuation of words, as it does for SQuAD, but numbers of
#   another value are wrong.
# What happens: every mark of punctuation is deleted and nothing takes its place. `1.5` is `15`, `-5` is `5`, `3:1` is `31`, and
#   `C++` is `C`. A policy gets the full reward for a number that is ten times too large.
# Versions: verl 0.9.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps verl==0.9.1

"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import importlib.metadata
import io
import runpy

# The file is loaded by itself, because the package as a whole needs torch, which this reward does not.
package = importlib.metadata.distribution("verl")
compute_score = runpy.run_path(str(package.locate_file("verl/utils/reward_score/search_r1_like_qa_em.py")))["compute_score"]


def reward(answer, target):
    with contextlib.redirect_stdout(io.StringIO()):  # the function prints some of its calls at random
        return compute_score(f"<think>I know it.</think><answer>{answer}</answer>", {"target": [target]})


pairs = [("1.5", "15"), ("-5", "5"), ("3:1", "31"), ("C++", "C"), ("1.5", "16")]
seen = [reward(*pair) for pair in pairs]
print("version: verl", package.version)
print("expected: 0 for each pair")
for pair, value in zip(pairs, seen, strict=True):
    print(f"seen: answer and target {pair}: {value}")
as_described = seen == [1.0, 1.0, 1.0, 1.0, 0]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
