"""The tokenizer of the shipped policy: whole words for the world's language, one token for a year, two for a name.

Greedy longest match over a fixed vocabulary (a WordPiece model without a continuation mark, over bytes), so that every
text can be written and a name is always the same few tokens wherever it stands.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from workflow_r1.embedded.names import BEGINNINGS, ENDINGS
from workflow_r1.embedded.world import FIRST_YEAR, LAST_YEAR

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

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


def year_tokens() -> list[str]:
    """The tokens of the world's years, in order."""
    return [f"Ġ{year}" for year in range(FIRST_YEAR, LAST_YEAR + 1)]


def build_tokenizer(texts: Iterable[str], names: frozenset[str], *, min_count: int = 3) -> "PreTrainedTokenizerFast":
    """Make the tokenizer from sample texts.

    Args:
        texts: texts of the embedded world: questions, passages, demonstrations.
        names: the names in them, which are left to their pieces.
        min_count: a word enters the vocabulary if it occurs at least so often.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    counts: Counter[str] = Counter()
    for text in texts:
        for tag in TAGS:
            text = text.replace(tag, "\n")
        counts.update(piece for piece, _ in byte_level.pre_tokenize_str(text))
    space = "Ġ"
    words = sorted(
        word
        for word, count in counts.items()
        if count >= min_count and word.removeprefix(space) not in names and not word.removeprefix(space).isdigit()
    )
    pieces = [*TEMPLATE_TOKENS, *TAGS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pieces += [f"{before}{beginning}" for beginning in BEGINNINGS for before in (space, "")]
    pieces += ENDINGS
    pieces += [*year_tokens(), *(f"{number:02d}" for number in range(100))]
    pieces += words
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
        [byte_level, pre_tokenizers.Split(Regex(f".{{1,{MAX_WORD}}}"), behavior="isolated")]
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
