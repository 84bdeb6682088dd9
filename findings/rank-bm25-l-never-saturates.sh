#!/usr/bin/env bash
# rank-bm25's BM25L rewards every repetition of a word in full, and bm25s's does not.
#
# Expected (a guess, made before running): two libraries give the same BM25L scores for the same words and parameters, up to a
#   constant for passages without the word, and like every BM25 the score levels off when a word repeats.
# What happens: rank-bm25 multiplies the score, which holds the word's frequency already, by the frequency once more. Between 10
#   and 100 repetitions in 100 words the score rises from 13 to 147, where bm25s's rises from 1.31 to 1.47. For a frequency of 1
#   both are equal.
# Versions: rank-bm25 0.2.2, bm25s 0.3.16. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rank-bm25==0.2.2 bm25s==0.3.16

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import logging

import bm25s
from rank_bm25 import BM25L

logging.disable(logging.CRITICAL)
frequencies = [0, 0, 0, 0, 1, 2, 10, 50, 100]
passages = [["tower"] * times + ["word"] * (100 - times) for times in frequencies]
other = bm25s.BM25(method="bm25l", k1=1.5, b=0.75, delta=0.5)
other.index(passages, show_progress=False)
scores = {"rank-bm25": BM25L(passages, k1=1.5, b=0.75, delta=0.5).get_scores(["tower"]), "bm25s": other.get_scores(["tower"])}
seen = {library: [round(float(score), 2) for score in values[4:]] for library, values in scores.items()}
print("version:", {library: importlib.metadata.version(library) for library in seen})
print("expected: equal scores of a passage with 1, 2, 10, 50 and 100 repetitions, which level off")
for library, values in seen.items():
    print(f"seen, {library}: {values}")
ratios = [round(float(ours / theirs), 1) for ours, theirs in zip(*(values[4:] for values in scores.values()), strict=True)]
print("ratios:", ratios)
as_described = ratios == [1.0, 2.0, 10.0, 50.0, 100.0]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
