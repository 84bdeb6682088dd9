#!/usr/bin/env bash
# LlamaIndex's prompt template sends the placeholder of a variable that it is not given.
#
# Expected (a guess, made before running): a missing variable is an error, and `{{` is written as `{`, as by Python's `format`.
# What happens: with a misspelt name, or none, the prompt holds the text `{question}` and no question, without an error or a
#   warning. Doubled braces around anything but a name stay doubled, so an example of JSON, escaped for `format`, is shown to the
#   model as `{{"a": 1}}`. Around a name they become single ones and the variable is filled in.
# Versions: llama-index-core 0.14.25. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llama-index-core==0.14.25

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from llama_index.core import PromptTemplate

seen = [
    PromptTemplate("Question: {question}").format(),
    PromptTemplate("Question: {question}").format(qestion="Who?"),
    PromptTemplate('Answer as {{"a": 1}}: {question}').format(question="Who?"),
    PromptTemplate("{{question}}").format(question="Who?"),
]
print("version: llama-index-core", importlib.metadata.version("llama-index-core"))
print("expected: an error twice, then single braces:", ['Answer as {"a": 1}: Who?', "{question}"])
print("seen:", seen)
as_described = seen == ["Question: {question}", "Question: {question}", 'Answer as {{"a": 1}}: Who?', "{Who?}"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
