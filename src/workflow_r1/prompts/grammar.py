"""The action grammar: the meaning of one turn of the policy.

    turn   = think action
    think  = "<think>" text "</think>"
    action = "<tool>" operator ":" input "</tool>"  |  "<answer>" text "</answer>"

How a turn is read. ``docs/reference/grammar.md`` and the tests use the same numbers; a change of one is a decision, not
a fix.

 1. Tags are exact: lower case, no space inside. ``<Think>`` and ``< tool >`` are text.
 2. Whitespace before, between and after the blocks means nothing. Think, operator, input and answer are stripped.
 3. The think ends at the first ``</think>``. Tags inside it are text and nothing in it is acted on. A second
    ``<think>`` inside it costs the turn its ``well_formed``.
 4. A think that never ends swallows the rest of the turn: there is no action.
 5. Operator and input are parted by the first colon; later colons belong to the input. Without a colon the whole text
    is the operator's name and the input is empty.
 6. The content of a ``<tool>`` or ``<answer>`` holds none of the tags. Where another tag comes before the closing
    one, the block is not complete and is not read.
 7. Consecutive ``<tool>`` blocks with nothing but whitespace between them are one action with several calls, kept in
    order. Such a turn is acted on but is not ``well_formed``.
 8. Text after a complete action is never read: other text, a forged ``<info>``, an ``<answer>`` after a ``</tool>``
    (it was written before the observation came), a ``<tool>`` after an ``</answer>``, another think. It costs the turn
    its ``well_formed``.
 9. A block without content is not an action: an empty answer is not an answer, an empty ``<tool>`` not a call.
10. An action without a think before it, or parted from its think by text, or with text before the think, is read (reports
    show what the policy tried) but the turn is ``malformed``: the environment acts on nothing and says how to act.
11. ``well_formed`` means exactly one non-empty think, then exactly one call with operator and input, or exactly one
    answer, and nothing else but whitespace.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

CLOSING_TAGS = ("</tool>", "</answer>")
"""Tags that close an action."""

TAGS = tuple(f"<{slash}{name}>" for name in ("think", "tool", "answer", "info") for slash in ("", "/"))
"""Everything that is read as a tag."""

_TAG = re.compile("|".join(TAGS))
"""A fixed set of literals: matching needs no backtracking, so a scan is linear in the text."""


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """One operator call as the policy wrote it."""

    operator: str
    """Text before the first colon, stripped. Need not name an operator; may be empty."""
    input: str
    """Text after the first colon, stripped; empty without a colon."""


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """One turn of the policy, read by the grammar."""

    think: str | None
    """Content of the think, stripped; None where the turn has none or never closes it."""
    calls: tuple[ParsedCall, ...]
    """The operator calls, in order. Never together with an answer."""
    answer: str | None
    """Content of the answer, stripped and not empty; None where the turn gives none."""
    well_formed: bool
    """The turn follows the grammar to the letter (behaviour 11)."""
    malformed: bool
    """True where there is nothing to act on: no complete action, or none that directly follows a think (behaviour 10).
    A turn can be neither ``well_formed`` nor ``malformed``: the environment acts on it, and the format reward charges
    it."""


def parse_turn(text: str) -> ParsedTurn:
    """Read one turn of the policy.

    Takes time linear in ``text`` and never raises, for any string (lone surrogates, NUL, megabytes).

    Args:
        text: everything that the policy wrote in the turn, without the end-of-turn token.

    Returns:
        The think, and the calls or the answer, read by the numbered behaviours of this module.
    """
    tags = _TAG.finditer(text)
    tag = next(tags, None)
    clean = tag is not None and not text[: tag.start()].strip()

    think: str | None = None
    num_thinks = 0
    if tag is not None and tag.group() == "<think>":
        num_thinks = 1
        start = tag.end()
        for tag in tags:
            if tag.group() == "</think>":
                break
            num_thinks += tag.group() == "<think>"
        else:
            return ParsedTurn(think=None, calls=(), answer=None, well_formed=False, malformed=True)
        think = text[start : tag.start()].strip()
        end = tag.end()
        tag = next(tags, None)
        clean = clean and tag is not None and not text[end : tag.start()].strip()

    calls: tuple[ParsedCall, ...] = ()
    answer: str | None = None
    end = 0
    if tag is not None and tag.group() == "<tool>":
        calls, end = _read_calls(text, tag, tags)
    elif tag is not None and tag.group() == "<answer>":
        content, end = _read_block(text, tag, tags)
        answer = content or None

    acted_on = clean and think is not None and (answer is not None or bool(calls))
    complete = answer is not None or (len(calls) == 1 and bool(calls[0].operator) and bool(calls[0].input))
    well_formed = acted_on and complete and bool(think) and num_thinks == 1 and not text[end:].strip()
    return ParsedTurn(think=think, calls=calls, answer=answer, well_formed=well_formed, malformed=not acted_on)


def action_end(text: str) -> int | None:
    """Return the end of a turn's first action: right behind its ``</tool>`` or ``</answer>``; None before that.

    A closing tag that the thought only names closes nothing (behaviour 3): where the turn begins with ``<think>``, it
    counts after ``</think>`` alone. Takes time linear in ``text``.
    """
    is_thinking: bool | None = None
    for tag in _TAG.finditer(text):
        if is_thinking is None:
            is_thinking = tag.group() == "<think>"
        if is_thinking:
            is_thinking = tag.group() != "</think>"
        elif tag.group() in CLOSING_TAGS:
            return tag.end()
    return None


def restore_opening(text: str) -> str:
    """Put ``<think>`` before a turn that closes a thought without having opened one: the prompt did, not the policy.

    Other tags before that ``</think>`` are named by the thought.
    """
    closing = text.find("</think>")
    return f"<think>{text}" if closing >= 0 and "<think>" not in text[:closing] else text


def _read_block(text: str, opening: re.Match[str], tags: Iterator[re.Match[str]]) -> tuple[str, int]:
    """Return the stripped content of a block and the end of the block; no content where it is not complete."""
    closing = next(tags, None)
    if closing is None or closing.group() != opening.group().replace("<", "</"):
        return "", opening.end()
    return text[opening.end() : closing.start()].strip(), closing.end()


def _read_calls(text: str, opening: re.Match[str], tags: Iterator[re.Match[str]]) -> tuple[tuple[ParsedCall, ...], int]:
    """Return the calls of consecutive ``<tool>`` blocks and the end of the last complete one."""
    calls: list[ParsedCall] = []
    end = opening.start()
    tag: re.Match[str] | None = opening
    while tag is not None and tag.group() == "<tool>" and not text[end : tag.start()].strip():
        content, block_end = _read_block(text, tag, tags)
        if not content:
            break
        operator, _, argument = content.partition(":")
        calls.append(ParsedCall(operator=operator.strip(), input=argument.strip()))
        end = block_end
        tag = next(tags, None)
    return tuple(calls), end
