#!/usr/bin/env bash
# A Unigram tokenizer with byte fallback turns the text `<0x41>` into the letter A.
#
# Expected (a guess, made before running): `<0x41>` in a text (a listing of bytes, a hex dump, a question about tokenizers) is
#   six characters and decodes to six characters. The byte tokens are reached by fallback alone.
# What happens: the text matches the byte token of the vocabulary, becomes that one id, and decodes to `A`. Encoding and
#   decoding silently changes the text; the Metaspace letter `▁` does the same and decodes to a blank.
# Versions: tokenizers 0.23.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

letters = [(letter, -2.0) for letter in "▁abx<>04156AB"]
bytes_ = [(f"<0x{byte:02X}>", -10.0) for byte in range(256)]
tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), *letters, *bytes_], unk_id=0, byte_fallback=True))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])

texts = ["a 日 b", "a <0x41> b"]
seen = [tokenizer.decode(tokenizer.encode(text).ids) for text in texts]
print("version: tokenizers", tokenizers.__version__)
print("expected:", texts)
print("seen:    ", seen, tokenizer.encode(texts[1]).tokens)
as_described = seen == ["a 日 b", "a A b"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
