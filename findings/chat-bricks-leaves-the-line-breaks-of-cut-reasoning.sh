#!/usr/bin/env bash
# chat-bricks cuts the reasoning from an earlier answer and leaves its line breaks, where its exported template does not.
#
# Expected (a guess, made before running): the prompt of a template and the Jinja template that it exports give the same text,
#   which the page calls verified byte for byte.
# What happens: with the template `qwen3`, an earlier answer is preceded by three line breaks in the prompt and by one in the
#   exported template, and an empty answer lacks the line break that ends its header. A model that is trained on the one and
#   served with the other sees other histories.
# Versions: chat-bricks 0.1.5, transformers 5.24.0, jinja2 3.1.6. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check chat-bricks==0.1.5 transformers==5.24.0 jinja2==3.1.6

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import jinja2
from chat_bricks import Chat, get_template

exported = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(get_template("qwen3").jinja_template())
answers = {"plain": "Paris.", "reasoned": "<think>\nFrance.\n</think>\n\nParis.", "empty": ""}
print("version:", {name: importlib.metadata.version(name) for name in ("chat-bricks", "transformers", "jinja2")})
parts = {}
for kind, answer in answers.items():
    messages = [{"role": "user", "content": "Capital?"}, {"role": "assistant", "content": answer}, {"role": "user", "content": "Sure?"}]
    texts = Chat(template="qwen3", messages=messages).prompt(), exported.render(messages=messages)
    parts[kind] = [text.split("assistant")[1].split("<|im_end|>")[0] for text in texts]
    print(f"{kind}: expected twice the same, seen {parts[kind][0]!r} in the prompt and {parts[kind][1]!r} in the template")
as_described = list(parts.values()) == [["\nParis.", "\nParis."], ["\n\n\nParis.", "\nParis."], ["", "\n"]]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
