"""GSsPO inside TRL's ``GRPOTrainer``: one overridden method, the loss."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

import torch
from accelerate.utils import gather_object
from jaxtyping import Float, Int
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from workflow_r1.algorithms import (
    KLKind,
    ObjectivePreset,
    UnitKind,
    WeightKind,
    kl_estimate,
    kl_loss,
    policy_loss,
    resolve_preset,
    turn_correction,
    turn_ids_from_mask,
    turn_metrics,
    unit_ids,
)
from workflow_r1.engines.trl.versions import require_tested_trl
from workflow_r1.errors import ConfigError
from workflow_r1.recording.metrics import WEIGHT, combine_mini_batches

REPLACED = (
    "delta",
    "entropy_coef",
    "epsilon",
    "epsilon_high",
    "importance_sampling_level",
    "loss_type",
    "off_policy_mask_threshold",
    "top_entropy_quantile",
    "use_adaptive_entropy",
    "use_bias_correction_kl",
)
"""Options of ``GRPOConfig`` that steer the loss that ours stands in for: setting one would do nothing, so it is refused."""


class GSsPOTrainer(GRPOTrainer):
    """``GRPOTrainer`` with the objective over units: token, turn or sequence.

    Takes what ``GRPOTrainer`` takes. A turn is a run of ones in the ``env_mask`` that ``rollout_func`` returns, so
    between two turns there must be a masked token (any chat template puts one there). A row without a one in its mask
    is left out of the loss and of every mean: by it, and by a reward of None, which TRL leaves out of the group, a
    rollout says that its infrastructure failed.

    The reference policy, its coefficient (``beta``), advantages (``scale_rewards``) and the schedule are TRL's.

    Args:
        *arguments: arguments of ``GRPOTrainer``.
        preset: a key of :data:`~workflow_r1.algorithms.PRESETS`; the ones below replace its switches one by one. Its
            advantages are TRL's own.
        unit: extent of one importance ratio; TRL's masks do not tell the parts of a turn.
        weight: weight of a unit in the objective. ``constant`` divides by the ``weight_length`` of ``switches``, or by
            ``max_completion_length`` where neither they nor the preset have one.
        clip_low: the ratio is clipped below ``1 - clip_low``.
        clip_high: the ratio is clipped above ``1 + clip_high``.
        clip_reference_length: scales both ranges of a unit of L tokens by ``sqrt(clip_reference_length / L)``.
        switches: further fields of :class:`~workflow_r1.algorithms.ObjectivePreset`, such as ``clip`` or ``dual_clip``.
        correction_cap: weights turns by the truncated correction between sampler and trainer, at most this; needs the
            ``logprobs`` of ``rollout_func``.
        kl_kind: estimator of the KL.
        **options: options of ``GRPOTrainer``.

    Raises:
        MissingExtraError: TRL is of an untested minor.
        ConfigError: an option of ``GRPOConfig`` that this loss replaces is set, or an option asks for something that
            the loss lacks.
    """

    # Our loss is divided by the counts of the whole accumulation window; the trainer shall not divide it again.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *arguments: Any,
        preset: str = "gsspo",
        unit: UnitKind | None = None,
        weight: WeightKind | None = None,
        clip_low: float | None = None,
        clip_high: float | None = None,
        clip_reference_length: float | None = None,
        switches: Mapping[str, Any] | None = None,
        correction_cap: float | None = None,
        kl_kind: KLKind = "k3",
        **options: Any,
    ) -> None:
        require_tested_trl()
        given = {
            "unit": unit,
            "weight": weight,
            "clip_low": clip_low,
            "clip_high": clip_high,
            "clip_reference_length": clip_reference_length,
        }
        self.switches = resolve_preset(preset, **(given | dict(switches or {})))
        refuse_unsupported(self.switches)
        self._correction_cap = correction_cap
        self._kl_kind: KLKind = kl_kind
        self._parts: list[dict[str, float]] = []
        super().__init__(*arguments, **options)
        if self.switches.weight_length is None:
            self.switches = replace(self.switches, weight_length=self.args.max_completion_length)
        _refuse_what_is_replaced(self.args)
        if getattr(self, "aux_loss_enabled", False):
            raise ConfigError(
                "router_aux_loss_coef: expected 0, since this loss has no term for the routers of a mixture"
            )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Float[Tensor, ""]:
        units = self._units(inputs)
        logprobs, entropy = self._scores(model, inputs)
        old = inputs.get("old_per_token_logps")
        old = logprobs.detach() if old is None else old
        counts = self._counts(inputs)
        turn_ids = turn_ids_from_mask(_policy_mask(inputs))
        loss = policy_loss(
            logprobs=logprobs,
            old_logprobs=old,
            advantages=inputs["advantages"],
            unit_ids=units,
            unit_correction=self._correction(inputs, old, turn_ids),
            **self.switches.of_loss(),
            **counts,
        ).loss
        reference = inputs["ref_per_token_logps"] if self.beta else None
        if reference is not None:
            loss = loss + self.beta * kl_loss(
                logprobs=logprobs,
                ref_logprobs=reference,
                unit_ids=units,
                kind=self._kl_kind,
                **self.switches.of_weight(),
                **counts,
            )
        if self.model.training:
            self._describe(inputs, logprobs.detach(), old, reference, entropy, turn_ids, counts)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objective's own figures, ``update/...``, over all processes and all batches since the last log."""
        parts = gather_object(self._parts) if self._parts else []
        self._parts = []
        # A batch of nothing but failures has no unit to describe.
        parts = [part for part in parts if part["num_units"]]
        if parts:
            logs |= {f"update/{name}": value for name, value in combine_mini_batches(parts).items()}
        super().log(logs, start_time)

    def _scores(
        self, model: Any, inputs: dict[str, Any]
    ) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
        """Return log-probabilities and entropies of the completions' tokens, by TRL's own forward pass."""
        found = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
            inputs["completion_ids"].shape[1],
            compute_entropy=True,
        )
        return found[0], found[1].detach()

    def _units(self, inputs: dict[str, Any]) -> Int[Tensor, "batch time"]:
        return unit_ids(turn_ids_from_mask(_policy_mask(inputs)), self.switches.unit)

    def _counts(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return trajectories and units of the accumulation window over all processes, divided by their number.

        The gradients of the window's batches are added up and those of the processes averaged. With these counts
        neither changes the loss.
        """
        num_rows, num_units = 0, 0
        for batch in self._window(inputs):
            units_of_row = self._units(batch).amax(dim=1)
            num_rows += int((units_of_row > 0).sum())
            num_units += int(units_of_row.sum())
        local = torch.tensor([num_rows, num_units], dtype=torch.float64, device=self.accelerator.device)
        total = self.accelerator.reduce(local, reduction="sum").clamp(min=1.0) / self.accelerator.num_processes
        return {"num_trajectories": total[0].item(), "num_units": total[1].item()}

    def _window(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the batches whose gradients make one optimiser step, this one among them."""
        if not self.model.training:
            return [inputs]
        batches, size = self._buffered_inputs, self.args.gradient_accumulation_steps
        place = next((index for index, batch in enumerate(batches or ()) if batch is inputs), None)
        if place is None:
            raise RuntimeError(
                "expected the batch among GRPOTrainer._buffered_inputs, found it elsewhere: this version of TRL keeps "
                "batches in another place; use a tested minor"
            )
        if len(batches) % size:
            raise ConfigError(
                f"gradient_accumulation_steps: expected a divisor of steps_per_generation ({len(batches)}), so that an "
                f"optimiser step learns from one generation, received {size}"
            )
        start = place - place % size
        return batches[start : start + size]

    def _correction(
        self, inputs: dict[str, Any], old: Float[Tensor, "batch time"], turn_ids: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time"] | None:
        if self._correction_cap is None:
            return None
        if "sampling_per_token_logps" not in inputs:
            raise ConfigError(
                "correction_cap: expected the sampler's `logprobs` from rollout_func, received None; return them, or leave "
                "correction_cap out"
            )
        sampler = inputs["sampling_per_token_logps"]
        return turn_correction(old_logprobs=old, sampler_logprobs=sampler, unit_ids=turn_ids, cap=self._correction_cap)

    @torch.no_grad()
    def _describe(
        self,
        inputs: dict[str, Any],
        logprobs: Float[Tensor, "batch time"],
        old: Float[Tensor, "batch time"],
        reference: Float[Tensor, "batch time"] | None,
        entropy: Float[Tensor, "batch time"],
        turn_ids: Int[Tensor, "batch time"],
        counts: dict[str, Any],
    ) -> None:
        """Keep the figures of a batch until the next log; the names are those of ``docs/reference/run-directory.md``."""
        mask, sampler = turn_ids > 0, inputs.get("sampling_per_token_logps")
        common: dict[str, Any] = {
            "logprobs": logprobs,
            "old_logprobs": old,
            "advantages": inputs["advantages"],
        }
        units, correction = self._units(inputs), self._correction(inputs, old, turn_ids)
        by_unit = policy_loss(**common, unit_ids=units, unit_correction=correction, **self.switches.of_loss(), **counts)
        part = {**by_unit.metrics, f"{WEIGHT}gradient_mass_removed": by_unit.mass.sum().item()}
        part |= turn_metrics(
            **common,
            turn_ids=turn_ids,
            unit_ids=units,
            ref_logprobs=reference,
            entropy=entropy,
            **self.switches.of_range(),
        )
        part["entropy"] = entropy[mask].mean().item()
        if reference is not None:
            part["kl"] = kl_estimate(logprobs, reference, "k3")[mask].mean().item()
        if sampler is not None:
            part["sampler_kl"] = kl_estimate(sampler, old, "k3")[mask].mean().item()
            part["sampler_difference"] = (sampler - old)[mask].abs().mean().item()
        if correction is not None:
            part["correction_mean"] = correction[mask].mean().item()
        self._parts.append(part)


def refuse_unsupported(switches: ObjectivePreset) -> None:
    """Refuse switches that TRL's loop has no place for.

    Raises:
        ConfigError: names the switch, as the configuration does.
    """
    if switches.unit == "think_action":
        raise ConfigError(
            'objective.unit: expected another than "think_action" for TRL, whose masks do not tell where a think ends; the native '
            "engine has it"
        )
    if switches.clip == "matched":
        raise ConfigError(
            'objective.clip: expected another than "matched" for TRL, whose checkpoints do not hold the adapted range; the native '
            "engine has it"
        )


def _policy_mask(inputs: dict[str, Any]) -> Int[Tensor, "batch time"]:
    """Return 1 where the policy wrote a token; TRL calls the mask of ``rollout_func`` ``tool_mask``."""
    return inputs["completion_mask"] * inputs.get("tool_mask", 1)


def _refuse_what_is_replaced(arguments: GRPOConfig) -> None:
    defaults = {field.name: field.default for field in fields(GRPOConfig) if field.default is not MISSING}
    for name in REPLACED:
        if name in defaults and getattr(arguments, name) != defaults[name]:
            raise ConfigError(
                f"GRPOConfig.{name}: expected its default, since GSsPOTrainer has a loss of its own, received "
                f"{getattr(arguments, name)!r}; set the trainer's unit, weight, clip_low and clip_high instead"
            )
