#!/usr/bin/env bash
# mistral-common cuts the spaces from the end of an assistant's message, and not from a user's.
#
# Expected (a guess, made before running): an answer that the model wrote, " done ", is in the next turn's prompt as it was
#   written, as a user's message is.
# What happens: the spaces at its end go, those at its start stay, and so does a line break at its end. The prompt of the second
#   turn does not begin with the tokens of the first, so log-probabilities computed on the whole conversation belong to an answer
#   that the model did not write.
# Versions: mistral-common 1.13.1 with its own file tekken_240911.json. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mistral-common==1.13.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import pathlib

import mistral_common
from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

tokenizer = MistralTokenizer.from_file(str(pathlib.Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"))
written = " done "


def prompt(*messages):
    return tokenizer.encode_chat_completion(ChatCompletionRequest(messages=list(messages))).text


first = prompt(UserMessage(content=written))
second, other = (
    prompt(UserMessage(content=written), AssistantMessage(content=answer), UserMessage(content="Again.")) for answer in (written, "done\n")
)
print("version: mistral-common", importlib.metadata.version("mistral-common"))
print("expected:", repr(first + written))
print("seen:    ", repr(second), "and with a line break", repr(other))
as_described = written in first and second.startswith(first + " done</s>") and other.startswith(first + "done\n</s>")
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
