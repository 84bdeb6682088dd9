#!/usr/bin/env bash
# The ATIF package checks that a result belongs to a call only in steps that hold calls at all.
#
# Expected (a guess, made before running): `source_call_id` must name a tool call of its step, as the message of the package's
#   own check says, so a step whose calls were forgotten is refused like one whose call has another id.
# What happens: with a call of another id the step is refused; with no list of calls the same result is accepted, and two calls
#   of one id are accepted as well. An export that loses its calls still passes validation: count them yourself.
# Versions: atif 1.8.0, pydantic 2.13.4. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check atif==1.8.0 pydantic==2.13.4

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import atif

result = atif.Observation(results=[atif.ObservationResult(source_call_id="call-1", content="1887")])


def call(name):
    return atif.ToolCall(tool_call_id=name, function_name="search", arguments={"query": "tower"})


def verdict(**fields):
    try:
        atif.Step(step_id=1, source="agent", message="", **fields)
        return "accepted"
    except ValueError:
        return "refused"


seen = {
    "a call of another id": verdict(observation=result, tool_calls=[call("call-2")]),
    "no calls": verdict(observation=result),
    "two calls of one id": verdict(observation=result, tool_calls=[call("call-1"), call("call-1")]),
}
print("version: atif", importlib.metadata.version("atif"))
print("expected:", dict.fromkeys(seen, "refused"))
print("seen:    ", seen)
as_described = list(seen.values()) == ["refused", "accepted", "accepted"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
