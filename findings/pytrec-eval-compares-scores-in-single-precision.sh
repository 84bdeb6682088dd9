#!/usr/bin/env bash
# pytrec_eval compares retrieval scores in single precision.
#
# Expected (a guess, made before running): two documents whose scores differ as Python floats are ranked by them: 0.1000000001
#   stands before 0.1.
# What happens: scores become 32-bit floats, and the two are a tie, which trec_eval breaks by the document's id, the later
#   first. Normalised or fused scores that differ beyond the seventh digit are ranked by id: the reciprocal rank changes with
#   the document's name alone.
# Versions: pytrec-eval-terrier 0.5.11. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pytrec-eval-terrier==0.5.11 numpy==2.3.5

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

import pytrec_eval


def reciprocal_rank(gold, other):
    evaluator = pytrec_eval.RelevanceEvaluator({"q": {gold: 1}}, {"recip_rank"})
    return evaluator.evaluate({"q": {gold: 0.1 + 1e-10, other: 0.1}})["q"]["recip_rank"]


print("version: pytrec-eval-terrier", importlib.metadata.version("pytrec-eval-terrier"))
print("expected: 1.0 and 1.0 (the gold document has the higher score)")
print("seen:    ", reciprocal_rank("doc_a", "doc_b"), "and with the names exchanged", reciprocal_rank("doc_b", "doc_a"))
as_described = (reciprocal_rank("doc_a", "doc_b"), reciprocal_rank("doc_b", "doc_a")) == (0.5, 1.0)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
