"""Tokenizers with the templates of three families, and random models for them.

The file is read before any test folder's own settings (``HF_HUB_OFFLINE``), so the libraries are imported where they are used.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATES = {
    "chatml": (
        ["<|pad|>", "<|im_end|>", "<|im_start|>"],
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    "llama": (
        ["<|pad|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>"],
        "{{ '<|begin_of_text|>' }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ),
    "embedded": (
        ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"],
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    ),
}
"""Special tokens (pad, end of turn, ...) and chat template."""


def make_tokenizer(family: str = "embedded", *, chat_template: str | None = None) -> "PreTrainedTokenizerFast":
    """One token per byte, one per special token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special, template = TEMPLATES[family]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special[0],
        eos_token=special[1],
        chat_template=template if chat_template is None else chat_template,
    )


def make_word_tokenizer() -> "PreTrainedTokenizerFast":
    """One token per word between spaces, so that a table of tokens can be read; ``?`` for words not seen before."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [
        "?",
        "<|user|>",
        "<|assistant|>",
        "<|end|>",
        "Question:",
        "who",
        "why",
        "<think>",
        "a",
        "b",
        "</think>",
        "<tool>",
        "Echo:",
        "x",
        "y",
        "</tool>",
    ]
    words += ["<answer>", "</answer>", "<info>", "</info>", "Echo(x)", "Echo(y)"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tags = [word for word in words if word.startswith("<") and "|" not in word]
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in tags])
    special = ["<|end|>", "<|user|>", "<|assistant|>"]
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="?",
        eos_token="<|end|>",
        chat_template=TEMPLATES["embedded"][1],
        clean_up_tokenization_spaces=False,
    )


def make_model(kind: str = "llama", *, vocab_size: int = 261, num_kv_heads: int = 2, max_length: int = 1024):
    """A random model of two layers with logits far from uniform."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        Gemma2Config,
        GPT2Config,
        LlamaConfig,
        MistralConfig,
        MixtralConfig,
        Qwen2Config,
        Qwen3Config,
    )

    shape = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": num_kv_heads,
        "head_dim": 8,
        "max_position_embeddings": max_length,
        "initializer_range": 0.4,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    configs = {
        "llama": lambda: LlamaConfig(**shape),
        "qwen2": lambda: Qwen2Config(**shape),
        "qwen3": lambda: Qwen3Config(**shape),
        "mistral": lambda: MistralConfig(**shape, sliding_window=24),
        "mixtral": lambda: MixtralConfig(**shape, num_local_experts=3),
        "gemma2": lambda: Gemma2Config(**shape, sliding_window=24, query_pre_attn_scalar=8, attn_logit_softcapping=5.0),
        "gpt2": lambda: GPT2Config(
            vocab_size=vocab_size,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=max_length,
            initializer_range=0.4,
            bos_token_id=None,
            eos_token_id=1,
        ),
    }
    torch.manual_seed(0)
    implementation = "eager" if kind == "gemma2" else "sdpa"
    return AutoModelForCausalLM.from_config(configs[kind](), attn_implementation=implementation).eval()


@pytest.fixture(params=list(TEMPLATES))
def tokenizer(request: pytest.FixtureRequest) -> "PreTrainedTokenizerFast":
    return make_tokenizer(request.param)


@pytest.fixture
def word_tokenizer() -> "PreTrainedTokenizerFast":
    return make_word_tokenizer()


@pytest.fixture
def tokenizer_of() -> "Callable[..., PreTrainedTokenizerFast]":
    return make_tokenizer


@pytest.fixture
def model_of() -> Callable:
    return make_model
