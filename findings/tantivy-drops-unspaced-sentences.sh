#!/usr/bin/env bash
# tantivy's default analysis drops a Japanese or Chinese sentence of 14 characters as one word that is too long.
#
# Expected (a guess, made before running): a passage is found by its own text, in any language. A script without spaces may be one word
#   that only the whole sentence finds, but the whole sentence finds it.
# What happens: the default tokenizer makes one word of the whole run and leaves out words of 40 bytes or more, without an error.
#   Thirteen characters of Japanese (39 bytes) are found, fourteen (42 bytes) are in the index and never found. The query loses its only
#   word in the same way, and then matches nothing.
# Version: tantivy 0.27.0 (Python). Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tantivy==0.27.0

cat > "$folder/search.py" <<'PYTHON'
import importlib.metadata

import tantivy

SENTENCE = "東京タワーは高い塔ですかねえ"
PASSAGES = {"13 characters": SENTENCE[:13], "14 characters": SENTENCE[:14], "English": "A tower stands in Tokyo"}

builder = tantivy.SchemaBuilder()
builder.add_text_field("name", stored=True, tokenizer_name="raw")
builder.add_text_field("text", stored=True)
index = tantivy.Index(builder.build())
writer = index.writer()
for name, text in PASSAGES.items():
    writer.add_document(tantivy.Document(name=name, text=text))
writer.commit()
index.reload()
searcher = index.searcher()

print("expected: every passage is found by its own text")
print("version: tantivy", importlib.metadata.version("tantivy"), "with", searcher.num_docs, "passages in the index")
found = {}
for name, text in PASSAGES.items():
    hits = searcher.search(index.parse_query(text, ["text"]), 3).hits
    found[name] = [searcher.doc(address)["name"][0] for _, address in hits]
    print(f"{name} ({len(text.encode())} bytes), asked by its own text: found {found[name]}")
as_described = found == {"13 characters": ["13 characters"], "14 characters": [], "English": ["English"]}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
"$folder/venv/bin/python" "$folder/search.py"
