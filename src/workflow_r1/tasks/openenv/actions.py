"""From the policy's text to an action of an OpenEnv server, by the server's own schema of actions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NUMBERS: Mapping[str, type] = {"integer": int, "number": float}


class UnreadableActionError(Exception):
    """The text cannot be made into an action: the policy's mistake. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class ActionSchema:
    """The fields of an action, from the JSON schema that a server gives at ``/schema``."""

    fields: Mapping[str, str]
    """Type of each field, as JSON Schema names it, without ``metadata``, which every action may have."""
    required: tuple[str, ...]
    """Fields without a default."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Description of a field with its choices or its range, where the schema gives them."""

    @classmethod
    def read(cls, schema: Mapping[str, Any]) -> "ActionSchema":
        """Read the JSON schema of a server's actions; a schema without fields takes any JSON object."""
        properties = schema.get("properties")
        table = properties if isinstance(properties, Mapping) else {}
        fields = {name: _type_of(each) for name, each in table.items() if name != "metadata"}
        required = schema.get("required")
        names = required if isinstance(required, list) else []
        notes = {name: note for name in fields if (note := _note_on(table[name]))}
        return cls(fields, tuple(name for name in names if name in fields), notes)

    @property
    def sole_field(self) -> str | None:
        """The one field that a bare text fills: the only required one, or the only one of all."""
        for names in (self.required, tuple(self.fields)):
            if len(names) == 1:
                return names[0]
        return None

    def usage(self) -> str:
        """Describe in one line what the policy has to write."""
        shown = {
            name: f"{name} ({', '.join(filter(None, (kind, '' if name in self.required else 'optional', self.notes.get(name))))})"
            for name, kind in self.fields.items()
        }
        whole = f"a JSON object with {', '.join(shown.values())}" if shown else "a JSON object"
        if self.sole_field is None:
            return whole
        return shown[self.sole_field] if len(shown) == 1 else f"{shown[self.sole_field]}, or {whole}"

    def action(self, text: str) -> dict[str, Any]:
        """Make the policy's text into an action.

        Args:
            text: a JSON object, or the bare value of the sole field.

        Raises:
            UnreadableActionError: it is neither.
        """
        text = text.strip()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and (self.sole_field is None or set(value) & set(self.fields)):
            return value
        name = self.sole_field
        if name is None:
            raise UnreadableActionError(f"Write {self.usage()}.")
        return {name: self._bare(name, text)}

    def _bare(self, name: str, text: str) -> Any:
        kind = self.fields[name]
        try:
            if kind in _NUMBERS:
                return _NUMBERS[kind](text)
            if kind == "boolean":
                return {"true": True, "false": False}[text.lower()]
            if kind in ("array", "object"):
                return json.loads(text)
        except (ValueError, KeyError, RecursionError):
            raise UnreadableActionError(f"Write {self.usage()}.") from None
        return text


def _note_on(schema: Any) -> str:
    """Describe a field of a schema in a few words."""
    if not isinstance(schema, Mapping):
        return ""
    bounds = [f"at {word} {schema[key]}" for key, word in (("minimum", "least"), ("maximum", "most")) if key in schema]
    choices = schema.get("enum")
    return ", ".join(
        filter(
            None,
            (
                f"one of {', '.join(map(str, choices))}" if isinstance(choices, list) else "",
                " and ".join(bounds),
                schema["description"] if isinstance(schema.get("description"), str) else "",
            ),
        )
    )


def _type_of(schema: Any) -> str:
    """Name the type of a field in a schema; the first of several, ``any`` where it has none."""
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(schema.get("type"), str):
        return str(schema["type"])
    choices: Any = next((schema[key] for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list)), [])
    kinds = [_type_of(choice) for choice in choices]
    return next((kind for kind in kinds if kind not in ("null", "any")), "any")
