"""Messages about wrong keys and values of a configuration: the place, what was expected, and the nearest right key."""

import json
import re
import types
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from workflow_r1.config.effect import KeysError
from workflow_r1.config.run import RunConfig
from workflow_r1.nearest import did_you_mean, nearest

Location = tuple[str, ...]
"""Section and key, outermost first."""


def explain(
    error: ValidationError,
    file: Path,
    text: str,
    places: Mapping[Location, str],
    inherited: Mapping[Location, str] = types.MappingProxyType({}),
) -> Iterator[str]:
    """Yield one line per wrong key or value.

    Args:
        error: refusal of the configuration.
        file: file that was read.
        text: content of the file.
        places: places of the keys that were set elsewhere, as overrides.
        inherited: places of the keys that the file takes from another one.
    """

    def place_of(location: Location) -> str:
        return inherited[location] if location in inherited else find_place(location, file, text, places)

    told: set[Location] = set()
    for detail in error.errors():
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, KeysError):
            for key, reason in cause.found:
                yield f"{place_of(split_key(key))}: {key}: {reason}"
            continue
        # Pydantic appends the alternatives of a union and the indices of a list to the location.
        location = _longest_field(tuple(str(part) for part in detail["loc"]))
        unknown = detail["type"] == "extra_forbidden"
        if unknown:
            location = tuple(str(part) for part in detail["loc"])
        if location in told:
            continue
        told.add(location)
        place = place_of(location)
        key = ".".join(location)
        if unknown:
            yield f"{place}: unknown key {key!r}{_suggest_key(location)}"
            continue
        value = detail["input"]
        annotation = field_at(location)
        if detail["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
            expected = f"a value {detail['msg'].removeprefix('Input should be ')}"
        elif detail["type"] == "value_error":
            expected = detail["msg"].removeprefix("Value error, ")
        else:
            expected = describe(annotation) if annotation is not None else detail["msg"]
        near = did_you_mean(str(value), [choice for choice in _choices(annotation) if isinstance(choice, str)])
        absent = detail["type"] == "missing" and len(location) == len(detail["loc"])
        received = "nothing" if absent else shorten(value)
        yield f"{place}: {key}: expected {expected}, received {received}{near}"


def find_place(location: Location, file: Path, text: str, places: Mapping[Location, str]) -> str:
    """Return the place of a key: the override that set it, or its line in the file."""
    for overridden in sorted(places, key=len, reverse=True):
        shared = min(len(overridden), len(location))
        if overridden[:shared] == location[:shared]:
            return places[overridden]
    section: Location = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            section = split_key(header.group(1))
            if section == location:
                return f"{file}:{number}"
        elif entry := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            found = section + split_key(entry.group(1))
            if found == location[: len(found)]:
                return f"{file}:{number}"
    return str(file)


def _suggest_key(location: Location) -> str:
    siblings = _section_at(location[:-1])
    if siblings is None:
        return ""
    close = nearest(location[-1], siblings.model_fields)
    if close is not None:
        return f"; did you mean {'.'.join((*location[:-1], close))!r}?"
    elsewhere = [known for known in _all_keys(RunConfig) if known[-1] == location[-1]]
    if elsewhere:
        return f"; did you mean {'.'.join(elsewhere[0])!r}?"
    return f"; {'.'.join(location[:-1]) or 'the configuration'} has {', '.join(siblings.model_fields)}"


def shorten(value: object) -> str:
    """Return a value as JSON, cut to 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def describe(annotation: Any) -> str:
    """Describe the values that a field takes, in words."""
    words = ", ".join(json.dumps(choice) for choice in _choices(annotation))
    words = f"one of {words}" if words else ""
    plain = [part for part in _alternatives(annotation) if get_origin(part) is not Literal]
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a string",
        Path: "a path (a string)",
        date: "a date such as 2026-01-31",
    }
    for part in plain:
        if part is type(None):
            continue
        if isinstance(part, type) and issubclass(part, BaseModel):
            name = f"a section with {', '.join(part.model_fields)}"
        elif get_origin(part) is tuple:
            inner = {str: "strings", float: "numbers", int: "whole numbers"}.get(get_args(part)[0], "values")
            number = "" if Ellipsis in get_args(part) else f"{len(get_args(part))} "
            name = f"a list of {number}{inner}"
        elif get_origin(part) is dict:
            entry = get_args(part)[1]
            if get_origin(entry) is Annotated:
                entry = get_args(entry)[0]
            is_section = get_origin(entry) is dict or (isinstance(entry, type) and issubclass(entry, BaseModel))
            name = f"{'a section' if is_section else 'values' if entry is Any else describe(entry)} for each name"
        else:
            name = names.get(part, str(part))
        words = f"{words} or {name}" if words else name
    return words


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _choices(annotation: Any) -> list[Any]:
    return [choice for part in _alternatives(annotation) if get_origin(part) is Literal for choice in get_args(part)]


def split_key(text: str) -> Location:
    """Return the parts of a dotted key; a part in quotes may hold dots."""
    parts = re.split(r"""\.(?=(?:[^"']|"[^"]*"|'[^']*')*$)""", text)
    return tuple(part.strip().strip("\"'") for part in parts)


def _section_at(location: Location) -> type[BaseModel] | None:
    """Return the model of a section; None where there is no such section."""
    model: type[BaseModel] = RunConfig
    parts = list(location)
    while parts:
        field = model.model_fields.get(parts.pop(0))
        alternatives = _alternatives(field.annotation) if field else ()
        if alternatives and get_origin(alternatives[0]) is dict:
            # A section for each name that the user chooses: the next part is such a name.
            if not parts:
                return None
            parts.pop(0)
            alternatives = get_args(alternatives[0])
        inner = [option for option in alternatives if isinstance(option, type) and issubclass(option, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def field_at(location: Location) -> Any | None:
    """Return the annotation of a key; None where there is no such key."""
    section = _section_at(location[:-1]) if location else None
    field = section.model_fields.get(location[-1]) if section else None
    return field.annotation if field else None


def is_free(location: Location) -> bool:
    """Return True where a key is a name of the user's own, or lies where the configuration has no keys of its own."""
    if _section_at(location[:-1]) is not None:
        return False
    above = (field_at(location[:length]) for length in range(1, len(location)))
    return any(get_origin(part) is dict for annotation in above for part in _alternatives(annotation))


def _longest_field(location: Location) -> Location:
    for length in range(len(location), 0, -1):
        if field_at(location[:length]) is not None:
            return location[:length]
    return location


def _all_keys(model: type[BaseModel], prefix: Location = ()) -> Iterator[Location]:
    for name in model.model_fields:
        inner = _section_at((*prefix, name))
        if inner is None:
            yield (*prefix, name)
        else:
            yield from _all_keys(inner, (*prefix, name))
