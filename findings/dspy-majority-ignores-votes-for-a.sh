#!/usr/bin/env bash
# DSPy's `majority` ignores the votes for the option A.
#
# Expected (a guess, made before running): the answer that most completions give wins, so A, A, A and B give A.
# What happens: B wins. Each vote is first normalized as SQuAD's metric does, without articles, and A becomes empty and does not
#   count. Signs and points go the same way: -3 and 3 are one answer, and so are 1.5 and 15, and what comes back is the first of
#   them. Self-consistency over options or numbers picks answers that most samples did not give.
# Versions: dspy 3.4.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dspy==3.4.1

export DSPY_CACHEDIR="$folder/cache"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import dspy


def majority(*answers):
    return dspy.majority([dspy.Prediction(answer=answer) for answer in answers]).answer


votes = [("B", "B", "B", "A"), ("A", "A", "A", "B"), ("-3", "3", "5", "5"), ("1.5", "15", "7", "7")]
seen = [majority(*answers) for answers in votes]
print("version: dspy", importlib.metadata.version("dspy"))
print("expected: B, A, 5 and 7")
for answers, winner in zip(votes, seen, strict=True):
    print("seen:", ", ".join(answers), "->", winner)
as_described = seen == ["B", "B", "-3", "1.5"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
