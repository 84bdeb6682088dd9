#!/usr/bin/env bash
# inspect_ai's `match()` scorer finds the answer "no" in "piano".
#
# Expected (a guess, made before running): `match()` asks whether the reply ends in the target as a word or phrase: "It is a
#   piano" does not answer "no".
# What happens: the end of the text is compared letter by letter, so a target may be the end of a longer word: "piano" is right
#   for "no", "142" for "42", and with `location="any"` so is a target inside a word. Yes/no questions score too high, without a
#   trace in the log.
# Versions: inspect_ai 0.3.285. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check inspect-ai==0.3.285

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import importlib.metadata

from inspect_ai.model import ChatMessageUser, ModelOutput
from inspect_ai.scorer import Target, match
from inspect_ai.solver import TaskState


def score(reply, target):
    state = TaskState(
        model="mockllm/model", sample_id=1, epoch=1, input="q", messages=[ChatMessageUser(content="q")],
        output=ModelOutput.from_content("mockllm/model", reply),
    )
    return asyncio.run(match()(state, Target(target))).value


pairs = [("Is it? No.", "no"), ("It is a piano.", "no"), ("There were 142", "42"), ("It is a guitar.", "no")]
seen = [score(*pair) for pair in pairs]
print("version: inspect_ai", importlib.metadata.version("inspect_ai"))
for pair, value in zip(pairs, seen, strict=True):
    print(f"reply and target {pair}: {value}")
print("expected: C, I, I, I")
as_described = seen == ["C", "C", "C", "I"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
