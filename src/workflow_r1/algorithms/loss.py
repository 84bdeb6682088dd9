"""The one objective: a clipped or gated surrogate over units (token, turn, its parts, or sequence)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_r1.algorithms.clip import (
    ClipKind,
    Term,
    clip_range,
    clipped,
    range_excess,
    soft_gated,
    unbounded,
    weight_bounded,
)
from workflow_r1.algorithms.units import WeightKind, find_units, mean_per_unit, unit_weights, value_of_unit

LOG_RATIO_BOUND = 20.0
"""Log ratios are clamped to this magnitude before ``exp``: e^20 = 4.9e8 lies far outside any clip range, and its
products with advantages and weights stay finite in float32, where e^89 overflows. Beyond it the gradient is 0."""


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A loss to minimise, and metrics to log."""

    loss: Float[Tensor, ""]
    """Scalar; the negative objective."""
    metrics: dict[str, float]
    """Means over units unless the name says otherwise; see :func:`policy_loss`."""
    mass: Float[Tensor, " units"]
    """Mass of each unit's gradient without a clip, no gradient itself; see :func:`policy_loss`."""
    excess: Float[Tensor, " units"]
    """Distance that each unit has gone where the clip could stop it, as a multiple of its range."""


def policy_loss(
    *,
    logprobs: Float[Tensor, "batch time"],
    old_logprobs: Float[Tensor, "batch time"],
    advantages: Float[Tensor, " batch"] | Float[Tensor, "batch time"],
    unit_ids: Int[Tensor, "batch time"],
    clip_low: float,
    clip_high: float,
    weight: WeightKind = "uniform",
    weight_length: float | None = None,
    num_trajectories: float | None = None,
    num_units: float | None = None,
    clip: ClipKind = "fixed",
    clip_reference_length: float | None = None,
    dual_clip: float | None = None,
    sapo_temperature_positive: float = 1.0,
    sapo_temperature_negative: float = 1.05,
    unit_correction: Float[Tensor, " batch"] | Float[Tensor, "batch time"] | None = None,
) -> PolicyLoss:
    r"""Compute the clipped surrogate over units.

    .. math::

        s_{ik}(\theta) &= \exp\Big( \frac{1}{L_{ik}} \sum_{t \in \text{unit } k}
            \big[ \log \pi_\theta(y_{it}) - \log \pi_{\text{old}}(y_{it}) \big] \Big) \\
        \text{loss} &= - \frac{1}{N} \sum_{i=1}^{N} \sum_{k=1}^{K_i} w_{ik} \,
            \min\big( s_{ik} A_{ik},\ \operatorname{clip}(s_{ik}, 1 - \epsilon_{\text{low}},
            1 + \epsilon_{\text{high}}) A_{ik} \big)

    With the turn as the unit and uniform weights it is GSsPO (Workflow-R1, arXiv:2602.01202); with the token, GRPO
    (DeepSeekMath, arXiv:2402.03300); with the sequence, GSPO (arXiv:2507.18071). ReMA (arXiv:2503.09501) and AT2PO
    (arXiv:2601.04767) used the turn's ratio before. ``docs/explanation/algorithms.md`` has every published variant as a row
    of switches.

    The **mass** of a unit is what its gradient would weigh without a clip, :math:`m_{ik} = \frac{1}{N} w_{ik} c_{ik}
    |A_{ik}| s_{ik}`, with the correction c: each of its L tokens enters the loss's gradient as :math:`\pm m_{ik} / L
    \cdot \nabla \log \pi_\theta(y_t)`, so that m is the sum of its tokens' coefficients. Of it the clip keeps the share
    :math:`\kappa_{ik}` (``Term.kept`` in ``algorithms/clip.py``: 0 or 1 for a range, anything between for SAPO), and
    ``gradient_mass_removed`` is :math:`\sum m_{ik} \max(0, 1 - \kappa_{ik}) / \sum m_{ik}`.

    Args:
        logprobs: log-probability of each token under the policy, in nats. Masked positions may hold anything.
        old_logprobs: the same under the policy that the update started from. A constant: no gradient flows into it.
        advantages: one number per trajectory, or per token; a unit's advantage is the mean over its tokens. A constant.
        unit_ids: ids from :func:`~workflow_r1.algorithms.unit_ids`; 0 where a token is not the policy's.
        clip_low: the ratio is clipped below ``1 - clip_low``; ``none`` and ``sapo`` have no range.
        clip_high: the ratio is clipped above ``1 + clip_high``.
        weight: :math:`w_{ik}`; see :func:`~workflow_r1.algorithms.units.unit_weights`.
        weight_length: C of the weight ``constant``, which needs it.
        num_trajectories: N. By default the trajectories with at least one unit, so that a masked trajectory equals a
            deleted one. A micro-batch passes the count of its whole mini-batch: then the micro-batches' losses and
            gradients add up to the mini-batch's.
        num_units: units of the whole mini-batch, for weight ``batch``.
        clip: ``fixed`` is the equation above; ``none`` has :math:`s A` alone; ``sapo`` and ``cispo`` are
            :func:`~workflow_r1.algorithms.clip.soft_gated` and :func:`~workflow_r1.algorithms.clip.weight_bounded`. For
            ``matched`` scale the range by :func:`~workflow_r1.algorithms.matched_scale` and pass ``fixed``.
        clip_reference_length: if set, both clip ranges of a unit of L tokens are scaled by
            ``sqrt(clip_reference_length / L)``: the spread of a mean of L terms.
        dual_clip: if set, with ``fixed``, the ratio beyond which a negative advantage has no gradient either.
        sapo_temperature_positive: temperature of the gate of ``sapo`` at positive advantages.
        sapo_temperature_negative: the same at the others.
        unit_correction: factor on each unit's term, e.g. from :func:`~workflow_r1.algorithms.turn_correction`;
            per-token values are averaged over the unit. A constant.

    Returns:
        The loss, in float32 at least, 0 (with a graph) where no unit is present; and the metrics ``ratio_mean``,
        ``ratio_min``, ``ratio_max``, ``clip_fraction_low`` and ``clip_fraction_high`` (units whose gradient the clip
        removes: below the range at a negative advantage; above it at a positive one, or above ``dual_clip`` at a negative
        one; for ``cispo`` those whose weight it bounds), ``gradient_mass_removed`` (see above), ``token_move_max`` (the
        largest absolute log ratio of a single token, in nats, whatever the unit), ``approx_kl`` (to the old policy, per
        token, k3), ``num_units``, ``num_trajectories`` and ``num_tokens``; and each unit's mass and excess.

    Raises:
        ValueError: a negative clip range, an unknown weight or clip, or an impossible count or bound.
    """
    if dual_clip is not None and clip != "fixed":
        raise ValueError(f"expected no dual_clip with clip {clip!r}, which has no range, received {dual_clip}")
    dtype = torch.promote_types(logprobs.dtype, torch.float32)
    units = find_units(unit_ids)
    counts = {"num_trajectories": num_trajectories, "num_units": num_units}
    weights = unit_weights(units, weight=weight, dtype=dtype, weight_length=weight_length, **counts)
    advantage = value_of_unit(advantages.detach().to(dtype), units)

    difference = logprobs.to(dtype) - old_logprobs.detach().to(dtype)
    log_ratio = mean_per_unit(difference, units).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    ratio = log_ratio.exp()

    lowest, highest = clip_range(units.length.to(dtype), clip_low, clip_high, clip_reference_length)
    match clip:
        case "fixed":
            term = clipped(ratio=ratio, advantage=advantage, lowest=lowest, highest=highest, dual_clip=dual_clip)
        case "none":
            term = unbounded(ratio=ratio, advantage=advantage)
        case "sapo":
            term = soft_gated(
                ratio=ratio,
                advantage=advantage,
                positive=sapo_temperature_positive,
                negative=sapo_temperature_negative,
            )
        case "cispo":
            term = weight_bounded(
                ratio=ratio,
                advantage=advantage,
                logprob=mean_per_unit(logprobs.to(dtype), units),
                lowest=lowest,
                highest=highest,
            )
        case _:
            raise ValueError(f"expected clip to be 'fixed', 'none', 'sapo' or 'cispo', received {clip!r}")
    surrogate, mass = term.value, weights * advantage.abs() * ratio.detach()
    if unit_correction is not None:
        correction = value_of_unit(unit_correction.detach().to(dtype), units)
        surrogate, mass = surrogate * correction, mass * correction
    loss = (weights * -surrogate).sum()

    with torch.no_grad():
        metrics = ratio_metrics(
            ratio=ratio,
            term=term,
            mass=mass,
            move=difference[units.mask].abs(),
            approx_kl=mean_per_unit(kl_to_old_policy(difference), units),
            num_trajectories=len(units.row_of_unit.unique()),
        )
        excess = range_excess(ratio, advantage, lowest, highest)
    return PolicyLoss(loss=loss, metrics=metrics, mass=mass, excess=excess)


def kl_to_old_policy(difference: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    r"""Estimate :math:`KL(\pi_{\text{old}} \| \pi_\theta)` per token: :math:`e^d - 1 - d`, d the log ratio.

    Source: k3 of J. Schulman, "Approximating KL divergence" (2020); the tokens are the old policy's samples.
    """
    bounded = difference.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return bounded.expm1() - bounded


def ratio_metrics(
    *,
    ratio: Float[Tensor, " units"],
    term: Term,
    mass: Float[Tensor, " units"],
    move: Float[Tensor, " tokens"],
    approx_kl: Float[Tensor, " units"],
    num_trajectories: int,
) -> dict[str, float]:
    """Reduce quantities of units and tokens to floats, with one transfer from the device."""
    if len(ratio) == 0:
        values = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    else:
        values = torch.stack(
            [
                ratio.mean(),
                ratio.min(),
                ratio.max(),
                term.is_below.to(ratio.dtype).mean(),
                term.is_above.to(ratio.dtype).mean(),
                approx_kl.mean(),
                share_removed(mass, term.kept),
                move.max(),
            ]
        ).tolist()
    names = (
        *("ratio_mean", "ratio_min", "ratio_max", "clip_fraction_low", "clip_fraction_high", "approx_kl"),
        *("gradient_mass_removed", "token_move_max"),
    )
    return {
        **dict(zip(names, values, strict=True)),
        "num_units": float(len(ratio)),
        "num_trajectories": float(num_trajectories),
        "num_tokens": float(len(move)),
    }


def share_removed(mass: Float[Tensor, " units"], kept: Float[Tensor, " units"]) -> Float[Tensor, ""]:
    """Return the share of the gradient's mass that the clip takes away; 0 where there is no gradient at all."""
    removed = (mass * (1.0 - kept).clamp(min=0.0)).sum()
    return removed / mass.sum().clamp(min=torch.finfo(mass.dtype).tiny)
