#!/usr/bin/env bash
# toonify reads a line break in a row or a list as a backslash and an n.
#
# Expected (a guess, made before running): a conversation, a list of messages with the same keys, reads back as it was.
# What happens: such a list is written as a table, whose texts are escaped when they are written and not restored when they are
#   read: a line break is the two characters `\n`, a tab is `\t`, and a quote is a backslash. Lists of texts are the same. A text
#   directly in an object reads back equal. Every answer of several lines is another text afterwards.
# Versions: toonify 1.6.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check toonify==1.6.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from toon import decode, encode

answer = "def f():\n\treturn 1"
messages = [{"role": "user", "content": "Write f."}, {"role": "assistant", "content": answer}]
row = decode(encode({"messages": messages}))["messages"][1]["content"]
element = decode(encode({"answers": [answer]}))["answers"][0]
value = decode(encode({"answer": answer}))["answer"]
quoted = decode(encode({"rows": [{"answer": 'say "no"\n'}]}))["rows"][0]["answer"]
print("version: toonify", importlib.metadata.version("toonify"))
print("expected:", repr(answer))
print("seen: in a row", repr(row), "in a list", repr(element), "in an object", repr(value), "with quotes", repr(quoted))
escaped = "def f():\\n\\treturn 1"
as_described = [row, element, value, quoted] == [escaped, escaped, answer, 'say \\no\\\\n']
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
