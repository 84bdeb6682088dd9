"""Ways to ask a policy that is trained on single questions within a conversation.

``text`` puts the earlier messages before the question: for a policy whose prompt explains its task in words (prompt
style ``full``), or an LLM. ``reference`` asks the question alone, and puts the last answer in the place of a pronoun
that the question leaves open: for a policy that was trained on bare questions (``brief``), which any other text
confuses (the embedded one's exact match falls from .42 to .05; ``docs/decisions/earlier-messages.md``). ``none`` asks
the question alone. The reply's warnings name everything that was left out.
"""

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from workflow_r1.serving.requests import AnswerRequest

History = Literal["text", "reference", "none"]
"""Treatment of the messages besides the question."""

_PRONOUN = re.compile(r"\b(he|she|it|they|him|them|this|that|there|his|her|its|their)\b", re.IGNORECASE)
_POSSESSIVE = ("his", "its", "their")
_NAME = re.compile(r"(?<=\S\s)[A-Z]\w")
"""A capital letter that begins no sentence: the question names its subject."""

_MAX_ANSWER_CHARS = 120
"""A longer last answer is not a name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The text for the policy."""

    text: str
    """The question, with the needed part of the conversation."""
    num_unread: int
    """Messages that the policy does not see."""
    warnings: tuple[str, ...]
    """Warnings about parts that were left out or changed."""


def ask_within(request: AnswerRequest, how: History, *, fits: Callable[[str], bool]) -> Asked | None:
    """Write the text for the policy.

    Args:
        request: the question, and the conversation that it stands in.
        how: treatment of the conversation.
        fits: returns True for a text that is short enough; each part of such a text must fit, too.

    Returns:
        The text to ask; None where the question alone does not fit.
    """
    others = request.others
    if how == "text":
        lines = [f"{message.role}: {message.text}" for message in others]

        def with_newest(number: int) -> str:
            newest = lines[len(lines) - number :]
            return "\n".join([*newest, f"user: {request.question}"]) if newest else request.question

        # The first number of messages that is too many, less one.
        number = bisect_left(range(len(lines) + 1), True, key=lambda each: not fits(with_newest(each))) - 1
        unread = len(lines) - number
        warning = f"messages: the {unread} earliest were not read, since the prompt has no room for them"
        return Asked(with_newest(number), unread, (warning,) if unread else ()) if number >= 0 else None
    if not fits(request.question):
        return None
    if not others:
        return Asked(request.question, 0, ())
    if how == "reference" and (text := _resolve(request)) is not None and fits(text):
        unread = len(others) - 1
        rest = f"; {unread} others were not read" if unread else ""
        return Asked(text, unread, (f"messages: the last answer was put into the question: {text!r}{rest}",))
    why = (
        "this server answers the last message of the user alone"
        if how == "none"
        else "the policy knows single questions"
    )
    return Asked(request.question, len(others), (f"messages: {len(others)} besides the question were not read: {why}",))


def _resolve(request: AnswerRequest) -> str | None:
    """Put the last answer in the place of the pronoun of a question that names nothing."""
    answers = [message.text.strip() for message in request.others if message.role == "assistant"]
    if not answers or not 0 < len(answers[-1]) <= _MAX_ANSWER_CHARS or "\n" in answers[-1]:
        return None
    found = _PRONOUN.search(request.question)
    if found is None or _NAME.search(request.question):
        return None
    answer, pronoun = answers[-1].rstrip("."), found[0].lower()
    after = request.question[found.end() :]
    owns = pronoun in _POSSESSIVE or (pronoun == "her" and re.match(r"\s+\w", after) is not None)
    place = f"in {answer}" if pronoun == "there" else answer
    return f"{request.question[: found.start()]}{place}{'’s' if owns else ''}{after}".replace("’s", "'s")
