"""Effect of the update on the first turns, the second ones, and the later ones."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_r1.algorithms.clip import clip_range, clipped
from workflow_r1.algorithms.kl import kl_estimate
from workflow_r1.algorithms.loss import LOG_RATIO_BOUND, kl_to_old_policy
from workflow_r1.algorithms.units import Units, find_units, mean_per_unit, spread_to_tokens, value_of_unit


@torch.no_grad()
def turn_metrics(
    *,
    logprobs: Float[Tensor, "batch time"],
    old_logprobs: Float[Tensor, "batch time"],
    advantages: Float[Tensor, " batch"] | Float[Tensor, "batch time"],
    turn_ids: Int[Tensor, "batch time"],
    clip_low: float,
    clip_high: float,
    clip_reference_length: float | None = None,
    dual_clip: float | None = None,
    ref_logprobs: Float[Tensor, "batch time"] | None = None,
    entropy: Float[Tensor, "batch time"] | None = None,
    unit_ids: Int[Tensor, "batch time"] | None = None,
    max_turns: int = 8,
) -> dict[str, float]:
    """Describe the update by turn index, each figure a mean over the turns of that index.

    Ratios are those of turns, whatever the unit of the objective is.

    Args:
        logprobs: under the policy, in nats. Masked positions may hold anything, here and below.
        old_logprobs: under the policy that the update started from.
        advantages: one per trajectory, or per token.
        turn_ids: index of a token's turn; 0 where a token is not the policy's.
        clip_low: the ratio is clipped below ``1 - clip_low``.
        clip_high: the ratio is clipped above ``1 + clip_high``.
        clip_reference_length: scales the clip range with the unit's length, as in the objective.
        dual_clip: the ratio beyond which a negative advantage has no gradient either, as in the objective.
        ref_logprobs: under the reference policy; adds ``kl`` (k3, per token).
        entropy: entropy of the policy's distribution at each token, in nats; adds ``entropy``.
        unit_ids: the units that the objective clips; None where they are the turns.
        max_turns: turns of a higher index are left out.

    Returns:
        For each turn index k that is present: ``turn_{k}/ratio_mean``, ``ratio_min``, ``ratio_max``, ``clip_fraction``
        (the share of a turn's tokens that stand in units whose gradient the clip removes), ``approx_kl`` (to the old
        policy, k3, per token), ``num_tokens`` and ``num_units`` (turns of that index); and ``kl`` and ``entropy`` where
        their input is given.
    """
    units = find_units(turn_ids * (turn_ids <= max_turns))
    dtype = torch.promote_types(logprobs.dtype, torch.float32)
    difference = logprobs.to(dtype) - old_logprobs.to(dtype)
    ratio = _ratio(difference, units)
    clipping = units if unit_ids is None else find_units(unit_ids)
    unit_ratio, advantage = _ratio(difference, clipping), value_of_unit(advantages.to(dtype), clipping)
    lowest, highest = clip_range(clipping.length.to(dtype), clip_low, clip_high, clip_reference_length)
    term = clipped(ratio=unit_ratio, advantage=advantage, lowest=lowest, highest=highest, dual_clip=dual_clip)
    lost = (term.is_below | term.is_above).to(dtype)
    per_unit = {
        "ratio_mean": ratio,
        "clip_fraction": mean_per_unit(spread_to_tokens(lost, clipping), units),
        "approx_kl": mean_per_unit(kl_to_old_policy(difference), units),
    }
    if ref_logprobs is not None:
        per_unit["kl"] = mean_per_unit(kl_estimate(logprobs, ref_logprobs, "k3"), units)
    if entropy is not None:
        per_unit["entropy"] = mean_per_unit(entropy.to(dtype), units)
    return _by_turn(per_unit, ratio, units)


def _ratio(difference: Float[Tensor, "batch time"], units: Units) -> Float[Tensor, " units"]:
    return mean_per_unit(difference, units).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()


def _by_turn(per_unit: Mapping[str, Tensor], ratio: Tensor, units: Units) -> dict[str, float]:
    indices, position = units.id_of_unit.unique(return_inverse=True)
    zeros = ratio.new_zeros(len(indices))
    counts = torch.bincount(position, minlength=len(indices)).to(ratio.dtype)
    columns = {name: zeros.index_add(0, position, values.to(ratio.dtype)) / counts for name, values in per_unit.items()}
    columns["ratio_min"] = zeros.scatter_reduce(0, position, ratio, "amin", include_self=False)
    columns["ratio_max"] = zeros.scatter_reduce(0, position, ratio, "amax", include_self=False)
    columns["num_tokens"] = zeros.index_add(0, position, units.length.to(ratio.dtype))
    columns["num_units"] = counts
    rows = torch.stack(list(columns.values()), dim=1).tolist()
    return {
        f"turn_{index}/{name}": value
        for index, row in zip(indices.tolist(), rows, strict=True)
        for name, value in zip(columns, row, strict=True)
    }
