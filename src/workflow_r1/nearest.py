"""The right name for a misspelt one: one rule and one wording for every message."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name most like a misspelt one; None where no name is like it.

    Args:
        name: as it was written.
        known: the right names.
        cutoff: least similarity, from 0 to 1.
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the end of a message about a misspelt name: ``; did you mean 'x'?``, or nothing where no name is like it."""
    found = nearest(name, known, cutoff=cutoff)
    return f"; did you mean {found!r}?" if found else ""
