#!/usr/bin/env bash
# gguf's writer leaves out empty lists and empty texts.
#
# Expected (a guess, made before running): a value that is written reads back: an empty list of stop ids as an empty list, an
#   empty chat template as an empty text. An array whose type cannot be known is refused, as one that holds None is.
# What happens: the key is not in the file, without an error or a warning. A reader that takes its default where the key is
#   missing (a chat template, added tokens, a prefix) then acts as if nothing had been set, which is not what an empty value
#   says.
# Versions: gguf 0.19.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import sys

from gguf import GGUFReader, GGUFWriter

file = sys.argv[1] + "/values.gguf"
values = {"stop": [], "template": "", "ids": [1], "name": "policy"}
writer = GGUFWriter(file, "llama")
for key, value in values.items():
    (writer.add_array if isinstance(value, list) else writer.add_string)(key, value)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
seen = {key: field.contents() for key, field in GGUFReader(file).fields.items() if key in values}
print("version: gguf", importlib.metadata.version("gguf"))
print("expected:", values)
print("seen:    ", seen)
as_described = seen == {"ids": [1], "name": "policy"}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
