#!/usr/bin/env bash
# Agno describes a date among a tool's arguments as an object without fields, and refuses such an object.
#
# Expected (a guess, made before running): an argument of the type `date` is a text in the tool's schema, as a member of an `Enum` is,
#   since the call itself takes the text "2026-11-29".
# What happens: it is an object that admits no field, and so is a `UUID`. A model that follows the schema sends `{}`,
#   and the call fails; the text that works is no valid answer to the schema, so a grammar made of it makes the tool unusable.
# Versions: agno 3.1.10. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check agno==3.1.10

export AGNO_TELEMETRY=false
"$folder/venv/bin/python" - <<'PYTHON'
import datetime
import enum
import importlib.metadata
import logging
import uuid

from agno.tools.function import Function, FunctionCall

logging.disable(logging.CRITICAL)


class Source(enum.Enum):
    web = "web"
    news = "news"


def events(day: datetime.date, source: Source = Source.web, key: uuid.UUID = uuid.UUID(int=0)) -> str:
    """List the events of a day."""
    return f"{day.year} {source.value}"


function = Function.from_callable(events)
function.process_entrypoint()
schema = function.to_dict()["parameters"]["properties"]


def call(day):
    return FunctionCall(function=function, arguments={"day": day}).execute().status


text, empty = call("2026-11-29"), call({})
print("version: agno", importlib.metadata.version("agno"))
print("expected: a text for each argument")
print("seen, source:", schema["source"])
print("seen, day:   ", schema["day"])
print("seen, key:   ", schema["key"])
print("seen, a call with a text:", text, "and with an empty object:", empty)
nothing = {"type": "object", "properties": {}, "additionalProperties": False}
as_described = nothing.items() <= schema["day"].items() and nothing.items() <= schema["key"].items()
as_described = as_described and schema["source"]["type"] == "string" and (text, empty) == ("success", "failure")
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
