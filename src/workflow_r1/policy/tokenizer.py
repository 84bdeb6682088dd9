"""The policy's tokenizer, loaded without torch: where torch is missing, prompts for a policy behind a server can still
be rendered.
"""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from workflow_r1.errors import UserError


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer and make sure that turns can be rendered with it.

    A missing pad token is no fault: the end-of-turn token stands in, since padding is never read.

    Args:
        source: a directory (of a run: its policy's), or a hub's name.

    Raises:
        UserError: it is missing, or has no chat template or no end-of-turn token.
    """
    if (Path(source) / "policy" / "tokenizer_config.json").is_file():
        source = str(Path(source) / "policy")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # Files from outside: a damaged tokenizer.json raises a bare Exception.
        absent = "" if Path(source).is_dir() else f" (no directory of that name lies in {Path.cwd()})"
        raise UserError(f"expected a tokenizer beside the model at {source!r}{absent}: {first_line(error)}") from None
    if not tokenizer.chat_template:
        raise UserError(
            f"expected a tokenizer with a chat template at {source!r}, found none: use an instruction-tuned model, or "
            f"put a `chat_template.jinja` beside the tokenizer"
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"expected an end-of-turn token (`eos_token`) in the tokenizer at {source!r}, found none: set it in "
            f"tokenizer_config.json to the token that ends an assistant's message"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def released_end_ids(source: str) -> frozenset[int]:
    """Return the tokens that end a turn by the ``generation_config.json`` beside a model; none where there is no such file."""
    try:
        released: Any = GenerationConfig.from_pretrained(source).eos_token_id
    except (OSError, ValueError):  # The model was released without.
        return frozenset()
    ends = released if isinstance(released, list | tuple) else [released]
    return frozenset(end for end in ends if end is not None)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type's name."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
