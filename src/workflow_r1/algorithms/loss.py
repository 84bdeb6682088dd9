"""The one objective: a clipped surrogate over units (token, turn or sequence)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

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


def policy_loss(
    *,
    logprobs: Float[Tensor, "batch time"],
    old_logprobs: Float[Tensor, "batch time"],
    advantages: Float[Tensor, " batch"] | Float[Tensor, "batch time"],
    unit_ids: Int[Tensor, "batch time"],
    clip_low: float,
    clip_high: float,
    weight: WeightKind = "uniform",
    num_trajectories: float | None = None,
    num_units: float | None = None,
    clip_reference_length: float | None = None,
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
    (arXiv:2601.04767) used the turn's ratio before. ``docs/explanation/objective.md`` has the whole table.

    Args:
        logprobs: log-probability of each token under the policy, in nats. Masked positions may hold anything.
        old_logprobs: the same under the policy that the update started from. A constant: no gradient flows into it.
        advantages: one number per trajectory, or per token; a unit's advantage is the mean over its tokens. A constant.
        unit_ids: ids from :func:`~workflow_r1.algorithms.unit_ids`; 0 where a token is not the policy's.
        clip_low: the ratio is clipped below ``1 - clip_low``.
        clip_high: the ratio is clipped above ``1 + clip_high``.
        weight: :math:`w_{ik}`; see :func:`~workflow_r1.algorithms.unit_weights`.
        num_trajectories: N. By default the trajectories with at least one unit, so that a masked trajectory equals a
            deleted one. A micro-batch passes the count of its whole mini-batch: then the micro-batches' losses and
            gradients add up to the mini-batch's.
        num_units: units of the whole mini-batch, for weight ``batch``.
        clip_reference_length: if set, both clip ranges of a unit of L tokens are scaled by
            ``sqrt(clip_reference_length / L)``: the spread of a mean of L terms.
        unit_correction: factor on each unit's term, e.g. from :func:`~workflow_r1.algorithms.turn_correction`;
            per-token values are averaged over the unit. A constant.

    Returns:
        The loss, in float32 at least, 0 (with a graph) where no unit is present; and the metrics ``ratio_mean``,
        ``ratio_min``, ``ratio_max``, ``clip_fraction_low`` and ``clip_fraction_high`` (units whose gradient the clip
        removes: below the range at a negative advantage, above it at a positive one), ``approx_kl`` (to the old policy,
        per token, k3), ``num_units``, ``num_trajectories`` and ``num_tokens``.

    Raises:
        ValueError: a negative clip range, an unknown weight or an impossible count.
    """
    dtype = torch.promote_types(logprobs.dtype, torch.float32)
    units = find_units(unit_ids)
    counts = {"num_trajectories": num_trajectories, "num_units": num_units}
    weights = unit_weights(units, weight=weight, dtype=dtype, **counts)
    advantage = value_of_unit(advantages.detach().to(dtype), units)

    difference = logprobs.to(dtype) - old_logprobs.detach().to(dtype)
    log_ratio = mean_per_unit(difference, units).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    ratio = log_ratio.exp()

    lowest, highest = clip_range(units.length.to(dtype), clip_low, clip_high, clip_reference_length)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(lowest, highest) * advantage)
    if unit_correction is not None:
        surrogate = surrogate * value_of_unit(unit_correction.detach().to(dtype), units)
    loss = (weights * -surrogate).sum()

    with torch.no_grad():
        metrics = ratio_metrics(
            ratio=ratio,
            clipped_low=(ratio < lowest) & (advantage < 0),
            clipped_high=(ratio > highest) & (advantage > 0),
            approx_kl=mean_per_unit(kl_to_old_policy(difference), units),
            num_trajectories=len(units.row_of_unit.unique()),
            num_tokens=len(units.unit_of_token),
        )
    return PolicyLoss(loss=loss, metrics=metrics)


def clip_range(
    length: Float[Tensor, " units"], clip_low: float, clip_high: float, reference_length: float | None
) -> tuple[Float[Tensor, " units"], Float[Tensor, " units"]]:
    r"""Return the smallest and the largest ratio of each unit that the clip leaves alone.

    .. math:: 1 - \epsilon_{\text{low}} \sqrt{L_0 / L_{ik}}, \quad 1 + \epsilon_{\text{high}} \sqrt{L_0 / L_{ik}}

    Without a reference length :math:`L_0` the factor is 1.

    Raises:
        ValueError: a negative clip range, or a reference length that is not positive.
    """
    if clip_low < 0 or clip_high < 0:
        raise ValueError(f"expected clip ranges of at least 0, received clip_low={clip_low}, clip_high={clip_high}")
    if reference_length is not None and not reference_length > 0:
        raise ValueError(f"expected clip_reference_length to be positive, received {reference_length}")
    scale = torch.ones_like(length) if reference_length is None else (reference_length / length).sqrt()
    return 1.0 - clip_low * scale, 1.0 + clip_high * scale


def kl_to_old_policy(difference: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    r"""Estimate :math:`KL(\pi_{\text{old}} \| \pi_\theta)` per token: :math:`e^d - 1 - d`, d the log ratio.

    Source: k3 of J. Schulman, "Approximating KL divergence" (2020); the tokens are the old policy's samples.
    """
    bounded = difference.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return bounded.expm1() - bounded


def ratio_metrics(
    *,
    ratio: Float[Tensor, " units"],
    clipped_low: Tensor,
    clipped_high: Tensor,
    approx_kl: Float[Tensor, " units"],
    num_trajectories: int,
    num_tokens: int,
) -> dict[str, float]:
    """Reduce per-unit quantities to floats, with one transfer from the device."""
    num_units = len(ratio)
    if num_units == 0:
        values = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    else:
        values = torch.stack(
            [
                ratio.mean(),
                ratio.min(),
                ratio.max(),
                clipped_low.to(ratio.dtype).mean(),
                clipped_high.to(ratio.dtype).mean(),
                approx_kl.mean(),
            ]
        ).tolist()
    names = ("ratio_mean", "ratio_min", "ratio_max", "clip_fraction_low", "clip_fraction_high", "approx_kl")
    return {
        **dict(zip(names, values, strict=True)),
        "num_units": float(num_units),
        "num_trajectories": float(num_trajectories),
        "num_tokens": float(num_tokens),
    }
