#!/usr/bin/env bash
# verl's reward for search questions pays an empty answer where the target is the letter A.
#
# Expected (a guess, made before running): an empty answer earns nothing, and the letter A is a choice like B.
# What happens: articles are deleted from both sides, and `A` is an article. The target `A` becomes the empty text, so that an
#   empty answer, a full stop and `The` all earn 1. The same holds for the band `The The`. A policy may learn to say nothing.
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


targets = ["A", "B", "The The"]
answers = ["", ".", "The", "B"]
seen = {target: [reward(answer, target) for answer in answers] for target in targets}
print("version: verl", package.version)
print("expected: 1 only for the answer B to the target B")
for target, values in seen.items():
    print(f"seen: target {target}:", dict(zip(answers, values, strict=True)))
as_described = seen == {"A": [1.0, 1.0, 1.0, 0], "B": [0, 0, 0, 1.0], "The The": [1.0, 1.0, 1.0, 0]}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
