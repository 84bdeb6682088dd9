#!/usr/bin/env bash
# Ollama's client describes a Python function to the model without its choices and its optional arguments.
#
# Expected (a guess, made before running): the tool made of a function names the choices of a `Literal` and the type of a list's
#   elements, and requires only the arguments without a default.
# What happens: the choices and the type of the elements are missing, and an argument with a default is required unless None is among
#   its types. The model has to fill in what it need not know, guesses a choice, and the function gets a value that it does not know.
# Versions: ollama 0.6.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ollama==0.6.3

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
from typing import Literal

import ollama._utils


def search(query: str, source: Literal["web", "news"] = "web", words: list[str] = [], language: str | None = None) -> str:
    """Search a source.

    Args:
        query: Words to look for.
        source: Kind of source.
        words: Words that a result must hold.
        language: Language of the results.
    """
    return query


# The client makes this call itself with each function among the `tools` of a chat.
tool = ollama._utils.convert_function_to_tool(search)
parameters = tool.model_dump(exclude_none=True)["function"]["parameters"]
required, source, words = parameters["required"], parameters["properties"]["source"], parameters["properties"]["words"]
print("version: ollama", importlib.metadata.version("ollama"))
print("expected: query alone is required, source is web or news, and words are texts")
print("seen, required:", required)
print("seen, source:  ", source)
print("seen, words:   ", words)
as_described = required == ["query", "source", "words"] and "enum" not in source and "items" not in words
as_described = as_described and (source["type"], words["type"]) == ("string", "array")
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
