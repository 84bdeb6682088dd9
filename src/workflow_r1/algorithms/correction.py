"""Correction for samplers whose numerics differ from the trainer's."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_r1.algorithms.loss import LOG_RATIO_BOUND
from workflow_r1.algorithms.units import find_units, mean_per_unit, spread_to_tokens


def turn_correction(
    *,
    old_logprobs: Float[Tensor, "batch time"],
    sampler_logprobs: Float[Tensor, "batch time"],
    unit_ids: Int[Tensor, "batch time"],
    cap: float = 2.0,
) -> Float[Tensor, "batch time"]:
    r"""Compute the truncated importance weight of each unit, from the sampler to the trainer.

    .. math:: c_{ik} = \min\Big( C,\ \exp\Big( \frac{1}{L_{ik}} \sum_{t \in \text{unit } k}
        \big[ \log \pi_{\text{old}}(y_{it}) - \log \pi_{\text{sampler}}(y_{it}) \big] \Big) \Big)

    The sampler (another engine, another precision) and the trainer disagree slightly on the same weights. The *mean* of
    the differences is taken, as in the objective's own ratio: with their sum, a small systematic difference grows with
    the length, and the weights of long trajectories shrink to nothing (NVIDIA-NeMo/RL issue 2269).
    Truncation: Ionides, "Truncated importance sampling" (2008), with verl's default cap.

    Args:
        old_logprobs: the trainer's log-probabilities before the update, in nats. Masked positions may hold anything.
        sampler_logprobs: the sampler's log-probabilities of the same tokens, in nats.
        unit_ids: 0 where a token is not the policy's; pass turn ids for one weight per turn.
        cap: C, the largest weight.

    Returns:
        The weight of a token's unit, without gradient; 0 where a token is not the policy's. It is ready to be
        ``unit_correction`` of :func:`~workflow_r1.algorithms.policy_loss`.

    Raises:
        ValueError: the cap is not positive.
    """
    if not cap > 0:
        raise ValueError(f"expected cap to be positive, received {cap}")
    dtype = torch.promote_types(old_logprobs.dtype, torch.float32)
    units = find_units(unit_ids)
    difference = old_logprobs.detach().to(dtype) - sampler_logprobs.detach().to(dtype)
    log_weight = mean_per_unit(difference, units).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return spread_to_tokens(log_weight.exp().clamp(max=cap), units)
