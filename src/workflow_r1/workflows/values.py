"""The values in the input of a call."""

import re

_ARGUMENT = re.compile(r"<([a-z][a-z0-9_]*)>(.*?)</\1>", re.DOTALL)


def read_values(text: str) -> list[tuple[str, str]]:
    """Return the tagged arguments of an input by name, in order; all of it under an empty name where nothing is tagged.

    The operator is not asked: a record may be of an operator that is not installed here.
    """
    return [(match[1], match[2].strip()) for match in _ARGUMENT.finditer(text)] or [("", text.strip())]
