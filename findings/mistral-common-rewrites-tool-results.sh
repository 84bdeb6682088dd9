#!/usr/bin/env bash
# mistral-common rewrites a tool's result that happens to be JSON before the model reads it.
#
# Expected (a guess, made before running): the content of a tool message is a text, which the prompt holds character by character.
# What happens: the content is parsed, and the value is written again. The price `0.10` becomes 0.1 and the text `1e3` becomes
#   1000.0, a text `12` is a number in the prompt where `12 km` is a text, and of two equal keys the last is left. What the tool
#   returned, and a log keeps, is not what the model saw.
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
from mistral_common.protocol.instruct.messages import AssistantMessage, ToolMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import FunctionCall, ToolCall
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

tokenizer = MistralTokenizer.from_file(str(pathlib.Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"))
call = ToolCall(id="abcdefghi", function=FunctionCall(name="price", arguments="{}"))


def shown(result):
    answer = AssistantMessage(content=None, tool_calls=[call])
    messages = [UserMessage(content="How much?"), answer, ToolMessage(content=result, tool_call_id="abcdefghi")]
    text = tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages)).text
    return text.split("[TOOL_RESULTS]")[1].split("[/TOOL_RESULTS]")[0]


results = ["0.10", "1e3", "12", "12 km", '{"id": 1, "id": 2}']
seen = {result: shown(result) for result in results}
print("version: mistral-common", importlib.metadata.version("mistral-common"))
print("expected: every result as it is, or quoted as a text")
for result, text in seen.items():
    print(f"seen: {result} is shown as {text}")
values = ["0.1", "1000.0", "12", '"12 km"', '{"id": 2}']
as_described = all(f'"content": {value}' in text for value, text in zip(values, seen.values(), strict=True))
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
