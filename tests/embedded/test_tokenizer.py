"""The small tokenizer: lossless, two tokens a name, tags and template tokens of their own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")

from workflow_r1.embedded import EmbeddedWorld
from workflow_r1.embedded.tokenizer import MAX_WORD, TAGS, TEMPLATE_TOKENS, build_tokenizer

WORLD = EmbeddedWorld(9)
TOKENIZER = build_tokenizer(
    [passage.text for passage in WORLD.passages] * 3,
    frozenset(WORLD.entities),
)


def encode(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_survives(text: str) -> None:
    if not any(token in text for token in TEMPLATE_TOKENS):
        assert TOKENIZER.decode(encode(text), skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ["a" * 100_000, "<" * 10_000, "é" * 10_000, " " * 10_000, f"<think>{'x' * MAX_WORD}y"])
def test_long_runs_survive_in_linear_time(text: str) -> None:
    assert TOKENIZER.decode(encode(text)) == text


def test_a_name_is_two_tokens_wherever_it_stands() -> None:
    for name in list(WORLD.entities)[::50]:
        assert len(encode(f" {name}")) == len(encode(name)) == 2, name


def test_tags_are_single_tokens_and_template_tokens_cannot_be_written_as_plain_text() -> None:
    assert all(len(encode(tag)) == 1 for tag in TAGS)
    plain = TOKENIZER("<|end|>", add_special_tokens=False, split_special_tokens=True).input_ids
    assert TOKENIZER.eos_token_id not in plain


def test_a_conversation_is_rendered_with_an_opening_for_the_policy() -> None:
    text = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "Question: Who?"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|user|>Question: Who?<|end|><|assistant|>"
