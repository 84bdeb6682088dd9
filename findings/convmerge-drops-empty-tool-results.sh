#!/usr/bin/env bash
# convmerge takes a tool's result out of a conversation where the result is empty.
#
# Expected (a guess, made before running): a conversation that is already in the format `messages` comes out with the same messages.
# What happens: a tool that found nothing answers with an empty text, and its message is dropped. The call is then followed by the
#   next turn, as if the model had not waited for the result. The report counts no dropped row and no loss. A model trained on such
#   rows learns to answer straight after a call, from a prompt that no server builds.
# Versions: convmerge 1.6.5. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check convmerge==1.6.5

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import convmerge

call = {"id": "call-1", "type": "function", "function": {"name": "search", "arguments": '{"query": "tower"}'}}


def roles(result):
    messages = [
        {"role": "user", "content": "Which tower is it?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": result},
        {"role": "assistant", "content": "I found none."},
    ]
    stats = convmerge.ConvertStats()
    (row,) = convmerge.convert_records([{"messages": messages}], stats=stats)
    return [message["role"] for message in row["messages"]], stats.dropped, stats.lossy


full = roles("no match")
empty = roles("")
print("version: convmerge", importlib.metadata.version("convmerge"))
print("expected: user, assistant, tool and assistant in both")
print("seen, a result of two words:", full)
print("seen, an empty result:      ", empty)
as_described = full == (["user", "assistant", "tool", "assistant"], 0, {}) and empty == (["user", "assistant", "assistant"], 0, {})
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
