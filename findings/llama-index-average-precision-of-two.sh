#!/usr/bin/env bash
# LlamaIndex's average precision is 2 where a search returns the right document twice.
#
# Expected (a guess, made before running): a document that is returned twice counts once, and no score exceeds 1.
# What happens: average precision and NDCG add the document each time that it is returned and divide by what one document may
#   earn: returned twice it gives 2 and 1.63, returned four times 4 and 2.56. Precision, recall and the hit rate count it once. A
#   retriever of chunks, whose ids are those of their documents, looks better the more it repeats itself.
# Versions: llama-index-core 0.14.25. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llama-index-core==0.14.25

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from llama_index.core.evaluation.retrieval.metrics import NDCG, AveragePrecision, HitRate, Precision, Recall

MEASURES = (AveragePrecision, NDCG, Precision, Recall, HitRate)
cases = [(["tower"], ["tower", "tower"]), (["tower"], ["tower"] * 4), (["tower", "river"], ["tower", "tower", "cat", "river"])]
seen = []
print("version: llama-index-core", importlib.metadata.version("llama-index-core"))
print("expected: no score above 1")
for right, found in cases:
    scores = [round(measure().compute(expected_ids=right, retrieved_ids=found).score, 2) for measure in MEASURES]
    seen.append(scores)
    print(f"seen: {right} found as {found}:", {measure.__name__: score for measure, score in zip(MEASURES, scores, strict=True)})
as_described = seen == [[2, 1.63, 1, 1, 1], [4, 2.56, 1, 1, 1], [1.38, 1.26, 0.67, 1, 1]]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
