"""Reads the arguments of an operator call.

    one text argument      the whole input; its own tag around it is accepted, too
    anything else          <name>text</name> for each argument, in any order, nothing but whitespace between them

A tagged argument ends at the first closing tag of its own name; other tags inside it are text. A list argument is
written as two or more tagged texts of its name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MIN_LIST = 2
"""Fewest texts of a list argument: a choice among one is none."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an operator."""

    name: str
    """Name of the parameter and of its tag."""
    is_list: bool
    """Two or more texts rather than one."""


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """The arguments of a call, or what is wrong with them."""

    values: dict[str, str | list[str]]
    """Text or texts by name, stripped and never empty. Complete where there are no problems."""
    problems: tuple[str, ...]
    """What is wrong, in words of our own that repeat nothing of the input."""


def parse_arguments(text: str, arguments: Sequence[Argument]) -> ParsedArguments:
    """Read the input of a call. Linear in ``text``; never raises, whatever the string holds.

    Args:
        text: what the policy wrote after the colon.
        arguments: at least one; names differ.
    """
    if len(arguments) == 1 and not arguments[0].is_list:
        return _parse_whole(text, arguments[0].name)
    return _parse_tagged(text, arguments)


def render_usage(arguments: Sequence[Argument]) -> str:
    """Show how the input is written, e.g. ``<question>...</question> <solution>...</solution>``."""
    if len(arguments) == 1 and not arguments[0].is_list:
        return f"the {arguments[0].name.replace('_', ' ')}"
    parts = []
    for argument in arguments:
        tagged = f"<{argument.name}>...</{argument.name}>"
        parts.append(" ".join([tagged] * MIN_LIST + ["..."]) if argument.is_list else tagged)
    return " ".join(parts)


def _parse_whole(text: str, name: str) -> ParsedArguments:
    opening, closing = f"<{name}>", f"</{name}>"
    value = text.strip()
    if value.startswith(opening) and value.endswith(closing):
        inner = value[len(opening) : -len(closing)]
        if opening not in inner and closing not in inner:
            value = inner.strip()
    if not value:
        return ParsedArguments(values={}, problems=(f"the {name.replace('_', ' ')} is empty",))
    return ParsedArguments(values={name: value}, problems=())


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

    values: dict[str, str | list[str]] = {}
    for argument in arguments:
        texts = found[argument.name]
        tag_name = f"<{argument.name}>"
        if not texts:
            if argument.name != inside:
                problems.append(f"{tag_name} is missing")
        elif not all(texts):
            problems.append(f"{tag_name} is empty")
        elif argument.is_list and len(texts) < MIN_LIST:
            problems.append(f"{tag_name} is needed two or more times")
        elif not argument.is_list and len(texts) > 1:
            problems.append(f"{tag_name} is given more than once")
        else:
            values[argument.name] = texts if argument.is_list else texts[0]
    return ParsedArguments(values=values, problems=tuple(problems))


@lru_cache(maxsize=64)
def _tag_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Literals only: matching needs no backtracking."""
    return re.compile(rf"<(/?)({'|'.join(names)})>")
