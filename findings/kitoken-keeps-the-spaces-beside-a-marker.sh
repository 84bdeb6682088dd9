#!/usr/bin/env bash
# Kitoken does not take in the spaces beside an added token that a tokenizer tells it to take in.
#
# Expected (a guess, made before running): an added token with `rstrip` or `lstrip` swallows the spaces and line breaks after or
#   before it, as in tokenizers, whose file Kitoken reads.
# What happens: both settings are without effect: the line break after `<|end|>` stays a token of its own. A chat template that
#   writes a line break after each marker, for a model whose markers swallow it, yields a prompt with extra tokens and a count
#   that is too high.
# Versions: kitoken 0.11.1, tokenizers 0.23.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kitoken==0.11.1 tokenizers==0.23.3

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from kitoken import Kitoken
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
reference = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
markers = [AddedToken("<|end|>", special=True, rstrip=True), AddedToken("<|mask|>", special=True, lstrip=True)]
reference.add_special_tokens(markers)
other = Kitoken.from_tokenizers(reference.to_str().encode())
print("version:", {name: importlib.metadata.version(name) for name in ("kitoken", "tokenizers")})
counts = []
for text in ("<|end|>yes", "<|end|>\nyes", "a <|mask|>b"):
    expected, ids = reference.encode(text), other.encode(text, True)
    seen = [reference.id_to_token(number) for number in ids]
    counts.append((len(expected.ids), len(ids)))
    print("expected:", expected.tokens, "seen:", seen)
as_described = counts == [(4, 4), (4, 5), (3, 4)]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
