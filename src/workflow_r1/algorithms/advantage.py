"""Conversion of a group's rewards to advantages."""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

AdvantageKind = Literal["group_normalised", "group_centred", "leave_one_out", "reward"]
"""Conversion of a group's rewards to advantages."""

STD_EPSILON = 1e-6
"""Added to the standard deviation; verl's value. Groups without any spread get exactly 0 with any value."""


def group_advantages(
    rewards: Float[Tensor, " num"] | Int[Tensor, " num"],
    group_ids: Int[Tensor, " num"],
    *,
    normalize_std: bool = True,
    valid: Bool[Tensor, " num"] | None = None,
) -> Float[Tensor, " num"]:
    r"""Compare each trajectory's reward with those of its group.

    .. math:: A_i = \frac{r_i - \operatorname{mean}(r)}{\operatorname{std}(r) + 10^{-6}}

    Source: DeepSeekMath (arXiv:2402.03300, section 4.1.2). The standard deviation is the sample's (n - 1), as in verl
    and TRL. Without it: Dr. GRPO (arXiv:2503.20783).

    Args:
        rewards: one per trajectory.
        group_ids: trajectories of one question share an id; any integers, in any order.
        normalize_std: divide by the group's standard deviation.
        valid: False where a trajectory has no reward (infrastructure failed): it enters no statistic.

    Returns:
        Advantages; 0 where not valid, and for a group of one or of equal rewards.
    """
    centred, group, counts = _centre(rewards, group_ids, valid)
    if not normalize_std:
        return centred
    squares = torch.zeros_like(counts).index_add(0, group, centred.square())
    std = (squares / (counts - 1).clamp(min=1)).sqrt()
    return centred / (std[group] + STD_EPSILON)


def leave_one_out_advantages(
    rewards: Float[Tensor, " num"] | Int[Tensor, " num"],
    group_ids: Int[Tensor, " num"],
    *,
    valid: Bool[Tensor, " num"] | None = None,
) -> Float[Tensor, " num"]:
    r"""Compare each reward with the mean of the *other* rewards of its group: an unbiased baseline.

    .. math:: A_i = r_i - \frac{1}{n - 1} \sum_{j \ne i} r_j = \frac{n}{n - 1} \big(r_i - \operatorname{mean}(r)\big)

    Source: RLOO (arXiv:2402.14740, equation 8). Arguments and result as in :func:`group_advantages`.
    """
    centred, group, counts = _centre(rewards, group_ids, valid)
    return centred * (counts / (counts - 1).clamp(min=1))[group]


def advantages(
    rewards: Float[Tensor, " num"] | Int[Tensor, " num"],
    group_ids: Int[Tensor, " num"],
    *,
    kind: AdvantageKind = "group_normalised",
    valid: Bool[Tensor, " num"] | None = None,
) -> Float[Tensor, " num"]:
    """Compute the advantages that a configuration names.

    Args:
        rewards: one per trajectory.
        group_ids: trajectories of one question share an id.
        kind: ``group_normalised`` and ``group_centred`` are :func:`group_advantages` with and without the standard
            deviation, ``leave_one_out`` is :func:`leave_one_out_advantages`, ``reward`` is :math:`A_i = r_i`: REINFORCE
            without a baseline (Williams, 1992), which compares nothing.
        valid: False where a trajectory has no reward.

    Raises:
        ValueError: ``kind`` is not one of the four.
    """
    match kind:
        case "group_normalised":
            return group_advantages(rewards, group_ids, valid=valid)
        case "group_centred":
            return group_advantages(rewards, group_ids, normalize_std=False, valid=valid)
        case "leave_one_out":
            return leave_one_out_advantages(rewards, group_ids, valid=valid)
        case "reward":
            plain = rewards if rewards.is_floating_point() else rewards.to(torch.get_default_dtype())
            return plain if valid is None else torch.where(valid.bool(), plain, 0.0)
    raise ValueError(f"expected kind to be one of {get_args(AdvantageKind)}, received {kind!r}")


def _centre(
    rewards: Float[Tensor, " num"] | Int[Tensor, " num"],
    group_ids: Int[Tensor, " num"],
    valid: Bool[Tensor, " num"] | None,
) -> tuple[Float[Tensor, " num"], Int[Tensor, " num"], Float[Tensor, " groups"]]:
    """Return the rewards less their group's mean (0 where not valid), the group of each, and the groups' sizes."""
    if not rewards.is_floating_point():
        rewards = rewards.to(torch.get_default_dtype())
    present = torch.ones_like(rewards, dtype=torch.bool) if valid is None else valid.bool()
    ids, group = group_ids.unique(return_inverse=True)
    sizes = rewards.new_zeros(len(ids))
    counts = sizes.index_add(0, group, present.to(rewards.dtype))
    # Measured from the group's smallest reward, equal rewards are exactly 0. Their rounded mean may differ from them;
    # the rest, divided by a standard deviation of nearly 0, would be an advantage made of rounding errors.
    lowest = torch.full_like(sizes, torch.inf).scatter_reduce(0, group, rewards.where(present, torch.inf), "amin")
    above = torch.where(present, rewards - lowest[group], 0.0)
    mean = sizes.index_add(0, group, above) / counts.clamp(min=1)
    return torch.where(present, above - mean[group], 0.0), group, counts
