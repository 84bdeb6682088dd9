r"""Conversion of the results of searches, in their common forms, to a ``Passage``.

"Jaws is a film ..."                                          text alone
{"id": "7", "title": "Jaws", "text": "Jaws is a film ..."}    fields; the text may be called content, snippet or body
{"id": "7", "contents": "\"Jaws\"\nJaws is a film ..."}       title and text in one, as Search-R1 and FlashRAG write them
{"document": ..., "score": 1.5}                               any of these with a score
"""

import math
from typing import Any

from workflow_r1.retrieval.backend import Passage
from workflow_r1.services.attempts import encodable

TEXT_FIELDS = ("text", "content", "snippet", "body")
"""Fields that hold a passage's text, in this order of preference."""

ID_FIELDS = ("id", "url", "link")
"""Fields that hold its identifier."""


def read_passages(values: Any, k: int) -> list[Passage]:
    """Read at most ``k`` passages, best first.

    Passages without a score are given 1/rank, so that a better one still has the higher score.

    Raises:
        ValueError: a result is not a passage; the message says which one, and what it lacks.
    """
    if not isinstance(values, list | tuple):
        raise ValueError(f"expected a list of passages, found {_show(values)}")
    return [read_passage(value, rank) for rank, value in enumerate(values[:k], start=1)]


def read_passage(value: Any, rank: int) -> Passage:
    """Read one passage, the ``rank``-th from 1.

    Raises:
        ValueError: the result is not a passage; the message says what is missing.
    """
    if isinstance(value, Passage):
        return value
    place, score = f"passage {rank}", None
    if isinstance(value, dict):
        score = _read_score(value.get("score"), place)
        value = value.get("document", value)
    score = 1.0 / rank if score is None else score
    if isinstance(value, str):
        title, text, identifier = "", value, str(rank)
    elif isinstance(value, dict):
        title, text = _read_text(value, place)
        found = next((value[field] for field in ID_FIELDS if field in value), None)
        identifier = str(found) if isinstance(found, str | int) and found != "" else str(rank)
    else:
        raise ValueError(f"{place}: expected text or an object, found {_show(value)}")
    if not text.strip() and not title.strip():
        raise ValueError(f"{place}: expected a title or a text, found neither")
    return Passage(encodable(identifier), encodable(" ".join(title.split())), encodable(text.strip()), score)


def split_contents(contents: str) -> tuple[str, str]:
    """Title and text of ``contents``, where the title stands quoted on a line of its own. Without one it is empty."""
    title, separator, text = contents.partition("\n")
    if not separator:
        return "", title.strip()
    title = title.strip()
    if len(title) > 1 and title.startswith('"') and title.endswith('"'):
        title = title[1:-1]
    return title.strip(), text.strip()


def join_contents(passage: Passage) -> str:
    """Title and text in one; :func:`split_contents` parts them again."""
    return f'"{" ".join(passage.title.split())}"\n{passage.text}'


def _read_text(row: dict[str, Any], place: str) -> tuple[str, str]:
    """Title and text. Separate fields go before ``contents``, which repeats them where both are there."""
    field = next((name for name in TEXT_FIELDS if row.get(name) is not None), None)
    contents = row.get("contents")
    if field is None and isinstance(contents, str):
        return split_contents(contents)
    # Some write null for an empty text.
    field = field or next((name for name in TEXT_FIELDS if name in row), None)
    if field is None:
        fields = ", ".join(map(str, row)) or "none"
        raise ValueError(f"{place}: expected a field contents, {', '.join(TEXT_FIELDS)}; found fields {fields[:120]}")
    title, text = row.get("title") or "", "" if row[field] is None else row[field]
    for name, found in (("title", title), (field, text)):
        if not isinstance(found, str):
            raise ValueError(f"{place}: field {name}: expected text, found {_show(found)}")
    return title, text


def _read_score(value: Any, place: str) -> float | None:
    if value is None:
        return None
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"{place}: field score: expected a number, found {_show(value)}")
    return score


def _show(value: Any) -> str:
    if isinstance(value, str | int | float):
        return repr(value)[:60]
    return "nothing" if value is None else f"a {type(value).__name__}"
