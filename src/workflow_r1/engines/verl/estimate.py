"""Memory of each GPU and work of each step for a run on verl, as arithmetic that can be checked line by line.

Estimates, not measurements: buffers, fragmentation and the inference engine's own needs come on top.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.verl.options import row_tokens, update_tokens

GIB = 2**30


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes that memory and time depend on, for a decoder with gated feed-forward layers, as Qwen2, Llama and Mistral have."""

    num_layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    tied: bool
    """True where the output layer is the embedding."""
    attention_bias: bool
    """True where queries, keys and values have a bias."""

    @classmethod
    def read(cls, config_file: Path) -> "ModelShape":
        """Read a Hugging Face ``config.json``."""
        values = json.loads(config_file.read_text("utf-8"))
        heads = values["num_attention_heads"]
        return cls(
            num_layers=values["num_hidden_layers"],
            hidden=values["hidden_size"],
            heads=heads,
            kv_heads=values.get("num_key_value_heads") or heads,
            head_size=values.get("head_dim") or values["hidden_size"] // heads,
            feed_forward=values["intermediate_size"],
            vocabulary=values["vocab_size"],
            tied=bool(values.get("tie_word_embeddings", False)),
            attention_bias=bool(values.get("attention_bias", values.get("model_type") == "qwen2")),
        )

    @property
    def parameters(self) -> int:
        """Weights of the whole model."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = self.hidden * (2 * queries + 2 * keys) + (queries + 2 * keys) * self.attention_bias
        layer = attention + 3 * self.hidden * self.feed_forward + 2 * self.hidden
        return self.num_layers * layer + self.hidden + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values of one token, in bfloat16."""
        return 2 * self.num_layers * self.kv_heads * self.head_size * 2


QWEN25_7B = ModelShape(
    num_layers=28,
    hidden=3584,
    heads=28,
    kv_heads=4,
    head_size=128,
    feed_forward=18944,
    vocabulary=152064,
    tied=False,
    attention_bias=True,
)
"""Qwen2.5-7B-Instruct, by its ``config.json``."""


def estimate(config: RunConfig, shape: ModelShape, *, gpu_gib: float = 80.0) -> list[str]:
    """Estimate the needs of a run, one line of arithmetic for each part.

    Args:
        config: configuration of the run; ``verl`` holds the number of GPUs.
        shape: shape of the policy.
        gpu_gib: memory of one GPU.
    """
    settings, n = config.verl, shape.parameters / 1e9
    gpus = settings.num_nodes * settings.gpus_per_node
    gib = 1e9 / GIB

    states = 16 * n * gib / gpus
    reference = (2 if config.optimiser.precision == "bfloat16" else 4) * n * gib / gpus
    tokens = update_tokens(config.optimiser, config.environment)
    layers = tokens * shape.hidden * 2 * shape.num_layers / GIB
    logits = tokens * shape.vocabulary * 10 / GIB
    weights = 2 * n * gib / settings.tensor_parallel
    cache = settings.gpu_memory * gpu_gib - weights
    per_token = shape.cache_bytes_per_token / settings.tensor_parallel
    row = row_tokens(config.environment)
    held = cache * GIB / (per_token * row)
    lines = [
        f"parameters: {n:.2f}e9",
        f"GPUs: {settings.num_nodes} x {settings.gpus_per_node} = {gpus}, of {gpu_gib:.0f} GiB",
        f"update, weights + gradients + Adam in float32: 16 B x {n:.2f}e9 / {gpus} = {states:.1f} GiB a GPU",
        f"update, activations kept for {tokens} tokens: {tokens} x {shape.hidden} x 2 B x {shape.num_layers} = "
        f"{layers:.1f} GiB",
        f"update, logits of {tokens} tokens, bfloat16 and float32 with its gradient: {tokens} x {shape.vocabulary} x 10 B = "
        f"{logits:.1f} GiB",
        f"update, in all: {states:.1f} + {layers:.1f} + {logits:.1f} = {states + layers + logits:.1f} GiB of "
        f"{gpu_gib:.0f}",
        f"rollout, weights in bfloat16: 2 B x {n:.2f}e9 / {settings.tensor_parallel} = {weights:.1f} GiB a GPU",
        f"rollout, cache: {settings.gpu_memory} x {gpu_gib:.0f} - {weights:.1f} = {cache:.1f} GiB, at "
        f"{per_token / 1024:.0f} KiB a token {held:.0f} trajectories of {row} tokens",
    ]
    if config.objective.kl_coefficient > 0:
        lines.append(f"reference policy: {reference:.1f} GiB a GPU{' (offloaded)' if settings.offload else ''}")
    if settings.offload:
        host = (12 * n * gib + reference * gpus) / settings.num_nodes
        lines.append(f"host memory for the offloaded parts: {host:.0f} GiB a node")
    else:
        resident = 12 * n * gib / gpus + (reference if config.objective.kl_coefficient > 0 else 0.0)
        total = resident + settings.gpu_memory * gpu_gib
        lines.append(
            f"rollout, beside weights and Adam that stay: {resident:.1f} + {settings.gpu_memory} x {gpu_gib:.0f} = "
            f"{total:.1f} GiB of {gpu_gib:.0f}"
        )
    # Forward 1 and backward 2, the forward again where activations are recomputed, old and reference log-probabilities.
    passes = 3 + config.optimiser.gradient_checkpointing + 1 + (config.objective.kl_coefficient > 0)
    work = passes * 2 * n / 1000
    trajectories = config.training.questions_per_step * config.training.group_size
    lines += [
        f"work of a step after the rollouts: {passes} forward passes' worth x 2 x {n:.2f}e9 = {work:.3f} TFLOP a token",
        f"time of it: {work:.3f} x {trajectories} trajectories x their mean tokens / "
        f"({gpus} GPUs x work of each in a second)",
    ]
    return lines


def count_parameters(model: Path) -> int:
    """Count the parameters of a model directory by the headers of its files; 0 for a name on the hub."""
    from safetensors import safe_open

    total = 0
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118  It is not a mapping.
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                total += size
    return total
