"""Text from outside made harmless for a terminal, a log and a report.

A terminal acts on control characters: they move the cursor over other text, set the clipboard, or make a link
that shows one address and opens another. Bidirectional controls show text in another order than that in which it is
read. This module protects people's eyes; ``prompts.neutralise`` protects tokenizer and grammar.
"""

_REPLACEMENT = "\ufffd"

_REORDERING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Embeddings, overrides and isolates. Right-to-left text and the marks that it needs stay."""

_TAGS = range(0xE0000, 0xE0080)
"""Characters that are drawn as nothing and spell ASCII to a reader of the text itself."""

_TABLE: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys([*range(0x80, 0xA0), *_REORDERING, *_TAGS, *range(0xD800, 0xE000)], _REPLACEMENT),
}


def printable(text: str) -> str:
    """Replace everything that a terminal or an editor would act on, or cannot show.

    Control characters become their pictures (ESC is ``␛``); other ones, controls of direction, invisible tags and lone
    surrogates become U+FFFD. Line ends and tabs stay, and so does all other text. ``printable(printable(t)) ==
    printable(t)``. Takes time linear in ``text``.
    """
    return text if text.isprintable() and text.isascii() else text.replace("\r\n", "\n").translate(_TABLE)
