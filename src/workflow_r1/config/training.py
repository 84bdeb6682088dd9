"""Settings of training; the defaults are the paper's (arXiv:2602.01202) unless the field says otherwise."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from workflow_r1.trajectory.records import Record

PRESET_SWITCHES: Mapping[str, Mapping[str, str]] = {
    "gsspo": {},
    "gspo": {},
    "grpo": {},
    "dapo": {"weight": "batch"},
    "dr_grpo": {"weight": "constant", "advantage": "group_centred"},
    "sapo": {"clip": "sapo"},
    "cispo": {"weight": "batch", "clip": "cispo"},
    "luspo": {"weight": "constant"},
    "rloo": {"weight": "constant", "clip": "none", "advantage": "leave_one_out"},
    "reinforce": {"weight": "constant", "clip": "none", "advantage": "reward"},
}
"""Switches of the presets on which it depends what other keys have an effect; the presets themselves are in
``algorithms/presets.py``, which needs torch. What a preset does not name here is :data:`USUAL_SWITCHES`'."""

USUAL_SWITCHES: Mapping[str, str] = {"weight": "uniform", "clip": "fixed", "advantage": "group_normalised"}
"""Values of the same switches in the other presets."""

ON_POLICY_PRESETS = ("rloo", "reinforce")
"""Presets that are what their papers are only where each batch makes one optimiser step."""


class ObjectiveConfig(Record):
    """The objective over units: ``docs/explanation/objective.md``, and every published variant as a row of switches in
    ``docs/explanation/algorithms.md``.
    """

    preset: Literal["gsspo", "gspo", "grpo", "dapo", "dr_grpo", "sapo", "cispo", "luspo", "rloo", "reinforce"] = "gsspo"
    """Sets the fields up to ``advantage``, which override it one by one. ``rloo`` and ``reinforce`` are on-policy: a step must
    make one optimiser step."""
    unit: Literal["token", "turn", "sequence", "think_action"] | None = None
    """Unit of the importance ratio. ``think_action``: the think and the action of a turn, each a unit of its own; in the
    native engine alone."""
    weight: Literal["uniform", "length", "batch", "constant"] | None = None
    """Weight of a unit. ``constant``: its tokens over ``weight_length``, so that no token counts less in a long trajectory."""
    weight_length: float | None = Field(default=None, gt=0.0)
    """Tokens that the weight ``constant`` divides by. 1 in the presets ``luspo``, ``rloo`` and ``reinforce``; elsewhere
    ``environment.max_response_tokens``, as in Dr. GRPO."""
    clip: Literal["fixed", "matched", "none", "sapo", "cispo"] | None = None
    """Bound on a unit's term. ``fixed``: the range as it stands; ``matched``: the range as wide as it must be to remove
    ``clip_share`` of the gradient's mass, in the native engine alone; ``none``; ``sapo``: a soft gate; ``cispo``: a bounded
    weight, whose unit never loses its gradient."""
    clip_low: float | None = Field(default=None, ge=0.0)
    """The ratio is clipped below ``1 - clip_low``."""
    clip_high: float | None = Field(default=None, ge=0.0)
    """The ratio is clipped above ``1 + clip_high``."""
    clip_reference_length: float | None = Field(default=None, gt=0.0)
    """If set, both clip ranges of a unit of L tokens are scaled by ``sqrt(clip_reference_length / L)``: FSPO's square-root
    band (arXiv:2509.09177)."""
    clip_share: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Share of the gradient's mass that the clip ``matched`` removes; 0.05 unless said otherwise. The range is adapted
    between steps, from ``clip_low`` and ``clip_high`` in the first one; the proportion of the two stays."""
    dual_clip: float | None = Field(default=None, gt=1.0)
    """If set, a second bound for negative advantages: none has a gradient at a ratio above it (arXiv:1912.09729; verl's
    ``vanilla`` has 3)."""
    sapo_temperature_positive: float | None = Field(default=None, gt=0.0)
    """Temperature of the clip ``sapo`` at positive advantages. Paper: 1."""
    sapo_temperature_negative: float | None = Field(default=None, gt=0.0)
    """Temperature of the clip ``sapo`` at other advantages. Paper: 1.05."""
    advantage: Literal["group_normalised", "group_centred", "leave_one_out", "reward"] | None = None
    """Conversion of a group's rewards to advantages. ``reward``: the reward itself, compared with nothing."""
    credit: Literal["outcome", "return_to_go", "anchor_state"] = "outcome"
    """Credit of a turn. ``outcome``: that of its trajectory. An experiment, in the native engine alone: ``return_to_go``
    compares what is still to come at each turn, and ``anchor_state`` does so, where it can, among the trajectories of the
    group that saw the same observation just before (GiGPO's step groups, arXiv:2505.10978)."""
    kl_coefficient: float = Field(default=1e-3, ge=0.0)
    """Weight of the KL to the reference policy in the loss; 0 needs no reference policy."""
    kl_kind: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of the KL."""
    correction_cap: float | None = Field(default=None, gt=0.0)
    """Units are weighted by the truncated per-turn correction between sampler and trainer, at most this. None leaves it off,
    but where a policy server samples (``sampling.server``), or weights that are behind (``training.staleness``), it is
    2.0."""
    trust_region: Literal["current", "sampler"] = "current"
    """Policy that the ratio and its clip are measured from. ``current``: the one before the step, and what was sampled by
    another is weighted by the correction (decoupled PPO, Hilton et al., arXiv:2110.00641; AReaL, arXiv:2505.24298).
    ``sampler``: the one that sampled, by its own log-probabilities (PPO on stale data)."""

    @property
    def has_clip(self) -> bool:
        """True where ratios are clipped to a range; ``none`` and the soft gate of ``sapo`` have no range."""
        return self.in_effect("clip") not in ("none", "sapo")

    def in_effect(self, switch: str) -> Any:
        """Return the value of ``weight``, ``clip`` or ``advantage``: its own, or else the preset's."""
        given = getattr(self, switch)
        return PRESET_SWITCHES[self.preset].get(switch, USUAL_SWITCHES[switch]) if given is None else given

    def switches(self, *, max_response_tokens: int) -> dict[str, Any]:
        """Return the switches that replace the preset's, by the names of ``ObjectivePreset``.

        Args:
            max_response_tokens: budget of a response, ``environment.max_response_tokens``.
        """
        given = {name: getattr(self, name) for name in _SWITCHES if getattr(self, name) is not None}
        if self.in_effect("weight") == "constant" and self.preset not in ("luspo", *ON_POLICY_PRESETS):
            given.setdefault("weight_length", float(max_response_tokens))
        return given


_SWITCHES = tuple(ObjectiveConfig.model_fields)[1 : 1 + tuple(ObjectiveConfig.model_fields).index("advantage")]
"""Fields that a preset sets."""


class LoraSettings(Record):
    """Train low-rank adapters instead of all weights (peft)."""

    rank: int = Field(default=16, ge=1)
    """Rank of the adapters."""
    alpha: float = Field(default=32.0, gt=0.0)
    """Scale: the update is multiplied by ``alpha / rank``."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapters; above 0 the trainer's log-probabilities differ from the sampler's."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Modules that get adapters."""
    base_precision: Literal["float32", "bfloat16"] = "float32"
    """Type in which the frozen matrices and the embedding are kept, which ``precision = "bfloat16"`` computes with anyway.
    ``bfloat16`` halves their memory; it rounds those of a model that was saved in float32."""


class OptimiserConfig(Record):
    """AdamW and how a batch is cut up."""

    learning_rate: float = Field(default=1e-6, gt=0.0)
    """Peak learning rate."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps of linear warm-up."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's moments."""
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are scaled down to this norm."""
    micro_batch_tokens: int | None = Field(default=None, ge=1)
    """Most tokens, padding included, in one forward pass; cannot change the numbers beyond rounding.
    None is 2,048 on a CPU (small passes stay in its cache, and cutting finer pads less) and 16,384 on a GPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16``: autocast over float32 master weights. A CPU without instructions for bfloat16 is many times slower with it,
    which `workflow-r1 doctor` and the start of a run say."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    lora: LoraSettings | None = None
    """None trains all weights."""
    sharding: Literal["none", "full"] = "none"
    """Distribution of the policy over several processes. ``none``: each holds the whole policy and optimiser. ``full``:
    weights, gradients and optimiser state are spread over them (FSDP2), and each holds the weights alone as a whole
    while it samples."""

    @model_validator(mode="after")
    def _frozen_weights_are_computed_with_as_they_are_kept(self) -> "OptimiserConfig":
        if self.lora is not None and self.lora.base_precision == "bfloat16":
            if self.precision != "bfloat16":
                raise ValueError('lora.base_precision = "bfloat16" to come with precision = "bfloat16"')
            if self.sharding == "full":
                raise ValueError(
                    'lora.base_precision = "bfloat16" to come without sharding, which wants one type of weights'
                )
        return self


class TrainingConfig(Record):
    """The reinforcement learning loop."""

    steps: int = Field(default=38, ge=1)
    """Rollout-and-update steps. Paper: 38."""
    questions_per_step: int = Field(default=512, ge=1)
    """Groups in one step."""
    group_size: int = Field(default=8, ge=2)
    """Trajectories of one question (G)."""
    mini_batch_questions: int = Field(default=128, ge=1)
    """Groups per optimiser step; a step makes ``ceil(questions_per_step / mini_batch_questions)`` of them in each epoch."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the trajectories of a step; above 1, the ratio to the policy before the step is no longer 1 anywhere but
    in the first pass."""
    staleness: int = Field(default=0, ge=0)
    """Most steps by which the weights that begin a trajectory may be behind those that learn from it. 0 samples and updates
    in turn: ``docs/how-to/asynchronous.md``."""
    overlap: bool = True
    """With a ``staleness``, trajectories are sampled while others are learned from, and are as fresh as they can be. Off,
    rollouts and updates alternate, and every trajectory is exactly ``staleness`` steps behind: a dose for studies, which
    saves no time and resumes exactly."""
    dynamic_sampling: int = Field(default=0, ge=0)
    """Most further rounds in which a step asks other questions in place of the groups whose rewards are all equal, which teach
    nothing (DAPO, arXiv:2503.14476, section 3.2). With any, those groups are not learned from; where they are still missing
    after the last round, the step learns from fewer."""
    checkpoint_every: int = Field(default=10, ge=1)
    """Steps between checkpoints; there is always one at the end."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Older ones are deleted."""
    evaluate_every: int = Field(default=0, ge=0)
    """Steps between greedy evaluations; 0 evaluates before the first and after the last step only."""
    evaluation_questions: int = Field(default=400, ge=0)
    """Held-out questions of each evaluation; 0 never evaluates."""
    evaluation_samples: int = Field(default=0, ge=0)
    """Trajectories of each held-out question that every evaluation samples at ``sampling.temperature``, beside the greedy
    one. Greedy answers change all at once, where a probability passes one half; sampled ones show what was learnt before."""
    stop_after_failures: int = Field(default=32, ge=1)
    """Trajectories that a service failed, one after the other, after which the run stops itself and can be resumed."""
    peer_timeout_minutes: float = Field(default=30.0, gt=0.0)
    """Longest wait of a process for another one, in a run of several processes, before the run ends."""


class NewPolicyConfig(Record):
    """Size of a small policy that is made from nothing: a Llama with tied embeddings and a tokenizer of its own."""

    hidden_size: int = Field(default=192, ge=2)
    """Width of the hidden state; a multiple of twice ``num_heads``."""
    num_layers: int = Field(default=2, ge=1)
    """Layers. With two of them and six heads the untrained policy can already copy."""
    num_heads: int = Field(default=6, ge=1)
    """Attention heads of a layer."""
    intermediate_size: int = Field(default=256, ge=1)
    """Width of a layer's feed-forward block."""

    @model_validator(mode="after")
    def _heads_have_pairs(self) -> "NewPolicyConfig":
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size ({self.hidden_size}) to be a multiple of twice num_heads ({2 * self.num_heads})"
            )
        return self


class WarmstartConfig(Record):
    """Supervised training on demonstrations, before reinforcement learning."""

    demonstrations: str | None = None
    """JSONL of trajectories; None makes them with the task's own demonstrator (the embedded world has some)."""
    new_policy: NewPolicyConfig | None = None
    """If set, the warm start makes a small policy and its tokenizer from the words of the demonstrations, and does not
    start from ``policy.model``. Such a policy knows one task, on a CPU, in minutes."""
    num_demonstrations: int = Field(default=20000, ge=1)
    """Number of demonstrations to make, where they are made."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the demonstrations."""
    batch_tokens: int = Field(default=16384, ge=1)
    """Tokens per optimiser step."""
    learning_rate: float = Field(default=1e-4, gt=0.0)
    """Peak learning rate."""
    observation_loss: float = Field(default=0.0, ge=0.0)
    """Weight of the loss on prompt and observation tokens (0: the policy's tokens only)."""
    warmup_fraction: float = Field(default=0.03, ge=0.0, lt=1.0)
    """Part of the optimiser steps in which the learning rate rises."""
    final_learning_rate_fraction: float = Field(default=0.1, ge=0.0, le=1.0)
    """Learning rate of the last step as a part of the peak; a cosine leads there."""
    held_out_fraction: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Part of the demonstrations that is scored and never trained on."""
    score_every: int = Field(default=200, ge=0)
    """Optimiser steps between scores of the held-out demonstrations; 0 scores after the last step only."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Optimiser steps between checkpoints; there is always one at the end."""
