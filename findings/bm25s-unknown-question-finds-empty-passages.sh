#!/usr/bin/env bash
# bm25s finds passages without words, with a score, for a question that has no known word.
#
# Expected (a guess, made before running): a question none of whose words is in the vocabulary scores 0 for every passage.
# What happens: the `Tokenizer` gives passages without a word ("", "?", or one letter) and questions without a known word the same
#   token, the empty text, which is a word like another and a rare one. The question matches those passages and no other, and a
#   threshold above 0 keeps them. `bm25s.tokenize`, the function, gives 0.
# Versions: bm25s 0.3.16. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check bm25s==0.3.16

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import logging

import bm25s
from bm25s.tokenization import Tokenizer

logging.disable(logging.CRITICAL)
passages = ["the tower of paris", "a bridge in london", "?"]


def scores(passage_tokens, question_tokens):
    index = bm25s.BM25()
    index.index(passage_tokens, show_progress=False)
    found = index.retrieve(question_tokens, k=3, show_progress=False)
    return {passages[number]: round(float(score), 2) for number, score in zip(found.documents[0], found.scores[0], strict=True)}


tokenizer = Tokenizer(stopwords=None)
tokens = tokenizer.tokenize(passages, show_progress=False)
by_class = scores(tokens, tokenizer.tokenize(["quetzal"], update_vocab=False, show_progress=False))
function = {"stopwords": None, "show_progress": False}
by_function = scores(bm25s.tokenize(passages, **function), bm25s.tokenize(["quetzal"], **function))
print("version: bm25s", importlib.metadata.version("bm25s"))
print("expected: 0 for every passage")
print("seen with the class:   ", by_class)
print("seen with the function:", by_function)
as_described = by_class.pop("?") > 0.3 and not any(by_class.values()) and not any(by_function.values())
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
