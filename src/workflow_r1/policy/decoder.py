"""One forward pass of a decoder of the Llama family for a ragged batch, with compiled functions between its layers' matrices.

A small model on a CPU spends more time between its matrices than in them: the modules of transformers make some forty
operations a layer. This pass makes a dozen, with the model's own modules for embedding, rotations and matrices (adapters
among them), so that it holds no weight of its own. Under autocast the sums between the layers stay in float32, as they do
in transformers, and everything that goes into a product or comes out of one has the type of autocast.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from workflow_r1.policy.compiled import Compiled
from workflow_r1.policy.ragged_attention import RaggedBatch, SlotCache, attend_ragged
from workflow_r1.policy.sharding import is_sharded

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Architectures whose layers are computed here as transformers computes them; a test compares each."""

CHECKED_TOKENS = 8
"""Tokens on which a model and its compiled pass are compared before it is used."""

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.03}
"""Largest difference of their logits, as a part of the logits' size (both Euclidean norms)."""


class CompiledDecoder:
    """The forward pass of one model."""

    def __init__(self, base: Any, compiled: Compiled, dtype: torch.dtype = torch.float32) -> None:
        """Take the model's parts; :func:`compiled_decoder` says whether they fit.

        Args:
            base: a causal language model.
            compiled: the compiled functions.
            dtype: type of what goes into products and comes out of them.
        """
        self._model, self._head, self._compiled, self._dtype = base.model, base.lm_head, compiled, dtype
        # Mistral's layers find the window in the configuration, where others may have one that they ignore.
        window = getattr(base.config, "sliding_window", None) if type(base).__name__ == "MistralForCausalLM" else None
        self._windows = [getattr(layer.self_attn, "sliding_window", window) for layer in base.model.layers]

    def __call__(self, ids: Tensor, positions: Tensor, outputs: Tensor, batch: RaggedBatch) -> Tensor:
        """Return the logits ``(outputs, vocabulary)`` at the packed tokens ``outputs``."""
        model, compiled = self._model, self._compiled
        hidden = model.embed_tokens(ids)
        cosines, sines = (each[0].contiguous() for each in model.rotary_emb(hidden[None], positions[None]))
        for index, (layer, window) in enumerate(zip(model.layers, self._windows, strict=True)):
            attention, mlp = layer.self_attn, layer.mlp
            normed = self._norm(layer.input_layernorm, hidden)
            query, key, value = (
                self._product(projection, normed).view(len(ids), -1, attention.head_dim)
                for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            if hasattr(attention, "q_norm"):
                query, key = self._norm(attention.q_norm, query.float()), self._norm(attention.k_norm, key.float())
            compiled.rotate(query, cosines, sines)
            compiled.rotate(key, cosines, sines)
            attended = attend_ragged(
                index, query, key, value, ragged=batch, scaling=attention.scaling, sliding_window=window
            )
            hidden = hidden + attention.o_proj(attended.flatten(1))
            normed = self._norm(layer.post_attention_layernorm, hidden)
            gate = self._product(mlp.gate_proj, normed)
            compiled.gated(gate, self._product(mlp.up_proj, normed))
            hidden = hidden + mlp.down_proj(gate)
        return self._head(self._norm(model.norm, hidden[outputs]))

    def _norm(self, norm: Any, x: Tensor) -> Tensor:
        return self._compiled.rms_norm(x, norm.weight, norm.variance_epsilon, self._dtype)

    def _product(self, matrix: Any, x: Tensor) -> Tensor:
        """Return the matrix's output in our type, which that of an adapter may not have."""
        output: Tensor = matrix(x)
        return output.to(self._dtype).contiguous()


def compiled_decoder(base: Any, compiled: Compiled, autocast: torch.dtype | None = None) -> CompiledDecoder | None:
    """Return the forward pass of a model, if it is one that this module computes right.

    Args:
        base: a causal language model, adapters inside it.
        compiled: the compiled functions.
        autocast: type in which its matrices compute; None is float32. The pass has to run under autocast as well.

    Returns:
        None for another architecture, type or device, and where eight tokens come out otherwise than from the model.
    """
    dtype = autocast or torch.float32
    # Autocast leaves the type of a matrix open: `cast_for_good` may have changed it.
    types = {torch.float32, dtype}
    fits = (
        type(base).__name__ in FAMILY
        and base.config.hidden_act == "silu"
        and dtype in TOLERANCES
        and not is_sharded(base)
        and all(each.dtype in types and each.device.type == "cpu" for each in base.parameters())
        and all(each.dtype == torch.float32 for each in _unmultiplied(base.model))
    )
    if not fits:
        return None
    decoder = CompiledDecoder(base, compiled, dtype)
    every = torch.arange(CHECKED_TOKENS)
    ids = every * 37 % base.get_input_embeddings().num_embeddings
    cache = SlotCache()
    cache.reserve(1, CHECKED_TOKENS)
    batch = RaggedBatch(cache, torch.zeros_like(every), every, (), compiled, num_direct=CHECKED_TOKENS)
    training = base.training
    base.eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        theirs = base(input_ids=ids[None], use_cache=False).logits[0].float()
        ours = decoder(ids, every, every, batch).float()
    base.train(training)
    return decoder if (ours - theirs).norm() <= TOLERANCES[dtype] * theirs.norm() else None


def _unmultiplied(model: Any) -> Iterator[Tensor]:
    """Yield the weights that autocast leaves alone: the embedding's and those of norms."""
    yield model.embed_tokens.weight
    for name, weight in model.named_parameters():
        if weight.ndim == 1 and "norm" in name:
            yield weight


__all__ = ["CompiledDecoder", "compiled_decoder"]
