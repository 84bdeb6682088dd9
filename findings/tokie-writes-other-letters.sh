#!/usr/bin/env bash
# tokie writes other letters in place of those outside ASCII, where the vocabulary has no byte tokens.
#
# Expected (a guess, made before running): tokie gives the ids that tokenizers gives for the same tokenizer.json, as its page says
#   of all models.
# What happens: in a BPE vocabulary of characters, with the usual marker for spaces, `é` is a token, and tokie neither uses it nor
#   the unknown token: the letter after it stands once more for each of its bytes, and at the end of a word nothing does. Letters
#   that the vocabulary lacks vanish without a trace. Counts and prompts are wrong for such models.
# Versions: tokie 0.1.4, tokenizers 0.23.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokie==0.1.4 tokenizers==0.23.3

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import pathlib
import sys

import tokie
from tokenizers import Tokenizer, models, pre_tokenizers

pieces = ["<unk>", "▁", "p", "a", "r", "i", "s", "e", "t", "é", "▁p", "ét", "été"]
merges = [("▁", "p"), ("é", "t"), ("ét", "é")]
reference = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
reference.pre_tokenizer = pre_tokenizers.Metaspace()
file = pathlib.Path(sys.argv[1], "tokenizer.json")
reference.save(str(file))
other = tokie.Tokenizer.from_json(str(file))
seen = {}
print("version:", {name: importlib.metadata.version(name) for name in ("tokie", "tokenizers")})
for text in ("paris", "paris été", "é", "a2"):
    expected = reference.encode(text, add_special_tokens=False).tokens
    seen[text] = [pieces[number] for number in other.encode(text, add_special_tokens=False).ids]
    print("expected:", expected, "seen:", seen[text])
as_described = list(seen.values()) == [
    ["▁p", "a", "r", "i", "s"],
    ["▁p", "a", "r", "i", "s", "▁", "t", "t", "t"],
    ["▁"],
    ["▁", "a"],
]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
