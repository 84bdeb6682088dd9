"""Turns the scored groups of a step into a new policy: old log-probabilities, objective, gradient, optimiser step.

Cutting a mini-batch into micro-batches cannot change a number beyond rounding: every mean in the loss is divided by the
counts of the *whole* mini-batch. Metrics are computed once per mini-batch, from the log-probabilities of its
micro-batches.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workflow_r1.algorithms import (
    ObjectivePreset,
    advantages,
    kl_estimate,
    kl_loss,
    matched_scale,
    policy_loss,
    resolve_preset,
    spread_turns,
    turn_advantages,
    turn_correction,
    turn_metrics,
    unit_ids,
)
from workflow_r1.config.training import ObjectiveConfig, OptimiserConfig
from workflow_r1.engines.native.batching import micro_batch_tokens, passes
from workflow_r1.engines.native.memory import FreedMemory
from workflow_r1.engines.native.optimiser import linear_warmup, set_learning_rate
from workflow_r1.policy.distributed import Ranks
from workflow_r1.policy.forward import base_model, shares_prefixes, token_scores
from workflow_r1.policy.model import has_adapters
from workflow_r1.policy.packing import PackedBatch, pack
from workflow_r1.policy.prefix_trees import TreeBatch, prefix_trees, tree_batch
from workflow_r1.policy.sharding import full, is_sharded
from workflow_r1.recording.metrics import WEIGHT, Metrics, combine_later_mini_batches, combine_mini_batches
from workflow_r1.trajectory import ScoredTrajectory, Trajectory, Turn


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """Rows of one optimiser step that carry a gradient, and the counts of all rows."""

    batch: PackedBatch
    """The trajectories that are run through the model, on its device."""
    advantages: Float[Tensor, " batch"] | Float[Tensor, "batch turns"]
    """One per row, or one per turn, as ``objective.credit`` says."""
    num_trajectories: int
    """Trajectories of the mini-batch that were scored, those left out of ``batch`` included."""
    num_units: int
    """Their units."""
    num_zero_advantage: int
    """Trajectories left out of ``batch`` because they cannot move the policy."""
    is_right: Bool[Tensor, " batch"]
    """Rows that reached their goal: an exact match, for questions."""

    @property
    def counts(self) -> dict[str, Any]:
        """The counts by which every mean of the loss is divided."""
        return {"num_trajectories": float(self.num_trajectories), "num_units": float(self.num_units)}


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """Effect of the optimiser steps of one step of training."""

    metrics: Metrics
    """Keys ``update/...``."""
    num_optimiser_steps: int
    """Optimiser steps that were taken."""
    num_tokens: int
    """Tokens of the rows that were learned from, padding left out; a beginning that rows share counts in each of them."""
    warnings: tuple[str, ...] = ()
    """Warnings for a person."""
    clip_scale: float = 1.0
    """Factor of a ``matched`` range in the next step."""


SAMPLER_ERROR = 1e-4
"""Largest difference, in nats, of one token's log-probability between sampler and trainer for which the sampler's stands
in for the trainer's. In float32 the quickstart's policy has at most 1e-5; the ratio of a unit is wrong by less than that."""

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
    excess: Float[Tensor, " units"] = field(default_factory=lambda: torch.zeros(0))
    mass: Float[Tensor, " units"] = field(default_factory=lambda: torch.zeros(0))


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
        samples_as_trained: True where the sampler is this model in this precision, and the policy before the first
            optimiser step: its log-probabilities then are the old policy's up to rounding, and :meth:`step` checks it.
        reference: the frozen copy, where the caller had to make it first (of a model that is sharded since).
        turn_weight: weight of the turn rewards in the reward; only credits by turn read it.
        max_response_tokens: budget of a response, by which the weight ``constant`` may divide.
        num_think_tokens: counts the tokens of a turn's think; the unit ``think_action`` needs it, no other reads it.
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
        samples_as_trained: bool = False,
        reference: nn.Module | None = None,
        turn_weight: float = 0.0,
        max_response_tokens: int = 1,
        num_think_tokens: Callable[[Turn], int] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._model = model
        self._optimiser = optimiser
        self._pad_token_id = pad_token_id
        self._objective = objective
        self._switches = resolve_objective(objective, max_response_tokens=max_response_tokens)
        self._num_think_tokens = num_think_tokens if self._switches.unit == "think_action" else None
        self._settings = settings
        self._temperature = temperature
        self._mini_batch_questions = mini_batch_questions
        self._epochs = epochs
        self._turn_weight = turn_weight
        self._samples_as_trained = samples_as_trained
        self._device = next(model.parameters()).device
        self._micro_batch_tokens = micro_batch_tokens(settings.micro_batch_tokens, self._device)
        self._reference = reference or reference_copy(model, objective)
        self._ranks = ranks or Ranks()
        self._freed = FreedMemory()
        self._is_sharded = is_sharded(model)
        # A sharded model's rows stay apart: resumed in two processes, a run with shared beginnings drew other tokens than
        # one that never stopped, more than rounding explains.
        self._hidden_size: int | None = (
            base_model(model).config.get_text_config().hidden_size
            if not self._is_sharded and shares_prefixes(model)
            else None
        )

    def step(
        self, groups: Sequence[Sequence[Trajectory]], *, policy_version: int, clip_scale: float = 1.0
    ) -> UpdateResult:
        """Make one optimiser step per mini-batch of groups, and epoch.

        Infrastructure failures (plain ``Trajectory``) enter neither the statistics of their group nor the loss. A
        mini-batch in which no trajectory has an advantage makes no optimiser step: there is nothing to learn, and
        momentum alone would move the policy.

        The ratio is that to one old policy in all optimiser steps, by ``objective.trust_region``. Where it is the policy
        before the first of them, its log-probabilities are this engine's from then. In the first mini-batch of a single epoch
        they equal the current ones, so those stand in, and the ratio is 1. In the others they are recomputed, or they are
        the sampler's where those are the same up to rounding: the first mini-batch shows it, in every step again.

        Args:
            groups: scored trajectories, one list per question.
            policy_version: optimiser steps taken before; the learning rate's warm-up counts from it.
            clip_scale: factor of a ``matched`` range, from the result of the step before; 1 in the first.
        """
        mini_batches = self.mini_batches(groups)
        # Deviation: a mini-batch without any gradient makes no optimiser step; in the release's engine momentum makes one.
        learning = [mini_batch for mini_batch in mini_batches if mini_batch.batch.num_rows > 0]
        old = [self._old_logprobs(m.batch, is_first=index == 0) for index, m in enumerate(learning)]
        references = [self._reference_logprobs(mini_batch.batch) for mini_batch in learning]
        parts, num_steps, num_tokens, warnings = [], 0, 0, []
        passes_over = self._epochs * list(enumerate(zip(learning, references, strict=True)))
        for place, (index, (mini_batch, ref_logprobs)) in enumerate(passes_over):
            learning_rate = linear_warmup(
                policy_version + num_steps + 1,
                peak=self._settings.learning_rate,
                warmup_steps=self._settings.warmup_steps,
            )
            set_learning_rate(self._optimiser, learning_rate)
            self._optimiser.zero_grad(set_to_none=True)
            gradient = self.accumulate_gradient(mini_batch, old[index], ref_logprobs, clip_scale=clip_scale)
            if (
                place == 0
                and self._samples_as_trained
                and self._objective.trust_region == "current"
                and _sampler_error(mini_batch.batch, gradient.logprobs) > SAMPLER_ERROR
            ):
                old[1:] = [self.logprobs(other.batch) for other in learning[1:]]
            norm = full(torch.nn.utils.clip_grad_norm_(self._trainable(), self._settings.max_grad_norm)).item()
            if norm == norm and norm != float("inf"):
                self._optimiser.step()
                num_steps += 1
            else:
                warnings.append(f"the gradient's norm is {norm}: the optimiser step was left out")
            num_tokens += int(mini_batch.batch.attention_mask.sum())
            parts.append((gradient, norm, learning_rate))
        self._optimiser.zero_grad(set_to_none=True)
        self._freed.give_back_if_due()
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
                **({"update/clip_scale": clip_scale} if self._switches.clip == "matched" else {}),
                **{
                    f"update/{name}": value
                    for combine in (combine_mini_batches, combine_later_mini_batches)
                    for name, value in combine([gradient.metrics for gradient, _, _ in parts]).items()
                },
            },
            num_optimiser_steps=num_steps,
            num_tokens=num_tokens,
            warnings=tuple(warnings),
            clip_scale=self._next_clip_scale(clip_scale, [gradient for gradient, _, _ in parts]),
        )

    def _next_clip_scale(self, scale: float, gradients: Sequence[_Gradient]) -> float:
        """Return the factor of the next step's range: another one only where it is matched to a share of the mass."""
        if self._switches.clip != "matched" or not gradients:
            return scale
        return matched_scale(
            scale,
            excess=torch.cat([gradient.excess for gradient in gradients]),
            mass=torch.cat([gradient.mass for gradient in gradients]),
            share=self._switches.clip_share,
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
            rows = _with_advantages(groups[start : start + size], self._objective, self._turn_weight)
            if not rows:
                continue
            # Without a KL, a trajectory whose advantage is 0 has a gradient of 0: only its count matters. So it is with one
            # whose prompt alone filled the context: it has no tokens of the policy's.
            kept = [row for row in rows if row[0].turns and (row[1].any() or self._objective.kl_coefficient > 0)]
            cut.append(
                MiniBatch(
                    batch=self._pack([trajectory for trajectory, _ in kept]),
                    advantages=torch.stack([advantage for _, advantage in kept] or [torch.zeros(0)]).to(self._device),
                    num_trajectories=len(rows),
                    num_units=sum(self._num_units(trajectory) for trajectory, _ in rows),
                    num_zero_advantage=len(rows) - len(kept),
                    is_right=torch.tensor(
                        [trajectory.reward.success is True for trajectory, _ in kept],
                        dtype=torch.bool,
                        device=self._device,
                    ),
                )
            )
        return cut

    def accumulate_gradient(
        self,
        mini_batch: MiniBatch,
        old_logprobs: Float[Tensor, "batch time"] | None = None,
        ref_logprobs: Float[Tensor, "batch time"] | None = None,
        *,
        clip_scale: float = 1.0,
    ) -> _Gradient:
        """Add the gradient of the mini-batch's loss to the parameters' ``grad``, one micro-batch at a time.

        Of several processes each runs its own rows; the result and the gradient are those of all rows.

        Args:
            mini_batch: a mini-batch with at least one row.
            old_logprobs: log-probabilities under the policy that sampled; None where that is the current one.
            ref_logprobs: log-probabilities under the reference policy; None where the objective has no KL.
            clip_scale: factor of a ``matched`` range.
        """
        batch, switches, coefficient = mini_batch.batch, self._switches, self._objective.kl_coefficient
        logprobs = torch.zeros_like(batch.sampler_logprobs)
        entropy = torch.zeros_like(logprobs)
        loss, kl = 0.0, 0.0
        self._model.train()
        for trees, is_padding in self._passes(batch):
            indices = trees.rows
            rows = batch.rows(indices)
            width = rows.input_ids.shape[1]
            scores = self._scores(rows, trees, statistics=True)
            current = scores.logprobs.detach()
            old = current if old_logprobs is None else old_logprobs[indices, :width]
            units = unit_ids(rows.turn_ids, switches.unit, is_think=rows.is_think)
            part = policy_loss(
                logprobs=scores.logprobs,
                old_logprobs=old,
                advantages=_of_tokens(mini_batch.advantages[indices], rows.turn_ids),
                unit_ids=units,
                unit_correction=self._correction(rows, old),
                **switches.of_loss(clip_scale=clip_scale),
                **mini_batch.counts,
            ).loss
            if ref_logprobs is not None:
                part_kl = kl_loss(
                    logprobs=scores.logprobs,
                    ref_logprobs=ref_logprobs[indices, :width],
                    unit_ids=units,
                    kind=self._objective.kl_kind,
                    **switches.of_weight(),
                    **mini_batch.counts,
                )
                kl += 0.0 if is_padding else part_kl.item()
                part = part + coefficient * part_kl
            (part * self._gradient_scale(is_padding=is_padding)).backward()
            if is_padding:
                continue
            loss += part.item()
            logprobs[indices, :width] = current.to(logprobs.dtype)
            entropy[indices, :width] = scores.entropy.to(entropy.dtype)
        self._model.eval()
        loss, kl = self._add_up(loss, kl, logprobs, entropy)
        gradient = _Gradient(loss, kl, logprobs, entropy)
        self._describe(gradient, mini_batch, old_logprobs, ref_logprobs, clip_scale)
        return gradient

    def logprobs(self, batch: PackedBatch) -> Float[Tensor, "batch time"]:
        """Return the policy's log-probabilities of its tokens, without gradient; 0 elsewhere."""
        logprobs = torch.zeros_like(batch.sampler_logprobs)
        with torch.no_grad():
            for trees, is_padding in self._passes(batch):
                rows = batch.rows(trees.rows)
                scores = self._scores(rows, trees)
                if not is_padding:
                    logprobs[trees.rows, : rows.input_ids.shape[1]] = scores.logprobs.to(logprobs.dtype)
        self._ranks.add_([logprobs])
        return logprobs

    def _old_logprobs(self, batch: PackedBatch, *, is_first: bool) -> Float[Tensor, "batch time"] | None:
        """Return the log-probabilities that the ratio starts from; None where they are those of the first forward pass."""
        if self._objective.trust_region == "sampler":
            return batch.sampler_logprobs
        if is_first:
            return None if self._epochs == 1 else self.logprobs(batch)
        return batch.sampler_logprobs if self._samples_as_trained else self.logprobs(batch)

    def _passes(self, batch: PackedBatch) -> Iterator[tuple[TreeBatch, bool]]:
        """Yield the rows of each forward pass of this process, and whether the pass only keeps step with another process.

        A sharded model is gathered in each pass, by all processes together.
        """
        rows = [ids[:length] for ids, length in zip(batch.input_ids.tolist(), batch.lengths.tolist(), strict=True)]
        trees = prefix_trees(rows, hidden_size=self._hidden_size)
        for one in passes(
            [len(tree) for tree in trees],
            self._micro_batch_tokens,
            rank=self._ranks.rank,
            size=self._ranks.size,
            in_step=self._is_sharded,
        ):
            yield tree_batch([trees[index] for index in one.indices], batch, self._pad_token_id), one.is_padding

    def _gradient_scale(self, *, is_padding: bool) -> float:
        """Return the factor of a pass's loss: a sharded model's backward pass takes the mean over processes."""
        if is_padding:
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

    def _scores(self, rows: PackedBatch, trees: TreeBatch, *, statistics: bool = False) -> Any:
        return token_scores(
            self._model,
            rows,
            trees=trees,
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
    def _describe(
        self,
        gradient: _Gradient,
        mini_batch: MiniBatch,
        old_logprobs: Float[Tensor, "batch time"] | None,
        ref_logprobs: Float[Tensor, "batch time"] | None,
        clip_scale: float,
    ) -> None:
        """Describe a mini-batch by the objective's own units, by token, and by turn index."""
        batch, switches, mask = mini_batch.batch, self._switches, mini_batch.batch.turn_ids > 0
        old = gradient.logprobs if old_logprobs is None else old_logprobs
        # Where the sampler's own are the old ones, the policy of this pass shows how far it has come from there.
        trained = gradient.logprobs if self._objective.trust_region == "sampler" else old
        common: dict[str, Any] = {
            "logprobs": gradient.logprobs,
            "old_logprobs": old,
            "advantages": _of_tokens(mini_batch.advantages, batch.turn_ids),
        }
        correction = self._correction(batch, old)
        units = unit_ids(batch.turn_ids, switches.unit, is_think=batch.is_think)
        by_unit = policy_loss(
            **common,
            unit_ids=units,
            unit_correction=correction,
            **switches.of_loss(clip_scale=clip_scale),
            **mini_batch.counts,
        )
        by_token = {"entropy": gradient.entropy[mask].mean().item()}
        if trained is not batch.sampler_logprobs:
            by_token |= {
                "sampler_kl": kl_estimate(batch.sampler_logprobs, trained, "k3")[mask].mean().item(),
                "sampler_difference": (batch.sampler_logprobs - trained)[mask].abs().mean().item(),
                "sampler_difference_max": _sampler_error(batch, trained),
            }
        if (right := mask & mini_batch.is_right[:, None]).any():
            by_token["right_logprob_change"] = (gradient.logprobs - old)[right].mean().item()
            by_token[f"{WEIGHT}right_logprob_change"] = float(right.sum())
        if ref_logprobs is not None:
            by_token["kl"] = kl_estimate(gradient.logprobs, ref_logprobs, "k3")[mask].mean().item()
        cap = self._objective.correction_cap
        if correction is not None and cap is not None:
            weights = correction[mask]
            by_token["correction_mean"] = weights.mean().item()
            by_token["correction_min"], by_token["correction_max"] = weights.min().item(), weights.max().item()
            by_token["correction_capped"] = (weights >= cap).double().mean().item()
        by_turn = turn_metrics(
            **common,
            turn_ids=batch.turn_ids,
            unit_ids=units,
            ref_logprobs=ref_logprobs,
            entropy=gradient.entropy,
            **switches.of_range(clip_scale=clip_scale),
        )
        of_mass = {f"{WEIGHT}gradient_mass_removed": by_unit.mass.sum().item()}
        gradient.metrics = {**by_unit.metrics, **of_mass, **by_token, **by_turn}
        gradient.excess, gradient.mass = by_unit.excess, by_unit.mass

    def _num_units(self, trajectory: Trajectory) -> int:
        match self._switches.unit:
            case "token":
                return trajectory.num_policy_tokens
            case "turn":
                return len(trajectory.turns)
            case "think_action":
                assert self._num_think_tokens is not None
                thinks = [(self._num_think_tokens(turn), len(turn.token_ids)) for turn in trajectory.turns]
                return sum((think > 0) + (think < length) for think, length in thinks)
        return int(bool(trajectory.turns))

    def _pack(self, trajectories: Sequence[Trajectory]) -> PackedBatch:
        if trajectories:
            packed = pack(trajectories, self._pad_token_id, num_think_tokens=self._num_think_tokens)
            return packed.to(self._device)
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


def resolve_objective(config: ObjectiveConfig, *, max_response_tokens: int = 1) -> ObjectivePreset:
    """Return the preset with the fields that the configuration overrides."""
    return resolve_preset(config.preset, **config.switches(max_response_tokens=max_response_tokens))


def _with_advantages(
    groups: Sequence[Sequence[Trajectory]], objective: ObjectiveConfig, turn_weight: float
) -> list[tuple[ScoredTrajectory, Tensor]]:
    """Return the scored trajectories with their advantages within their group, in order: one number, or one for each turn."""
    rows = [(t, index) for index, group in enumerate(groups) for t in group if isinstance(t, ScoredTrajectory)]
    if not rows:
        return []
    trajectories = [trajectory for trajectory, _ in rows]
    group_ids = torch.tensor([index for _, index in rows])
    if objective.credit == "outcome":
        rewards = torch.tensor([trajectory.reward.total for trajectory in trajectories], dtype=torch.float64)
        values = advantages(rewards, group_ids, kind=objective.in_effect("advantage"))
    else:
        values = turn_advantages(
            _pad([returns_to_go(trajectory, turn_weight) for trajectory in trajectories], torch.float64),
            torch.tensor([len(trajectory.turns) for trajectory in trajectories]),
            group_ids,
            states=_states(trajectories) if objective.credit == "anchor_state" else None,
            kind=objective.in_effect("advantage"),
        )
    return list(zip(trajectories, values.float(), strict=True))


def returns_to_go(trajectory: ScoredTrajectory, turn_weight: float) -> list[float]:
    """Return what is still to come at each turn: the reward less the turn rewards before; the reward where there is no turn.

    Args:
        trajectory: a trajectory with its reward.
        turn_weight: weight of the turn rewards in the reward.
    """
    rewards = [turn_weight * (turn.reward or 0.0) for turn in trajectory.turns[:-1]]
    return [trajectory.reward.total - before for before in itertools.accumulate(rewards, initial=0.0)]


def _states(trajectories: Sequence[Trajectory]) -> Tensor:
    """Number the states in which turns begin: the prompt, or the observation just before."""
    numbers: dict[str | None, int] = {}
    return _pad(
        [
            [numbers.setdefault(text, len(numbers)) for text in (None, *(turn.observation for turn in each.turns[:-1]))]
            for each in trajectories
        ],
        torch.long,
    )


def _pad(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=dtype)


def _of_tokens(advantages: Tensor, turn_ids: Tensor) -> Tensor:
    """Return advantages as the objective takes them: one per trajectory, or one per token where each turn has its own."""
    return advantages if advantages.ndim == 1 else spread_turns(advantages, turn_ids)


def _sampler_error(batch: PackedBatch, logprobs: Float[Tensor, "batch time"]) -> float:
    """Return the largest difference, in nats, between the sampler's and the given log-probability of a token."""
    return (batch.sampler_logprobs - logprobs)[batch.turn_ids > 0].abs().max().item()


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
