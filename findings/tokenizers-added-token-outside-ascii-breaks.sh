#!/usr/bin/env bash
# An added token with letters outside ASCII decodes to garbage under a byte-level tokenizer.
#
# Expected (a guess, made before running): an added token decodes to its own content, whatever the decoder does with ordinary
#   tokens: `<répondre>` comes back.
# What happens: the byte-level decoder takes the letters of the added token for byte letters: `é` is the letter of the byte
#   0xE9, which is no UTF-8 by itself, and the text says `<r�pondre>`. A letter outside the byte alphabet, such as Japanese,
#   survives. A parser of tool calls that looks for the marker in the decoded text does not find it.
# Versions: tokenizers 0.23.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

alphabet = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_tokens(["<répondre>", "<答え>"])

texts = ["é", "<répondre>", "<答え>"]
seen = [tokenizer.decode(tokenizer.encode(text).ids) for text in texts]
print("version: tokenizers", tokenizers.__version__)
print("expected:", texts)
print("seen:    ", seen)
as_described = seen == ["é", "<r\ufffdpondre>", "<答え>"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
