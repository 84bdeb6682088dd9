"""Text made comparable: answers as SQuAD compares them, questions to find the same one twice."""

import re
import string
import unicodedata
from typing import Literal

MAX_MARKS = 30
"""Most combining marks in a row that are kept: Unicode's bound for stream-safe text (UAX #15)."""

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ACCENTS = re.compile("[\u0300-\u036f]")


def normalize_answer(text: str, *, unicode_normalise: bool = False) -> str:
    """Lower-case, drop ASCII punctuation, drop the articles *a*, *an*, *the*, and join the rest with single spaces.

    In this order, as in SQuAD: ``The U.S.A.`` becomes ``usa``; ``a.n`` becomes ``an`` and is then dropped.

    Args:
        text: an answer.
        unicode_normalise: before that, make compatible characters one (NFKC), drop the accents of letters (``Beyoncé``
            becomes ``beyonce``), fold the case fully, and drop the punctuation of every script (``1914–18`` becomes
            ``191418``). SQuAD does nothing of this.
    """
    return " ".join(_ARTICLES.sub(" ", _without_punctuation(text, unicode_normalise=unicode_normalise)).split())


def comparable_answer(text: str, *, unicode_normalise: bool = False) -> str:
    """Return the form in which two answers are equal: normalised, and where that leaves nothing, with more kept.

    An answer of nothing but articles keeps them (``A`` becomes ``a``, ``The The`` becomes ``the the``), and one of nothing
    but punctuation stays as it stands (``---``), in lower case and with single spaces.

    Args:
        text: an answer.
        unicode_normalise: see ``normalize_answer``.
    """
    # Deviation: answers that SQuAD's normalisation empties are compared as they stand; SQuAD matches any two of them.
    return (
        normalize_answer(text, unicode_normalise=unicode_normalise)
        or " ".join(_without_punctuation(text, unicode_normalise=unicode_normalise).split())
        or " ".join(text.lower().split())
    )


def _without_punctuation(text: str, *, unicode_normalise: bool) -> str:
    if unicode_normalise:
        decomposed = normal_form("NFKD", text.casefold())
        text = normal_form("NFKC", _ACCENTS.sub("", decomposed))
        text = "".join(character for character in text if not unicodedata.category(character).startswith("P"))
    return text.lower().translate(_DROP_PUNCTUATION)


def normalize_question(text: str) -> str:
    """Return a question without case, punctuation and spacing, for finding the same question twice."""
    folded = normal_form("NFKC", text).casefold()
    return " ".join("".join(" " if unicodedata.category(c)[0] in "PZC" else c for c in folded).split())


def normal_form(form: Literal["NFC", "NFKC", "NFKD"], text: str) -> str:
    """Return a normal form of Unicode, in time linear in ``text``.

    The standard library sorts each row of combining marks in quadratic time. No language has more than a few on one letter:
    those beyond ``MAX_MARKS`` in a row are left out.
    """
    if text.isascii():
        return text
    if len(text) > MAX_MARKS:
        # Some characters are no marks themselves and decompose into marks.
        marks = {c for c in set(text) if unicodedata.combining(unicodedata.normalize("NFKD", c)[0])}
        if marks:
            row = re.compile(f"([{re.escape(''.join(marks))}]{{{MAX_MARKS}}})[{re.escape(''.join(marks))}]+")
            text = row.sub(r"\1", text)
    return unicodedata.normalize(form, text)
