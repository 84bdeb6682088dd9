"""Estimates of the KL divergence to a reference policy, and their loss."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_r1.algorithms.loss import LOG_RATIO_BOUND
from workflow_r1.algorithms.units import WeightKind, find_units, mean_per_unit, unit_weights

KLKind = Literal["k1", "k2", "k3"]
"""Estimator of the KL."""


def kl_estimate(
    logprobs: Float[Tensor, "batch time"],
    ref_logprobs: Float[Tensor, "batch time"],
    kind: KLKind = "k3",
) -> Float[Tensor, "batch time"]:
    r"""Estimate :math:`KL(\pi_\theta \| \pi_{\text{ref}})` at each token that the policy sampled.

    With :math:`d = \log \pi_\theta - \log \pi_{\text{ref}}`:

    ====  ======================  ==========================================================================
    kind  estimate                value; what its gradient follows
    ====  ======================  ==========================================================================
    k1    :math:`d`               unbiased, may be negative; as a loss its expected gradient is 0: log it only
    k2    :math:`d^2 / 2`         biased, at least 0; the gradient of :math:`KL(\pi_\theta \| \pi_{\text{ref}})`
    k3    :math:`e^{-d} - 1 + d`  unbiased, at least 0; the gradient of :math:`KL(\pi_{\text{ref}} \| \pi_\theta)`
    ====  ======================  ==========================================================================

    Source: J. Schulman, "Approximating KL divergence" (2020); k3 is DeepSeekMath's (arXiv:2402.03300, equation 4) and
    the "low-variance" KL of verl and of Workflow-R1. The last column holds where the tokens are the policy's own.

    Args:
        logprobs: under the policy, in nats.
        ref_logprobs: under the reference policy. A constant.
        kind: name of the estimate.

    Returns:
        One estimate per position, in float32 at least; meaningless where the token is not the policy's.

    Raises:
        ValueError: ``kind`` is not one of the three.
    """
    dtype = torch.promote_types(logprobs.dtype, torch.float32)
    difference = logprobs.to(dtype) - ref_logprobs.detach().to(dtype)
    match kind:
        case "k1":
            return difference
        case "k2":
            return 0.5 * difference.square()
        case "k3":
            bounded = difference.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
            return (-bounded).expm1() + bounded
    raise ValueError(f"expected kind to be one of {get_args(KLKind)}, received {kind!r}")


def kl_loss(
    *,
    logprobs: Float[Tensor, "batch time"],
    ref_logprobs: Float[Tensor, "batch time"],
    unit_ids: Int[Tensor, "batch time"],
    kind: KLKind = "k3",
    weight: WeightKind = "uniform",
    weight_length: float | None = None,
    num_trajectories: float | None = None,
    num_units: float | None = None,
) -> Float[Tensor, ""]:
    r"""Average the KL estimates as the objective averages its units; multiply by beta and add to the policy loss.

    .. math:: \frac{1}{N} \sum_i \sum_k w_{ik} \frac{1}{L_{ik}} \sum_{t \in \text{unit } k} \hat{k}_{it}

    With one-token units and uniform weights it is DeepSeekMath's (arXiv:2402.03300, equation 3).

    Args:
        logprobs: under the policy, in nats. Masked positions may hold anything.
        ref_logprobs: under the reference policy. A constant.
        unit_ids: 0 where a token is not the policy's.
        kind: see :func:`kl_estimate`.
        weight: as in :func:`~workflow_r1.algorithms.policy_loss`, like its length and the two counts.
        weight_length: C of the weight ``constant``.
        num_trajectories: trajectories of the whole mini-batch.
        num_units: units of the whole mini-batch.

    Returns:
        Scalar; 0 (with a graph) where no unit is present.
    """
    units = find_units(unit_ids)
    # Masked positions get a difference of 0 before the estimate, so that its backward pass meets no infinities.
    estimate = kl_estimate(logprobs.where(units.mask, 0.0), ref_logprobs.where(units.mask, 0.0), kind)
    counts = {"num_trajectories": num_trajectories, "num_units": num_units}
    weights = unit_weights(units, weight=weight, dtype=estimate.dtype, weight_length=weight_length, **counts)
    return (weights * mean_per_unit(estimate, units)).sum()
