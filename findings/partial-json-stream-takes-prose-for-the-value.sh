#!/usr/bin/env bash
# partial-json-stream takes a citation or an apostrophe in the prose for the value.
#
# Expected (a guess, made before running): the lenient parser skips the prose before the object, as its page says, so an answer
#   that begins with `[1] says` or `It's` yields its object.
# What happens: the first thing that can begin a value is the value: `[1]` is the answer, `42 is ...` is 42, and after an
#   apostrophe the whole rest is a text that never ends, so the value is None. None of these raises an error. Answers that cite
#   their sources lose their object.
# Versions: partial-json-stream 1.0.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check partial-json-stream==1.0.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from partial_json_stream import JsonStreamParser


def value(text):
    parser = JsonStreamParser()
    for start in range(0, len(text), 4):
        parser.push(text[start : start + 4])
    parser.end()
    return parser.snapshot().value


prose = ["Here it is: ", "[1] says: ", "42 is the answer: ", "It's here: "]
seen = [value(before + '{"answer": "Paris"}') for before in prose]
print("version: partial-json-stream", importlib.metadata.version("partial-json-stream"))
print("expected: {'answer': 'Paris'} after each")
for before, found in zip(prose, seen, strict=True):
    print("seen after", repr(before), "is", found)
as_described = seen == [{"answer": "Paris"}, [1], 42, None]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
