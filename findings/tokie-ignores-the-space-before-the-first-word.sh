#!/usr/bin/env bash
# tokie does not put the space before the first word that a tokenizer asks for.
#
# Expected (a guess, made before running): tokie gives the ids that tokenizers gives for the same tokenizer.json, as its page says
#   of all models.
# What happens: `add_prefix_space` of the byte-level splitter has no effect: the first word of every text lacks its space and is
#   other tokens, and the count is one too low. The normalizer `Lowercase` in a sequence has none either. The file loads without a
#   word.
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
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
file = pathlib.Path(sys.argv[1], "tokenizer.json")


def both(text, space, normalizer=None):
    reference = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    if normalizer is not None:
        reference.normalizer = normalizer
    reference.save(str(file))
    ids = tokie.Tokenizer.from_json(str(file)).encode(text, add_special_tokens=False).ids
    expected, seen = "".join(reference.encode(text, add_special_tokens=False).tokens), "".join(pieces[number] for number in ids)
    print(f"text: {text!r}, expected: {expected}, seen: {seen}")
    return expected, seen


print("version:", {name: importlib.metadata.version(name) for name in ("tokie", "tokenizers")})
without, first, inner = both("Yes", False), both("Yes", True), both(" Yes", True)
lower = both("Yes", False, normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]))
as_described = (without, first, inner, lower) == (("Yes", "Yes"), ("ĠYes", "Yes"), ("ĠYes", "ĠYes"), ("yes", "Yes"))
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
