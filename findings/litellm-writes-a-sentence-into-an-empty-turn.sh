#!/usr/bin/env bash
# LiteLLM writes a sentence of its own into an empty turn that it sends to a Claude model.
#
# Expected (a guess, made before running): a turn with the empty text stays empty.
# What happens: its text is "[System: Empty message content sanitised to satisfy protocol]", in turns of the user and of the
#   assistant, and for a text of one space too. A history in which a policy once said nothing shows the next model a sentence that
#   nobody wrote, in the policy's name. An answer whose content is None is left out.
# Versions: litellm 1.110.2. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check litellm==1.110.2

export LITELLM_LOCAL_MODEL_COST_MAP=True  # The price list comes from the package, and none is downloaded.
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from litellm.litellm_core_utils.prompt_templates.factory import anthropic_messages_pt

SENTENCE = "[System: Empty message content sanitised to satisfy protocol]"


def converted(*turns):
    messages = [{"role": role, "content": content} for role, content in turns]
    rows = anthropic_messages_pt(messages, model="claude-sonnet-4-5", llm_provider="anthropic")
    return [(row["role"], [part["text"] for part in row["content"]]) for row in rows]


cases = {
    "empty answer": [("user", "q"), ("assistant", ""), ("user", "r")],
    "answer of one space": [("user", "q"), ("assistant", " "), ("user", "r")],
    "empty question": [("user", "")],
    "no answer": [("user", "q"), ("assistant", None), ("user", "r")],
}
seen = {name: converted(*turns) for name, turns in cases.items()}
print("version: litellm", importlib.metadata.version("litellm"))
print("expected: no text that the history does not have")
for name, rows in seen.items():
    print(f"seen: {name}:", rows)
answered = [("user", ["q"]), ("assistant", [SENTENCE]), ("user", ["r"])]
as_described = seen == {
    "empty answer": answered,
    "answer of one space": answered,
    "empty question": [("user", [SENTENCE])],
    "no answer": [("user", ["q"]), ("user", ["r"])],
}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
