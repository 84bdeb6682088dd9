"""Text from outside (question, observation) is made unable to act as control.

Control is any text that a tokenizer turns into a special token, a chat template reads as a turn boundary, or our own
grammar reads as a tag. Each bracket of such a sequence is replaced by a look-alike that is not a control character
anywhere:

    <think>  ->  ‹think›        <|im_end|>  ->  ‹¦im_end¦›        [INST]  ->  ⟦INST⟧

One character becomes one character, nothing is removed. The text stays readable: a person and a language model still
see what stood there. Its length and offsets stay. Pieces around a replaced tag can never close up to form a new one
(``<th<think>ink>``), and a second pass finds nothing to do. Ordinary text, ``a < b`` and HTML included, stays as it is.

The search finds a sequence in any case, with spaces inside the brackets, in compatibility forms that a tokenizer may
fold back (``＜ｔｈｉｎｋ＞``, ``<｜User｜>``), and with invisible characters strewn in.

The argument tags of the operators (``<question>``, ``<solution>``, ...) are replaced too: a policy rightly copies
passages and solutions into arguments, and a copied ``</solution>`` would end the argument and let the passage add
arguments of its own.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# Deviation: outside text is made unable to act as control before it is tokenised; the paper says nothing of it.
_LOOK_ALIKES = {"<": "‹", ">": "›", "[": "⟦", "]": "⟧", "|": "¦"}
"""Look-alike of each bracket, after compatibility folding."""

_REPLACEMENT = "\ufffd"
"""Stands for a lone surrogate (which no tokenizer and no UTF-8 file takes) and breaks tokens without brackets."""

_ANGLE_NAMES = (
    # our grammar
    "think|tool|answer|info"
    # arguments of the operators
    "|question|solution|feedback|task|instruction|query"
    # sentencepiece vocabularies, Llama 2
    "|s|bos|eos|pad|unk|mask|sep|cls|sop|eop|eot|eoh|eoa"
    # Gemma, Command R, Nemotron, Seed, ERNIE, Ling: special tokens spelt as words
    r"|(?:start|end|begin|beginning)_of_\w++|role|(?:bos|eos|eop|pad|unk|mask|sep|cls)_token|eod|mask:\d++|seed:\w++"
    r"|(?:unused|reserved|special|extra_id|extra_token)_?\d++"
    # native tool calling, code models
    r"|tools|(?:minimax:)?tool_\w++|arg_key|arg_value|eom"
    # code models: SantaCoder, StarCoder with its marks for what was private, StarCoder 2, Code Llama
    r"|fim[_-]\w++|file_sep|filename|gh_stars|repo_?name|empty_output|(?:jupyter|issue|commit|pr)_\w++|pr"
    r"|code_to_intermediate|intermediate_to_code|(?-i:PRE|MID|SUF|EOT|NAME|EMAIL|KEY|PASSWORD)"
)

# Some names are words that stand in brackets in ordinary text, too: those count in capitals alone.
_SQUARE_NAMES = (
    "inst|system_prompt|available_tools|tool_calls|tool_results|tool_content|model_settings"
    r"|img|img_break|img_end|begin_audio|gmask|smask|pad|cls|sep|mask|unk|bos|eos|eot|@bos@|extra_id_\d++|control_\d++"
    "|(?-i:PREFIX|MIDDLE|SUFFIX|ARGS|CALL_ID|THINK|AUDIO|TRANSCRIBE|REF)|multimodal"
)

# Possessive quantifiers (``*+``) never give back what they took, so the scan is linear in the text.
_CONTROL = (
    rf"<\s*+(?:/\s*+)?(?:{_ANGLE_NAMES})\s*+(?:/\s*+)?>"
    rf"|\[\s*+(?:/\s*+)?(?:{_SQUARE_NAMES})\s*+\]"
    r"|<<\s*+(?:/\s*+)?sys\s*+>>"
    r"|<\w++\|>|<\||\|>"
    # EXAONE; Falcon; MiniMax
    r"|\[\|\w++\|\]|(?-i:>>[A-Z][A-Z0-9_]*+<<)|\]~!?b[\[\]]|\[e~\["
)


def neutralise(text: str, special_tokens: Iterable[str] = ()) -> str:
    """Replace everything that could act as control in text from outside.

    Takes time linear in ``text``. ``neutralise(neutralise(text)) == neutralise(text)``, and the length is unchanged.

    Args:
        text: a question or an observation; any string.
        special_tokens: the special tokens of the policy's tokenizer, as strings. The common families (ChatML, Llama,
            Mistral, Gemma, DeepSeek, Qwen, ...) are covered without them.

    Returns:
        The text, with the brackets of tags and special tokens replaced by look-alikes. A special token without
        brackets loses its first character to U+FFFD. Each lone surrogate becomes U+FFFD, too.
    """
    if not text.isascii():
        text = _SURROGATE.sub(_REPLACEMENT, text)
    control = _control_pattern(tuple(special_tokens))
    while True:
        skeleton, positions = _skeleton(text)
        broken: list[str] | None = None
        for match in control.finditer(skeleton):
            broken = list(text) if broken is None else broken
            span = range(match.start(), match.end())
            _break_up(broken, skeleton, [(i, i if positions is None else positions[i]) for i in span])
        if broken is None:
            return text
        # Tokens that overlap one another without sharing a bracket take another pass; each has at most as many passes
        # as the longest token has characters.
        text = "".join(broken)


_SURROGATE = re.compile("[\ud800-\udfff]")

_LINE_SPACES = "\t\n\r"
"""The control characters that no tokenizer drops."""

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""Invisible characters (Unicode's Default_Ignorable_Code_Point) whose category is that of letters or marks."""


@lru_cache(maxsize=16)
def _control_pattern(special_tokens: tuple[str, ...]) -> re.Pattern[str]:
    """Compile the search. A token that holds a built-in sequence is broken by breaking that sequence."""
    builtin = re.compile(_CONTROL, re.IGNORECASE)
    folded = {_skeleton(token)[0] for token in special_tokens}
    extra = {token for token in folded if token.strip(f" \t\r\n{_REPLACEMENT}") and not builtin.search(token)}
    alternatives = [re.escape(token) for token in sorted(extra, key=lambda token: (-len(token), token))]
    return re.compile("|".join([_CONTROL, *alternatives]), re.IGNORECASE)


def _skeleton(text: str) -> tuple[str, list[int] | None]:
    """Return the text as a folding tokenizer may see it, and the position of each of its characters in ``text``.

    Compatibility forms become the plain characters; invisible characters are left out. No positions where they are equal.
    """
    if text.isascii() and text.isprintable():
        return text, None
    table = {character: _fold(character) for character in set(text)}
    if all(len(folded) == 1 for folded in table.values()):
        return "".join(map(table.__getitem__, text)), None
    kept = [(part, position) for position, character in enumerate(text) for part in table[character]]
    return "".join(part for part, _ in kept), [position for _, position in kept]


def _fold(character: str) -> str:
    """Return the folded form of one character: the letters of a ligature, nothing for an invisible one."""
    if character in _LINE_SPACES:
        return character
    if unicodedata.category(character) in ("Cc", "Cf") or _INVISIBLE.match(character):
        return ""
    return unicodedata.normalize("NFKC", character)


def _break_up(characters: list[str], skeleton: str, span: list[tuple[int, int]]) -> None:
    """Replace the brackets of one match in place; a match without brackets loses its first character."""
    brackets = [(at, _LOOK_ALIKES[skeleton[index]]) for index, at in span if skeleton[index] in _LOOK_ALIKES]
    if not brackets:
        brackets = [next((at, _REPLACEMENT) for _, at in span if characters[at] != _REPLACEMENT)]
    for at, look_alike in brackets:
        characters[at] = look_alike
