"""Turns the scored groups of a step into a new policy: old log-probabilities, objective, gradient, optimiser step.

Cutting a mini-batch into micro-batches cannot change a number beyond rounding: every mean in the loss is divided by the
counts of the *whole* mini-batch. Metrics are computed once per mini-batch, from the log-probabilities of its
micro-batches.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workflow_r1.algorithms import (
    ObjectivePreset,
    advantages,
    kl_estimate,
    kl_loss,
    policy_loss,
    resolve_preset,
    turn_correction,
    turn_metrics,
    unit_ids,
)
from workflow_r1.config.training import ObjectiveConfig, OptimiserConfig
from workflow_r1.engines.native.batching import Pass, micro_batch_tokens, passes
from workflow_r1.engines.native.optimiser import linear_warmup, set_learning_rate
from workflow_r1.policy.distributed import Ranks
from workflow_r1.policy.forward import token_scores
from workflow_r1.policy.model import has_adapters
from workflow_r1.policy.packing import PackedBatch, pack
from workflow_r1.policy.sharding import full, is_sharded
from workflow_r1.recording.metrics import Metrics, combine_mini_batches
from workflow_r1.trajectory import ScoredTrajectory, Trajectory


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """Rows of one optimiser step that carry a gradient, and the counts of all rows."""

    batch: PackedBatch
    """The trajectories that are run through the model, on its device."""
    advantages: Float[Tensor, " batch"]
    """One per row."""
    num_trajectories: int
    """Trajectories of the mini-batch that were scored, those left out of ``batch`` included."""
    num_units: int
    """Their units."""
    num_zero_advantage: int
    """Trajectories left out of ``batch`` because they cannot move the policy."""


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """Effect of the optimiser steps of one step of training."""

    metrics: Metrics
    """Keys ``update/...``."""
    num_optimiser_steps: int
    """Optimiser steps that were taken."""
    num_tokens: int
    """Tokens, padding left out, that went through forward and backward."""
    warnings: tuple[str, ...] = ()
    """Warnings for a person."""


DEFAULT_CORRECTION_CAP = 2.0
"""``objective.correction_cap`` where a server or weights that are behind sample, and none is given; verl's default."""


@dataclass(slots=True)
class _Gradient:
    """Results of a pass over the micro-batches of a mini-batch, besides the gradient."""

    loss: float
    kl_loss: float
    logprobs: Float[Tensor, "batch time"]
    entropy: Float[Tensor, "batch time"]
    metrics: dict[str, float] = field(default_factory=dict)


class PolicyUpdate:
    """Updates one model; holds the reference policy where the objective has a KL.

    With adapters the reference policy is the model with its adapters disabled. Otherwise it is a frozen copy of the
    model as it is when the ``PolicyUpdate`` is made: make it before a checkpoint is loaded.

    Args:
        model: the policy.
        optimiser: over its trainable parameters.
        pad_token_id: fills the end of rows.
        objective: the loss; see :func:`with_correction` where another policy samples.
        settings: learning rate, gradient norm, precision and micro-batches of the optimiser.
        temperature: temperature of the sampling.
        mini_batch_questions: groups that make one optimiser step.
        epochs: passes over the groups of a step.
        reference: the frozen copy, where the caller had to make it first (of a model that is sharded since).
        ranks: the processes that share the rows; each must be given the same groups.
    """

    def __init__(
        self,
        model: Any,
        optimiser: torch.optim.Optimizer,
        pad_token_id: int,
        *,
        objective: ObjectiveConfig,
        settings: OptimiserConfig,
        temperature: float,
        mini_batch_questions: int,
        epochs: int = 1,
        reference: nn.Module | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._model = model
        self._optimiser = optimiser
        self._pad_token_id = pad_token_id
        self._objective = objective
        self._switches = resolve_objective(objective)
        self._settings = settings
        self._temperature = temperature
        self._mini_batch_questions = mini_batch_questions
        self._epochs = epochs
        self._device = next(model.parameters()).device
        self._micro_batch_tokens = micro_batch_tokens(settings.micro_batch_tokens, self._device)
        self._reference = reference or reference_copy(model, objective)
        self._ranks = ranks or Ranks()
        self._is_sharded = is_sharded(model)

    def step(self, groups: Sequence[Sequence[Trajectory]], *, policy_version: int) -> UpdateResult:
        """Make one optimiser step per mini-batch of groups, and epoch.

        Infrastructure failures (plain ``Trajectory``) enter neither the statistics of their group nor the loss. A
        mini-batch in which no trajectory has an advantage makes no optimiser step: there is nothing to learn, and
        momentum alone would move the policy.

        The ratio is that to one old policy in all optimiser steps, by ``objective.trust_region``. Where it is the policy
        before the first of them, its log-probabilities are recomputed by this engine then. Only the first mini-batch of
        a single epoch needs none: there they equal the current ones, so those stand in, and the ratio is 1.

        Args:
            groups: scored trajectories, one list per question.
            policy_version: optimiser steps taken before; the learning rate's warm-up counts from it.
        """
        mini_batches = self.mini_batches(groups)
        # Deviation: a mini-batch without any gradient makes no optimiser step; in the release's engine momentum makes one.
        learning = [mini_batch for mini_batch in mini_batches if mini_batch.batch.num_rows > 0]
        old = [self._old_logprobs(m.batch, is_first=index == 0) for index, m in enumerate(learning)]
        references = [self._reference_logprobs(mini_batch.batch) for mini_batch in learning]
        parts, num_steps, num_tokens, warnings = [], 0, 0, []
        for mini_batch, old_logprobs, ref_logprobs in self._epochs * list(zip(learning, old, references, strict=True)):
            learning_rate = linear_warmup(
                policy_version + num_steps + 1,
                peak=self._settings.learning_rate,
                warmup_steps=self._settings.warmup_steps,
            )
            set_learning_rate(self._optimiser, learning_rate)
            self._optimiser.zero_grad(set_to_none=True)
            gradient = self.accumulate_gradient(mini_batch, old_logprobs, ref_logprobs)
            norm = full(torch.nn.utils.clip_grad_norm_(self._trainable(), self._settings.max_grad_norm)).item()
            if norm == norm and norm != float("inf"):
                self._optimiser.step()
                num_steps += 1
            else:
                warnings.append(f"the gradient's norm is {norm}: the optimiser step was left out")
            num_tokens += int(mini_batch.batch.attention_mask.sum())
            parts.append((gradient, norm, learning_rate))
        self._optimiser.zero_grad(set_to_none=True)
        num_failed = sum(not isinstance(trajectory, ScoredTrajectory) for group in groups for trajectory in group)
        return UpdateResult(
            metrics={
                "update/loss": _mean([gradient.loss for gradient, _, _ in parts]),
                "update/kl_loss": _mean([gradient.kl_loss for gradient, _, _ in parts]),
                "update/grad_norm": _mean([norm for _, norm, _ in parts]),
                "update/learning_rate": _mean([learning_rate for _, _, learning_rate in parts]),
                "update/num_optimiser_steps": num_steps,
                "update/num_failed": num_failed,
                "update/num_zero_advantage": sum(mini_batch.num_zero_advantage for mini_batch in mini_batches),
                "update/num_rows_trained": sum(mini_batch.batch.num_rows for mini_batch in learning),
                **{
                    f"update/{name}": value
                    for name, value in combine_mini_batches([gradient.metrics for gradient, _, _ in parts]).items()
                },
            },
            num_optimiser_steps=num_steps,
            num_tokens=num_tokens,
            warnings=tuple(warnings),
        )

    def sampler_differences(
        self, trajectories: Sequence[Trajectory], *, temperature: float | None = None
    ) -> list[list[float]]:
        """Return log p_sampler - log p_trainer, in nats, of the tokens of each turn of the scored trajectories.

        Every process must be given the same ones. Nothing is learnt from them, and no gradient is left behind.

        Args:
            trajectories: some trajectories of a step, before its update.
            temperature: temperature of the trainer's distribution; None is the one that is trained.
        """
        scored = [trajectory for trajectory in trajectories if isinstance(trajectory, ScoredTrajectory)]
        if not scored:
            return []
        batch = self._pack(scored)
        trained, self._temperature = self._temperature, temperature or self._temperature
        try:
            differences = batch.sampler_logprobs - self.logprobs(batch)
        finally:
            self._temperature = trained
        return [
            row[turn_ids == turn].tolist()
            for row, turn_ids in zip(differences, batch.turn_ids, strict=True)
            for turn in range(1, int(turn_ids.max()) + 1)
        ]

    def mini_batches(self, groups: Sequence[Sequence[Trajectory]]) -> list[MiniBatch]:
        """Give trajectories their advantages and cut the groups into mini-batches; empty ones are left out."""
        size = self._mini_batch_questions
        cut = []
        for start in range(0, len(groups), size):
            rows = _with_advantages(groups[start : start + size], self._objective)
            if not rows:
                continue
            # Without a KL, a trajectory whose advantage is 0 has a gradient of 0: only its count matters. So it is with one
            # whose prompt alone filled the context: it has no tokens of the policy's.
            kept = [row for row in rows if row[0].turns and (row[1] != 0.0 or self._objective.kl_coefficient > 0)]
            cut.append(
                MiniBatch(
                    batch=self._pack([trajectory for trajectory, _ in kept]),
                    advantages=torch.tensor([advantage for _, advantage in kept], device=self._device),
                    num_trajectories=len(rows),
                    num_units=sum(_num_units(trajectory, self._switches.unit) for trajectory, _ in rows),
                    num_zero_advantage=len(rows) - len(kept),
                )
            )
        return cut

    def accumulate_gradient(
        self,
        mini_batch: MiniBatch,
        old_logprobs: Float[Tensor, "batch time"] | None = None,
        ref_logprobs: Float[Tensor, "batch time"] | None = None,
    ) -> _Gradient:
        """Add the gradient of the mini-batch's loss to the parameters' ``grad``, one micro-batch at a time.

        Of several processes each runs its own rows; the result and the gradient are those of all rows.

        Args:
            mini_batch: a mini-batch with at least one row.
            old_logprobs: log-probabilities under the policy that sampled; None where that is the current one.
            ref_logprobs: log-probabilities under the reference policy; None where the objective has no KL.
        """
        batch, switches, coefficient = mini_batch.batch, self._switches, self._objective.kl_coefficient
        counts = {
            "num_trajectories": float(mini_batch.num_trajectories),
            "num_units": float(mini_batch.num_units),
        }
        logprobs = torch.zeros_like(batch.sampler_logprobs)
        entropy = torch.zeros_like(logprobs)
        loss, kl = 0.0, 0.0
        self._model.train()
        for one in self._passes(batch):
            indices = one.indices
            rows = batch.rows(indices)
            width = rows.input_ids.shape[1]
            scores = self._scores(rows, statistics=True)
            current = scores.logprobs.detach()
            old = current if old_logprobs is None else old_logprobs[indices, :width]
            units = unit_ids(rows.turn_ids, switches.unit)
            part = policy_loss(
                logprobs=scores.logprobs,
                old_logprobs=old,
                advantages=mini_batch.advantages[indices],
                unit_ids=units,
                clip_low=switches.clip_low,
                clip_high=switches.clip_high,
                weight=switches.weight,
                clip_reference_length=self._objective.clip_reference_length,
                unit_correction=self._correction(rows, old),
                **counts,
            ).loss
            if ref_logprobs is not None:
                part_kl = kl_loss(
                    logprobs=scores.logprobs,
                    ref_logprobs=ref_logprobs[indices, :width],
                    unit_ids=units,
                    kind=self._objective.kl_kind,
                    weight=switches.weight,
                    **counts,
                )
                kl += 0.0 if one.is_padding else part_kl.item()
                part = part + coefficient * part_kl
            (part * self._gradient_scale(one)).backward()
            if one.is_padding:
                continue
            loss += part.item()
            logprobs[indices, :width] = current
            entropy[indices, :width] = scores.entropy
        self._model.eval()
        loss, kl = self._add_up(loss, kl, logprobs, entropy)
        gradient = _Gradient(loss, kl, logprobs, entropy)
        gradient.metrics = self._metrics(mini_batch, gradient, old_logprobs, ref_logprobs)
        return gradient

    def logprobs(self, batch: PackedBatch) -> Float[Tensor, "batch time"]:
        """Return the policy's log-probabilities of its tokens, without gradient; 0 elsewhere."""
        logprobs = torch.zeros_like(batch.sampler_logprobs)
        with torch.no_grad():
            for one in self._passes(batch):
                rows = batch.rows(one.indices)
                scores = self._scores(rows)
                if not one.is_padding:
                    logprobs[one.indices, : rows.input_ids.shape[1]] = scores.logprobs
        self._ranks.add_([logprobs])
        return logprobs

    def _passes(self, batch: PackedBatch) -> list[Pass]:
        """Return the forward passes of this process; a sharded model is gathered in each, by all processes together."""
        return passes(
            batch.lengths.tolist(),
            self._micro_batch_tokens,
            rank=self._ranks.rank,
            size=self._ranks.size,
            in_step=self._is_sharded,
        )

    def _gradient_scale(self, one: Pass) -> float:
        """Return the factor of a pass's loss: a sharded model's backward pass takes the mean over processes."""
        if one.is_padding:
            return 0.0
        return float(self._ranks.size) if self._is_sharded else 1.0

    def _add_up(self, loss: float, kl: float, logprobs: Tensor, entropy: Tensor) -> tuple[float, float]:
        """Sum over the processes: the two numbers, the tables in place (0 where another has the row), the gradient."""
        if self._ranks.size == 1:
            return loss, kl
        if not self._is_sharded:
            for parameter in self._trainable():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self._ranks.add_([parameter.grad for parameter in self._trainable() if parameter.grad is not None])
        sums = torch.tensor([loss, kl], dtype=torch.float64, device=self._device)
        self._ranks.add_([logprobs, entropy, sums])
        return sums[0].item(), sums[1].item()

    def _old_logprobs(self, batch: PackedBatch, *, is_first: bool) -> Float[Tensor, "batch time"] | None:
        """Return the log-probabilities that the ratio starts from; None where they are those of the first forward pass."""
        if self._objective.trust_region == "sampler":
            return batch.sampler_logprobs
        return None if is_first and self._epochs == 1 else self.logprobs(batch)

    def _reference_logprobs(self, batch: PackedBatch) -> Float[Tensor, "batch time"] | None:
        if self._objective.kl_coefficient == 0:
            return None
        with self._as_reference():
            return self.logprobs(batch)

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        """Let the reference policy stand in for the policy."""
        if self._reference is None:
            with self._model.disable_adapter():
                yield
            return
        policy, self._model = self._model, self._reference
        try:
            yield
        finally:
            self._model = policy

    def _scores(self, rows: PackedBatch, *, statistics: bool = False) -> Any:
        return token_scores(
            self._model,
            rows,
            temperature=self._temperature,
            precision=self._settings.precision,
            statistics=statistics,
        )

    def _correction(self, rows: PackedBatch, old: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"] | None:
        """Return the weight of each turn for the difference between sampler and trainer, if it is asked for."""
        if self._objective.correction_cap is None:
            return None
        return turn_correction(
            old_logprobs=old,
            sampler_logprobs=rows.sampler_logprobs,
            unit_ids=rows.turn_ids,
            cap=self._objective.correction_cap,
        )

    @torch.no_grad()
    def _metrics(
        self,
        mini_batch: MiniBatch,
        gradient: _Gradient,
        old_logprobs: Float[Tensor, "batch time"] | None,
        ref_logprobs: Float[Tensor, "batch time"] | None,
    ) -> dict[str, float]:
        """Describe a mini-batch by the objective's own units, by token, and by turn index."""
        batch, switches, mask = mini_batch.batch, self._switches, mini_batch.batch.turn_ids > 0
        old = gradient.logprobs if old_logprobs is None else old_logprobs
        # Where the sampler's own are the old ones, the policy of this pass shows how far it has come from there.
        trained = gradient.logprobs if self._objective.trust_region == "sampler" else old
        common: dict[str, Any] = {
            "logprobs": gradient.logprobs,
            "old_logprobs": old,
            "advantages": mini_batch.advantages,
            "clip_low": switches.clip_low,
            "clip_high": switches.clip_high,
            "clip_reference_length": self._objective.clip_reference_length,
        }
        by_unit = policy_loss(**common, unit_ids=unit_ids(batch.turn_ids, switches.unit)).metrics
        by_token = {
            "entropy": gradient.entropy[mask].mean().item(),
            "sampler_kl": kl_estimate(batch.sampler_logprobs, trained, "k3")[mask].mean().item(),
            "sampler_difference": (batch.sampler_logprobs - trained)[mask].abs().mean().item(),
            "sampler_difference_max": (batch.sampler_logprobs - trained)[mask].abs().max().item(),
        }
        if ref_logprobs is not None:
            by_token["kl"] = kl_estimate(gradient.logprobs, ref_logprobs, "k3")[mask].mean().item()
        correction = self._correction(batch, old)
        cap = self._objective.correction_cap
        if correction is not None and cap is not None:
            weights = correction[mask]
            by_token["correction_mean"] = weights.mean().item()
            by_token["correction_min"], by_token["correction_max"] = weights.min().item(), weights.max().item()
            by_token["correction_capped"] = (weights >= cap).double().mean().item()
        by_turn = turn_metrics(**common, turn_ids=batch.turn_ids, ref_logprobs=ref_logprobs, entropy=gradient.entropy)
        return {**by_unit, **by_token, **by_turn}

    def _pack(self, trajectories: Sequence[Trajectory]) -> PackedBatch:
        if trajectories:
            return pack(trajectories, self._pad_token_id).to(self._device)
        empty = torch.zeros(0, 0, dtype=torch.long, device=self._device)
        return PackedBatch(empty, empty.bool(), empty, empty.float())

    def _trainable(self) -> list[nn.Parameter]:
        return [parameter for parameter in self._model.parameters() if parameter.requires_grad]


def reference_copy(model: Any, objective: ObjectiveConfig) -> nn.Module | None:
    """Return a frozen copy of the model, where the objective has a KL and no adapters can be disabled instead."""
    if objective.kl_coefficient == 0 or has_adapters(model):
        return None
    frozen: nn.Module = copy.deepcopy(model).eval().requires_grad_(False)
    return frozen


def with_correction(objective: ObjectiveConfig, *, is_off_policy: bool) -> ObjectiveConfig:
    """Return the objective, with the per-turn correction where another policy samples and nothing else is said.

    Args:
        objective: the configured objective.
        is_off_policy: True where a server samples, or weights that are behind.
    """
    if not is_off_policy or objective.correction_cap is not None or objective.trust_region == "sampler":
        return objective
    return objective.model_copy(update={"correction_cap": DEFAULT_CORRECTION_CAP})


def resolve_objective(config: ObjectiveConfig) -> ObjectivePreset:
    """Return the preset with the fields that the configuration overrides."""
    return resolve_preset(
        config.preset, unit=config.unit, weight=config.weight, clip_low=config.clip_low, clip_high=config.clip_high
    )


def _with_advantages(
    groups: Sequence[Sequence[Trajectory]], objective: ObjectiveConfig
) -> list[tuple[ScoredTrajectory, float]]:
    """Return the scored trajectories with their advantages within their group, in order."""
    rows = [(t, index) for index, group in enumerate(groups) for t in group if isinstance(t, ScoredTrajectory)]
    if not rows:
        return []
    rewards = torch.tensor([trajectory.reward.total for trajectory, _ in rows], dtype=torch.float64)
    group_ids = torch.tensor([index for _, index in rows])
    values = advantages(rewards, group_ids, kind=objective.advantage).float().tolist()
    return [(trajectory, value) for (trajectory, _), value in zip(rows, values, strict=True)]


def _num_units(trajectory: Trajectory, unit: str) -> int:
    if unit == "token":
        return trajectory.num_policy_tokens
    return len(trajectory.turns) if unit == "turn" else int(bool(trajectory.turns))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
