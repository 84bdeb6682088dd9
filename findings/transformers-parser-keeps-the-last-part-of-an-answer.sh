#!/usr/bin/env bash
# transformers' response parser keeps the last part of an answer that a tool call interrupts, and drops the rest.
#
# Expected (a guess, made before running): the text before a call and the text after it are both in the message's content, in
#   their order.
# What happens: a field that does not say `repeats` takes each new region in place of the one before, without a warning: of
#   "before, call, after" the content is "after", and of two blocks of reasoning the first is lost, with the answer between them.
#   With `repeats` and `join` all parts are there, joined. An answer such as "I look it up" is missing from the record of an
#   episode.
# Versions: transformers 5.24.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0

"$folder/venv/bin/python" - <<'PYTHON'
import copy
import importlib.metadata

from transformers.utils.chat_parsing import parse_response

anchor = "<|im_start|>assistant\n"
once = {
    "start_anchor": anchor,
    "defaults": {"role": "assistant"},
    "fields": {
        "thinking": {"open": "<think>", "close": "</think>"},
        "tool_calls": {"open": "<tool_call>", "close": "</tool_call>", "content": "json", "repeats": True},
        "content": {"close": "<|im_end|>"},
    },
}
joined = copy.deepcopy(once)
joined["fields"]["content"] |= {"repeats": True, "join": " "}
call = '<tool_call>{"name": "search", "arguments": {}}</tool_call>'
interrupted = f"Let me see.\n{call}\nDone.<|im_end|>"
twice = "<think>one</think>first<think>two</think>second<|im_end|>"
seen = [parse_response(interrupted, template, prefix=anchor)["content"] for template in (once, joined)]
blocks = parse_response(twice, once, prefix=anchor)
print("version: transformers", importlib.metadata.version("transformers"))
print("expected: both sentences; seen:", repr(seen[0]), "and with repeats:", repr(seen[1]))
print("expected: both blocks; seen:", blocks)
as_described = seen == ["Done.", "Let me see. Done."] and (blocks["thinking"], blocks["content"]) == ("two", "second")
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
