"""A small policy from nothing: a tokenizer for a task's texts, and an untrained Llama that can already copy.

The warm start makes one where ``warmstart.new_policy`` is set, and teaches it from the demonstrations whose words its
tokenizer has. The policy that ships with the package was made of the same model (``embedded_policy.py``).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from workflow_r1.config.training import NewPolicyConfig
from workflow_r1.embedded.tokenizer import build_task_tokenizer, number_tokens
from workflow_r1.trajectory import Trajectory

ROPE_THETA = 1e5
"""Base of the rotary frequencies."""


def make_new_policy(
    demonstrations: Iterable[Trajectory], size: NewPolicyConfig, *, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Make an untrained policy whose tokenizer knows the words of demonstrations.

    Args:
        demonstrations: trajectories of a task, with their text.
        size: size of the model.
        seed: seed of its weights.
    """
    tokenizer = build_task_tokenizer(texts_of(demonstrations))
    return new_model(tokenizer, size, ordered=number_tokens(tokenizer), seed=seed), tokenizer


def new_model(
    tokenizer: PreTrainedTokenizerBase, size: NewPolicyConfig, *, ordered: Sequence[int], seed: int
) -> PreTrainedModel:
    """Make an untrained model with induction heads, where it is large enough for them.

    Args:
        tokenizer: its tokenizer.
        size: its size.
        ordered: ids of tokens that have an order, in that order.
        seed: seed of its weights.
    """
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.hidden_size,
            intermediate_size=size.intermediate_size,
            num_hidden_layers=size.num_layers,
            num_attention_heads=size.num_heads,
            num_key_value_heads=size.num_heads,
            max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
            tie_word_embeddings=True,
            initializer_range=0.04,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    if size.num_layers >= 2 and size.num_heads >= 6:  # a smaller one has no room for these heads
        _initialise_induction(model, ordered, ROPE_THETA)
    return model


def texts_of(trajectories: Iterable[Trajectory]) -> list[str]:
    """Return all texts of trajectories: the messages of the prompt, turns and observations."""
    texts = []
    for trajectory in trajectories:
        texts += [message.content for message in trajectory.prompt]
        for turn in trajectory.turns:
            texts += [turn.text, turn.observation]
    return texts


@torch.no_grad()
def _initialise_induction(model: Any, ordered: Sequence[int], rope_theta: float) -> None:
    """Let an untrained model copy: the token after the last occurrence of this token is likely to follow again.

    Layer 0 gets two previous-token heads, layer 1 four induction heads (Olsson et al., arXiv:2209.11895). From random
    weights a model this small found shortcuts instead of the match, and misread names (docs/dev/log.md).

    The hidden state is divided: dimension 0 is the same constant for every token, so that a head can attend by distance
    alone; dimension 1 says how late an ordered token (a year, a number) comes; then comes the token's identity; the last ``2 * head_dim`` hold the
    token before it, its dimension 1 first. The order of two neighbours is therefore a difference of two
    numbers; from random embeddings a model had to learn their order pair by pair, and did not.

    Args:
        model: untrained; changed in place.
        ordered: ids of tokens that have an order, e.g. those of years, in that order; may be empty.
        rope_theta: base of the rotary frequencies.
    """
    layers, embedding = model.model.layers, model.get_input_embeddings().weight
    for layer in layers:  # every other block starts silent, or its noise would drown these heads
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    config = model.config
    hidden, heads = config.hidden_size, config.num_attention_heads
    dim, half = hidden // heads, hidden // heads // 2
    before = slice(hidden - 2 * dim, hidden)
    turns = rope_theta ** (-torch.arange(half) / half)
    constant, spread = 0.5, config.initializer_range
    embedding[:, 0] = constant
    embedding[:, 1] = 0.0
    embedding[ordered, 1] = 0.8 * torch.linspace(-1, 1, len(ordered))
    # Tokens of one length: the norm in front of attention would give a longer one a smaller constant, and the heads that
    # attend by distance would pass it over.
    what = embedding[:, 2 : before.start]
    what *= ((1 - embedding[:, 1:2] ** 2) ** 0.5) / what.norm(dim=1, keepdim=True).clamp(min=1e-9)  # padding is 0
    embedding[:, 1 : before.start] *= spread * (before.start - 1) ** 0.5
    embedding[:, before] = 0.0
    scale = (hidden / (constant**2 + (before.start - 1) * spread**2)) ** 0.5  # of the norm in front of attention
    project = torch.zeros(2 * dim, hidden)
    project[0, 1] = 1.0
    project[1:, 2 : before.start] = torch.linalg.qr(torch.randn(before.start - 2, 2 * dim - 1)).Q.T

    attention = layers[0].self_attn
    for head in range(2):
        rows = slice(head * dim, (head + 1) * dim)
        attention.q_proj.weight[rows] = 0.0
        attention.k_proj.weight[rows] = 0.0
        # Scores are a sum of cosines of (distance - 1) over the rotary frequencies: largest one token back.
        attention.q_proj.weight[rows, 0] = torch.cat([torch.ones(half), torch.zeros(half)]) * 7.0 / (scale * constant)
        attention.k_proj.weight[rows, 0] = torch.cat([turns.cos(), turns.sin()]) * 7.0 / (scale * constant)
        attention.v_proj.weight[rows] = project[rows]
        attention.o_proj.weight[:, rows] = 0.0
        attention.o_proj.weight[before.start + head * dim : before.start + (head + 1) * dim, rows] = (
            torch.eye(dim) / scale
        )

    attention = layers[1].self_attn
    slow = torch.arange(half)[turns < 0.02]  # pairs that hardly turn within a context: they compare contents
    slow = torch.cat([slow, slow + half])
    for head in range(4):
        rows = slice(head * dim, (head + 1) * dim)
        mix = torch.zeros(dim, 2 * dim)
        mix[slow] = torch.linalg.qr(torch.randn(2 * dim, len(slow))).Q.T * 2.2
        attention.q_proj.weight[rows] = mix @ project
        attention.k_proj.weight[rows] = 0.0
        attention.k_proj.weight[rows, before] = mix
        taken = slice(1 + head * dim, min(1 + (head + 1) * dim, before.start))
        width = taken.stop - taken.start
        attention.v_proj.weight[rows] = 0.0
        attention.v_proj.weight[head * dim : head * dim + width, taken] = torch.eye(width)
        attention.o_proj.weight[:, rows] = 0.0
        attention.o_proj.weight[taken, head * dim : head * dim + width] = torch.eye(width) * 3.0 / scale
