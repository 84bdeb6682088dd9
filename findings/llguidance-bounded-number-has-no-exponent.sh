#!/usr/bin/env bash
# llguidance lets a number have an exponent until the schema gives it a bound.
#
# Expected (a guess, made before running): `{"type": "number", "minimum": 0}` accepts every spelling of a number from 0 on that
#   `{"type": "number"}` accepts, so `1e2` as well.
# What happens: a bound makes a pattern of plain digits. `1e2`, `1e-7` and `-0` are no longer possible, so a model that writes
#   small numbers with an exponent has to spell them out, and a probability of 1e-7 recorded without the bound cannot be scored
#   under it.
# Versions: llguidance 1.9.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llguidance==1.9.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import json

from llguidance import LLMatcher, LLTokenizer

tokenizer = LLTokenizer("byte")


def accepts(schema, text):
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    return matcher.try_consume_tokens(list(text.encode())) == len(text) and matcher.is_accepting()


texts = ["100", "0.25", "1e2", "1e-7", "-0"]
free = [text for text in texts if accepts({"type": "number"}, text)]
bounded = [text for text in texts if accepts({"type": "number", "minimum": 0}, text)]
print("version: llguidance", importlib.metadata.version("llguidance"))
print("expected:", texts)
print("seen without a bound:   ", free)
print("seen with a minimum of 0:", bounded)
as_described = free == texts and bounded == ["100", "0.25"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
