#!/usr/bin/env bash
# DSPy's chat and XML adapters write a missing answer as None and read it back as the text "None".
#
# Expected (a guess, made before running): an optional text that an adapter writes into an example of the prompt is None again
#   when a model repeats it, as it is for an optional number and with the JSON adapter.
# What happens: the example shows None, the schema in the prompt asks for null, and either is read as a text: "None" or "null".
#   A model that rightly finds no answer is scored for the word, and `answer is None` never holds.
# Versions: dspy 3.4.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dspy==3.4.1

export DSPY_CACHEDIR="$folder/cache"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import dspy

examples = [dspy.Example(question="Who came fourth?", answer=None)]


def back(adapter, kind):
    signature = dspy.Signature({"question": (str, dspy.InputField()), "answer": (kind, dspy.OutputField())}, "Answer.")
    messages = adapter.format(signature, demos=examples, inputs={"question": "Who came fifth?"})
    assert messages[2]["role"] == "assistant"
    return adapter.parse(signature, messages[2]["content"])["answer"]


adapters = {"chat": dspy.ChatAdapter(), "xml": dspy.XMLAdapter(), "json": dspy.JSONAdapter()}
texts = {name: back(adapter, str | None) for name, adapter in adapters.items()}
numbers = {name: back(adapter, int | None) for name, adapter in adapters.items()}
print("version: dspy", importlib.metadata.version("dspy"))
print("expected: None for each")
print("seen, an optional number:", numbers)
print("seen, an optional text:  ", texts)
as_described = set(numbers.values()) == {None} and texts == {"chat": "None", "xml": "None", "json": None}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
