#!/usr/bin/env bash
# rankops normalizes the scores of two lists before it adds them, and not those of a list with one hit.
#
# Expected (a guess, made before running): `combsum` brings the scores of each list between 0 and 1, so a list that holds a single
#   passage gives it at most 1.
# What happens: a list of one keeps its raw score: next to a list of cosines, one hit of BM25 with the score 12 is worth 12 and
#   beats what both searches found. `weighted` and `combmnz` do the same, while `normalize_scores` itself makes 0.5 of a single
#   score. Questions with a rare word, which have one hit, are merged by another rule than the rest.
# Versions: rankops 0.1.23. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rankops==0.1.23

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import rankops

words = [("tower", 12.0)]
vectors = [("bridge", 0.91), ("tunnel", 0.9), ("tower", 0.2)]
one = dict(rankops.combsum(words, vectors))
two = dict(rankops.combsum([*words, ("canal", 2.0)], vectors))
weighted = dict(rankops.weighted(words, vectors, 0.5, 0.5))
alone = rankops.normalize_scores([12.0])
print("version: rankops", importlib.metadata.version("rankops"))
print("expected: no passage above 1 in a list that it heads alone, and tower 1 in both")
print("seen, one hit: ", one)
print("seen, two hits:", two)
print("seen, weighted:", weighted, "and normalize_scores:", alone)
as_described = (one["tower"], two["tower"], weighted["tower"], alone) == (12.0, 1.0, 6.0, [0.5])
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
