#!/usr/bin/env bash
# Hugging Face's tokenizers for JavaScript cut a space off the word that it belongs to.
#
# Expected (a guess, made before running): one tokenizer.json gives the same tokens in JavaScript as in Python.
# What happens: a `Split` step takes the behaviours `merged_with_next` and `merged_with_previous` for `isolated`, so the space is
#   a piece of its own, and tokens such as ` cat` are never used. There is no warning, and the prompt has other tokens than in
#   training, and more of them.
# Versions: @huggingface/tokenizers 0.2.0 on Node.js 20, tokenizers 0.23.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
npm install --silent --no-audit --no-fund --prefix "$folder" @huggingface/tokenizers@0.2.0

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import json
import pathlib
import subprocess
import sys

from tokenizers import Tokenizer, models, pre_tokenizers

script = """
const {Tokenizer} = require("@huggingface/tokenizers");
const file = JSON.parse(require("fs").readFileSync("tokenizer.json", "utf8"));
console.log(JSON.stringify(new Tokenizer(file, {}).encode(process.argv[1]).ids));
"""
merges = [("c", "a"), ("ca", "t"), (" ", "cat"), ("cat", " "), ("t", "h"), ("th", "e"), ("the", " ")]
pieces = sorted(set("the cat")) + [left + right for left, right in merges]
text = "the cat the cat"
folder = pathlib.Path(sys.argv[1])
print("version: @huggingface/tokenizers 0.2.0 and tokenizers", importlib.metadata.version("tokenizers"))
counts = {}
for behaviour in ("isolated", "merged_with_next", "merged_with_previous"):
    reference = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    reference.pre_tokenizer = pre_tokenizers.Split(" ", behaviour)
    reference.save(str(folder / "tokenizer.json"))
    output = subprocess.run(["node", "-e", script, text], cwd=folder, check=True, capture_output=True, text=True)
    expected, seen = reference.encode(text).tokens, [reference.id_to_token(number) for number in json.loads(output.stdout)]
    counts[behaviour] = (len(expected), len(seen))
    print(f"{behaviour}: expected (Python): {expected}, seen: {seen}")
as_described = counts == {"isolated": (7, 7), "merged_with_next": (5, 7), "merged_with_previous": (4, 7)}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
