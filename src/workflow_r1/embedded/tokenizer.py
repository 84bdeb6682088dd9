"""Tokenizers of small policies: that of the shipped one, and one for the texts of any task.

Greedy longest match over a fixed vocabulary (a WordPiece model without a continuation mark, over bytes), so that every
text can be written. The shipped one has whole words for the embedded world's language, one token for a year and two for a
name, which are the same wherever it stands.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from workflow_r1.embedded.names import BEGINNINGS, ENDINGS
from workflow_r1.embedded.world import FIRST_YEAR, LAST_YEAR

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

TEMPLATE_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
"""Chat template tokens: special, never produced from text."""

TAGS = tuple(
    f"<{slash}{name}>"
    for name in ("think", "tool", "answer", "info", "question", "solution", "query", "feedback", "task", "instruction")
    for slash in ("", "/")
)
"""Tags of the action grammar and of operator arguments: one token each."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

MAX_WORD = 32
"""Longer runs without a space are cut before matching, which keeps it linear in the text."""

MIN_COUNT = 3
"""Occurrences from which on a word is one token; other words are written in pieces or single bytes."""

_NUMBER = r"\p{N}+"


def year_tokens() -> list[str]:
    """The tokens of the world's years, in order."""
    return [f"Ġ{year}" for year in range(FIRST_YEAR, LAST_YEAR + 1)]


def build_tokenizer(texts: Iterable[str], names: frozenset[str]) -> "PreTrainedTokenizerFast":
    """Make the tokenizer from sample texts.

    Args:
        texts: texts of the embedded world: questions, passages, demonstrations.
        names: the names in them, which are left to their pieces.
    """
    counts = _count_words(texts)
    space = "Ġ"
    words = sorted(
        word
        for word, count in counts.items()
        if count >= MIN_COUNT and word.removeprefix(space) not in names and not word.removeprefix(space).isdigit()
    )
    pieces = [f"{before}{beginning}" for beginning in BEGINNINGS for before in (space, "")]
    pieces += ENDINGS
    pieces += [*year_tokens(), *(f"{number:02d}" for number in range(100))]
    return _make_tokenizer([*pieces, *words])


def build_task_tokenizer(texts: Iterable[str]) -> "PreTrainedTokenizerFast":
    """Make a tokenizer for a task from texts of it: a token for each frequent word and each frequent number.

    A number is the same token with and without a blank before it, so that a policy recognises what it copies.

    Args:
        texts: prompts, turns and observations of demonstrations.
    """
    counts = _count_words(texts, apart=_NUMBER)
    return _make_tokenizer(sorted(word for word, count in counts.items() if count >= MIN_COUNT), apart=_NUMBER)


def number_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids of the tokens that are whole numbers of a task, in the order of the numbers."""
    numbers = {int(token): id for token, id in tokenizer.get_vocab().items() if _is_number(token)}
    return [numbers[number] for number in sorted(numbers)]


def _is_number(token: str) -> bool:
    return token.isascii() and token.isdigit() and str(int(token)) == token


def _count_words(texts: Iterable[str], *, apart: str | None = None) -> Counter[str]:
    """Count the words of texts, tags left out, as the tokenizer will cut them."""
    cut = _cut_words(apart)
    counts: Counter[str] = Counter()
    for text in texts:
        for tag in TAGS:
            text = text.replace(tag, "\n")
        counts.update(piece for piece, _ in cut.pre_tokenize_str(text))
    return counts


def _cut_words(apart: str | None) -> Any:
    """Return what cuts a text into words; ``apart`` is a pattern of words that take no blank before them along."""
    from tokenizers import Regex, pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if apart is None:
        return byte_level
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(apart), behavior="isolated"), byte_level])


def _make_tokenizer(words: Sequence[str], *, apart: str | None = None) -> "PreTrainedTokenizerFast":
    """Make a tokenizer of a vocabulary: template tokens, tags, bytes, then ``words``."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*TEMPLATE_TOKENS, *TAGS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *words]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}

    tokenizer = Tokenizer(
        models.WordPiece(
            vocab=vocabulary,
            unk_token=TEMPLATE_TOKENS[0],
            continuing_subword_prefix="",
            max_input_chars_per_word=MAX_WORD,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [_cut_words(apart), pre_tokenizers.Split(Regex(f".{{1,{MAX_WORD}}}"), behavior="isolated")]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in TEMPLATE_TOKENS])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
