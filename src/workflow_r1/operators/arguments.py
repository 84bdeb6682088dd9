"""Reads the arguments of an operator call.

    one argument       the whole input; its own tag around it is accepted, too
    anything else      <name>value</name> for each argument, in any order, nothing but whitespace between them

A tagged argument ends at the first closing tag of its own name; other tags inside it are text. A list argument is
written as two or more tagged values of its name, and an argument with a default may be left out.

The argument's type decides which values it may have, its description in the menu, and the answer to a wrong value.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError

MIN_LIST = 2
"""Fewest values of a list argument: one value leaves nothing to choose."""

REQUIRED: Final = object()
"""Default of an argument that must be given."""

_TEXT = "a text"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an operator."""

    name: str
    """Name of the parameter and of its tag."""
    is_list: bool
    """Two or more values rather than one."""
    type: Any = str
    """Type of one value: anything that pydantic reads from a text, e.g. ``int`` or ``Annotated[float, Field(gt=0)]``."""
    default: Any = REQUIRED
    """Shown to the policy where the argument may be left out; the function itself fills it in."""

    @property
    def is_optional(self) -> bool:
        """True where a call may leave it out."""
        return self.default is not REQUIRED

    @property
    def expected(self) -> str:
        """One value in words: ``a whole number, at least 1``."""
        return _describe(self.type)

    def read(self, text: str) -> Any:
        """Turn a text into a value.

        Raises:
            ValueError: it is not of the type.
        """
        return text if self.type is str else _adapter(self.type).validate_strings(text)


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """The arguments of a call, or the problems with them."""

    values: dict[str, Any]
    """Value or list of values by name; texts are stripped and never empty. Where there are no problems, only optional
    arguments may be missing."""
    problems: tuple[str, ...]
    """Problems with the arguments, in words of our own that repeat nothing of the input."""


def read_type(name: str, annotation: Any, default: Any = REQUIRED) -> Argument:
    """Read a parameter of an operator's function.

    Args:
        name: name of the parameter.
        annotation: ``str``, ``int``, ``float``, ``bool``, a ``Literal``, a ``StrEnum`` or another type that pydantic reads
            from one text; ``Annotated`` with limits; ``list`` of one; ``... | None`` with a default.
        default: default of the parameter, where it has one.

    Raises:
        TypeError: no text can be read as the annotation.
    """
    if get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation) and default is not REQUIRED:
        rest = tuple(part for part in get_args(annotation) if part is not NoneType)
        annotation = rest[0] if len(rest) == 1 else annotation
    is_list = get_origin(annotation) is list
    if is_list:
        (annotation,) = get_args(annotation)
    try:
        _describe(annotation)
    except (PydanticUserError, ValueError, TypeError):
        raise TypeError(
            f"expected str, int, float, bool, a Literal, a StrEnum, or a list of one of them for {name!r}, received "
            f"{annotation}"
        ) from None
    return Argument(name=name, is_list=is_list, type=annotation, default=default)


def parse_arguments(text: str, arguments: Sequence[Argument]) -> ParsedArguments:
    """Read the input of a call. Linear in ``text``; never raises, for any string.

    Args:
        text: the policy's text after the colon.
        arguments: at least one; names differ.
    """
    if len(arguments) == 1 and not arguments[0].is_list:
        return _parse_whole(text, arguments[0])
    return _parse_tagged(text, arguments)


def render_usage(arguments: Sequence[Argument]) -> str:
    """Show how the input is written, e.g. ``<question>...</question> <count>a whole number (default 3)</count>``."""
    if len(arguments) == 1 and not arguments[0].is_list:
        (argument,) = arguments
        kind = "" if argument.expected == _TEXT else f", {argument.expected}"
        return f"the {_words(argument.name)}{kind}{_render_default(argument)}"
    parts = []
    for argument in arguments:
        content = "..." if argument.expected == _TEXT else argument.expected
        tagged = f"<{argument.name}>{content}{_render_default(argument)}</{argument.name}>"
        parts.append(" ".join([tagged] * MIN_LIST + ["..."]) if argument.is_list else tagged)
    return " ".join(parts)


def _render_default(argument: Argument) -> str:
    if not argument.is_optional:
        return ""
    default = argument.default.value if isinstance(argument.default, Enum) else argument.default
    if default is None or isinstance(default, list | tuple):
        return " (optional)"
    return f" (default {str(default).lower() if isinstance(default, bool) else default})"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _parse_whole(text: str, argument: Argument) -> ParsedArguments:
    opening, closing = f"<{argument.name}>", f"</{argument.name}>"
    value = text.strip()
    if value.startswith(opening) and value.endswith(closing):
        inner = value[len(opening) : -len(closing)]
        if opening not in inner and closing not in inner:
            value = inner.strip()
    if not value:
        problems = () if argument.is_optional else (f"the {_words(argument.name)} is empty",)
        return ParsedArguments(values={}, problems=problems)
    try:
        return ParsedArguments(values={argument.name: argument.read(value)}, problems=())
    except ValueError:
        problem = f"the {_words(argument.name)} must be {argument.expected}"
        return ParsedArguments(values={}, problems=(problem,))


def _parse_tagged(text: str, arguments: Sequence[Argument]) -> ParsedArguments:
    names = tuple(argument.name for argument in arguments)
    found: dict[str, list[str]] = {name: [] for name in names}
    problems: list[str] = []
    inside: str | None = None
    start = 0
    stray = False
    for tag in _tag_pattern(names).finditer(text):
        closing, name = tag.groups()
        if inside is None:
            stray = stray or bool(closing) or (not text[start : tag.start()].isspace() and start < tag.start())
            if not closing:
                inside = name
            start = tag.end()
        elif closing and name == inside:
            found[name].append(text[start : tag.start()].strip())
            inside = None
            start = tag.end()
    if inside is not None:
        problems.append(f"<{inside}> is never closed")
    elif text[start:].strip():
        stray = True
    if stray:
        problems.append("there is text outside the tags")

    values: dict[str, Any] = {}
    for argument in arguments:
        texts = found[argument.name]
        tag_name = f"<{argument.name}>"
        if not texts:
            if argument.name != inside and not argument.is_optional:
                problems.append(f"{tag_name} is missing")
        elif not all(texts):
            problems.append(f"{tag_name} is empty")
        elif argument.is_list and len(texts) < MIN_LIST:
            problems.append(f"{tag_name} is needed two or more times")
        elif not argument.is_list and len(texts) > 1:
            problems.append(f"{tag_name} is given more than once")
        else:
            try:
                read = [argument.read(text) for text in texts]
            except ValueError:
                problems.append(f"{tag_name} must be {argument.expected}")
            else:
                values[argument.name] = read if argument.is_list else read[0]
    return ParsedArguments(values=values, problems=tuple(problems))


@lru_cache(maxsize=64)
def _tag_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Literals only: matching needs no backtracking."""
    return re.compile(rf"<(/?)({'|'.join(names)})>")


# ------------------------------------------------------------------------------------------------------------- types

_KINDS = {"string": _TEXT, "integer": "a whole number", "number": "a number", "boolean": "true or false"}
"""JSON schema's word for a type -> ours."""

_FORMATS = {"date": "a date such as 2024-03-31", "time": "a time such as 14:30"}
"""JSON schema's formats of texts -> words."""

_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching {}",
}
"""JSON schema's limits -> words."""


@lru_cache(maxsize=256)
def _adapter(type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type, config=ConfigDict(allow_inf_nan=False))


@lru_cache(maxsize=256)
def _describe(type: Any) -> str:
    """Describe a value in words.

    Raises:
        ValueError: a value is not a single text, number, truth or choice.
    """
    schema = _adapter(type).json_schema()
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    words = _FORMATS.get(schema["format"]) if "format" in schema else _KINDS.get(schema.get("type", ""))
    if words is None or choices:
        raise ValueError(f"expected one text, number, truth or choice, received {type}")
    limits = " and ".join(text.format(schema[key]) for key, text in _LIMITS.items() if key in schema)
    return f"{words}, {limits}" if limits else words
