#!/usr/bin/env bash
# Whoosh's query parser reads the question mark of a question as a wildcard.
#
# Expected (a guess, made before running): "Who directed Jaws?" finds what "Who directed Jaws" finds: the parser's words go
#   through the field's analyzer, which drops punctuation.
# What happens: `Jaws?` becomes a wildcard that stands for `jaws` and exactly one more character, and no longer finds "jaws". A
#   question loses its last word, which is often the name, without an error.
# Versions: Whoosh-Reloaded 2.7.5. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check Whoosh-Reloaded==2.7.5

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

from whoosh.fields import TEXT, Schema
from whoosh.filedb.filestore import RamStorage
from whoosh.qparser import OrGroup, QueryParser

index = RamStorage().create_index(Schema(text=TEXT(stored=True)))
writer = index.writer()
writer.add_document(text="Steven Spielberg made Jaws")
writer.commit()


def found(question):
    with index.searcher() as searcher:
        query = QueryParser("text", index.schema, group=OrGroup).parse(question)
        print(f"{question}: {query!r}, {len(searcher.search(query))} found")
        return len(searcher.search(query))


print("version: Whoosh-Reloaded", importlib.metadata.version("Whoosh-Reloaded"))
print("expected: one passage found by both")
as_described = (found("Who directed Jaws"), found("Who directed Jaws?")) == (1, 0)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
