#!/usr/bin/env bash
# rouge-score gives -5 the full score for 5.
#
# Expected (a guess, made before running): the texts `-5` and `5` differ, and share no word.
# What happens: all that is neither a letter from a to z nor a digit is a space, so the sign is lost: `-5` is `5`, `C++` is `C`,
#   and `3.5` holds both 3 and 5. The answer `Zürich` has the full score for `Z rich`, and an answer without Latin letters scores 0
#   for itself.
# Versions: rouge-score 0.1.2. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rouge-score==0.1.2

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from rouge_score.rouge_scorer import RougeScorer

scorer = RougeScorer(["rouge1"])
pairs = [("5", "-5"), ("C", "C++"), ("3 5", "3.5"), ("Z rich", "Zürich"), ("София", "София"), ("5", "6")]
seen = [scorer.score(*pair)["rouge1"].fmeasure for pair in pairs]
print("version: rouge-score", importlib.metadata.version("rouge-score"))
print("expected: 0 for all pairs but 1 for a text and itself")
for pair, score in zip(pairs, seen, strict=True):
    print(f"seen: {pair}: {score}")
as_described = seen == [1, 1, 1, 1, 0, 0]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
