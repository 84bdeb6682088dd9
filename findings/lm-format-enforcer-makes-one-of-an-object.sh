#!/usr/bin/env bash
# LM Format Enforcer admits nothing but an object where a schema asks for one of a number and a text.
#
# Expected (a guess, made before running): `oneOf` of an integer and a string admits `5` and `"five"`, or is refused with an error.
# What happens: both are forbidden, and every object is admitted, with any keys. `anyOf` with the same members is right. A model
#   that must fill such a parameter writes an invalid one, whatever it wants to say.
# Versions: lm-format-enforcer 0.11.3, pydantic 2.14.4, interegular 0.3.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lm-format-enforcer==0.11.3 pydantic==2.14.4 interegular==0.3.3

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from lmformatenforcer import JsonSchemaParser


def admits(schema, text):
    parser = JsonSchemaParser(schema)
    for character in text:
        if character not in parser.get_allowed_characters():
            return False
        parser = parser.add_character(character)
    return parser.can_end()


members = [{"type": "integer"}, {"type": "string"}]
values = ["5", '"five"', "{}", '{"anything": true}']
seen = {}
print("version:", {name: importlib.metadata.version(name) for name in ("lm-format-enforcer", "pydantic", "interegular")})
print("expected:", {'{"limit": %s}' % value: not value.startswith("{") for value in values})
for word in ("anyOf", "oneOf"):
    schema = {"type": "object", "properties": {"limit": {word: members}}, "required": ["limit"]}
    seen[word] = [admits(schema, '{"limit": %s}' % value) for value in values]
    print(f"seen, {word}:", seen[word])
as_described = seen == {"anyOf": [True, True, False, False], "oneOf": [False, False, True, True]}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
