"""Bounds on what one unit may contribute: the clip, its second bound, and the soft gates that stand in for it.

Each kind is a function of the units' ratios s and advantages A. Without any bound the term is s A.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ClipKind = Literal["fixed", "matched", "none", "sapo", "cispo"]
"""Bound on a unit's term. ``matched`` is ``fixed`` with a range that :func:`matched_scale` adapts from step to step."""

SCALE_BOUNDS = (1e-4, 1e4)
"""Smallest and largest factor of a matched range: a share that no range reaches shall not lead to 0 or overflow."""

LARGEST_CHANGE = 16.0
"""Most by which one step may ask for a narrower or a wider matched range; half of it, in logarithms, is followed."""


def clip_range(
    length: Float[Tensor, " units"], clip_low: float, clip_high: float, reference_length: float | None
) -> tuple[Float[Tensor, " units"], Float[Tensor, " units"]]:
    r"""Return the smallest and the largest ratio of each unit that the clip leaves alone.

    .. math:: 1 - \epsilon_{\text{low}} \sqrt{L_0 / L_{ik}}, \quad 1 + \epsilon_{\text{high}} \sqrt{L_0 / L_{ik}}

    Without a reference length :math:`L_0` the factor is 1. With it the range is the square-root band of FSPO
    (arXiv:2509.09177): FSPO lets the *sum* of a sequence's log ratios go as far as :math:`c \sqrt{L}`, thus their mean as
    far as :math:`c / \sqrt{L}`.

    Raises:
        ValueError: a negative clip range, or a reference length that is not positive.
    """
    if clip_low < 0 or clip_high < 0:
        raise ValueError(f"expected clip ranges of at least 0, received clip_low={clip_low}, clip_high={clip_high}")
    if reference_length is not None and not reference_length > 0:
        raise ValueError(f"expected clip_reference_length to be positive, received {reference_length}")
    scale = torch.ones_like(length) if reference_length is None else (reference_length / length).sqrt()
    return 1.0 - clip_low * scale, 1.0 + clip_high * scale


@dataclass(frozen=True, slots=True)
class Term:
    """Each unit's contribution to the objective, and the part that its bound took away."""

    value: Float[Tensor, " units"]
    """The term itself, with its gradient."""
    kept: Float[Tensor, " units"]
    """Share of the gradient of s A that is left; above 1 where a bound raises it. Without gradient."""
    is_below: Bool[Tensor, " units"]
    """True where the bound takes effect at a small ratio."""
    is_above: Bool[Tensor, " units"]
    """True where the bound takes effect at a large ratio."""


def unbounded(*, ratio: Float[Tensor, " units"], advantage: Float[Tensor, " units"]) -> Term:
    """Compute the term of plain importance sampling, s A."""
    nowhere = torch.zeros_like(ratio, dtype=torch.bool)
    return Term(ratio * advantage, torch.ones_like(ratio), nowhere, nowhere)


def clipped(
    *,
    ratio: Float[Tensor, " units"],
    advantage: Float[Tensor, " units"],
    lowest: Float[Tensor, " units"],
    highest: Float[Tensor, " units"],
    dual_clip: float | None = None,
) -> Term:
    r"""Compute PPO's clipped term, and at negative advantages its second bound where there is one.

    .. math::

        f = \min\big( s A,\ \operatorname{clip}(s) A \big), \qquad
        f_{\text{dual}} = \max\big( f,\ c A \big) \ \text{where}\ A < 0

    Source: PPO (arXiv:1707.06347, equation 7); the dual clip of Ye et al. (arXiv:1912.09729), which verl's ``vanilla``
    has with c = 3.

    Raises:
        ValueError: the second bound is not above 1.
    """
    value = torch.minimum(ratio * advantage, ratio.clamp(lowest, highest) * advantage)
    is_below = (ratio < lowest) & (advantage < 0)
    is_above = (ratio > highest) & (advantage > 0)
    if dual_clip is not None:
        if not dual_clip > 1:
            raise ValueError(f"expected dual_clip above 1, received {dual_clip}")
        value = torch.where(advantage < 0, torch.maximum(value, dual_clip * advantage), value)
        is_above = is_above | ((ratio > dual_clip) & (advantage < 0))
    return Term(value, (~(is_below | is_above)).to(ratio.dtype), is_below, is_above)


def soft_gated(
    *, ratio: Float[Tensor, " units"], advantage: Float[Tensor, " units"], positive: float, negative: float
) -> Term:
    r"""Compute SAPO's term, a sigmoid in place of the clip.

    .. math:: f = \frac{4}{\tau} \, \sigma\big( \tau (s - 1) \big) A, \qquad
        \tau = \tau_{\text{pos}} \ \text{where}\ A > 0,\ \tau_{\text{neg}} \ \text{elsewhere}

    Its gradient is that of s A times :math:`4 \sigma (1 - \sigma)`: all of it at ratio 1, and ever less away from it.
    Source: SAPO (arXiv:2511.20347), there with the token as the unit.

    Args:
        ratio: ratio of each unit.
        advantage: advantage of each unit.
        positive: temperature where the advantage is positive; the paper's is 1.
        negative: temperature elsewhere; the paper's is 1.05.

    Raises:
        ValueError: a temperature is not positive.
    """
    if not (positive > 0 and negative > 0):
        raise ValueError(f"expected positive temperatures of SAPO, received {positive} and {negative}")
    temperature = torch.where(advantage > 0, ratio.new_tensor(positive), ratio.new_tensor(negative))
    gate = torch.sigmoid(temperature * (ratio - 1.0))
    nowhere = torch.zeros_like(ratio, dtype=torch.bool)
    return Term(gate * (4.0 / temperature) * advantage, (4.0 * gate * (1.0 - gate)).detach(), nowhere, nowhere)


def weight_bounded(
    *,
    ratio: Float[Tensor, " units"],
    advantage: Float[Tensor, " units"],
    logprob: Float[Tensor, " units"],
    lowest: Float[Tensor, " units"],
    highest: Float[Tensor, " units"],
) -> Term:
    r"""Compute CISPO's term: the ratio is a bounded weight without gradient, and no unit loses its gradient altogether.

    .. math:: f = \operatorname{sg}\big[ \operatorname{clip}(s) \big] \, A \,
        \frac{1}{L} \sum_{t \in \text{unit}} \log \pi_\theta(y_t)

    With the range 0 / 0 it is REINFORCE, whatever the ratio. Source: CISPO (MiniMax-M1, arXiv:2506.13585, equations 4 and
    5), there with the token as the unit.

    Args:
        ratio: ratio of each unit.
        advantage: advantage of each unit.
        logprob: mean log-probability of the unit's tokens under the policy.
        lowest: smallest weight.
        highest: largest weight.
    """
    ratio = ratio.detach()
    weight = ratio.clamp(lowest, highest)
    return Term(weight * advantage * logprob, weight / ratio, ratio < lowest, ratio > highest)


def range_excess(
    ratio: Float[Tensor, " units"],
    advantage: Float[Tensor, " units"],
    lowest: Float[Tensor, " units"],
    highest: Float[Tensor, " units"],
) -> Float[Tensor, " units"]:
    r"""Return how far each unit has gone where the clip could stop it, as a multiple of its range.

    .. math:: \frac{s - 1}{\epsilon_{\text{high}}} \ \text{where}\ A > 0, \qquad
        \frac{1 - s}{\epsilon_{\text{low}}} \ \text{where}\ A < 0

    A range that is scaled by a factor removes exactly the units above that factor.
    """
    tiny = torch.finfo(ratio.dtype).tiny
    above, below = (highest - 1.0).clamp(min=tiny), (1.0 - lowest).clamp(min=tiny)
    return torch.where(advantage > 0, (ratio - 1.0) / above, (1.0 - ratio) / below)


@torch.no_grad()
def matched_scale(
    scale: float, *, excess: Float[Tensor, " units"], mass: Float[Tensor, " units"], share: float
) -> float:
    r"""Return the factor of the next step's range, for clips that shall all remove one share of the gradient's mass.

    On the units of one step the factor :math:`f^*` would have removed the share: above it lies that much of the mass, to
    within one unit. The next factor is halfway there in logarithms, :math:`f \sqrt{f^* / f}`: ratios depend on the range
    that made them, and halves do not overshoot. Where no ratio has moved nothing changes.

    No paper that we know matches clips so. The share of clipped *units* does not match them: the units of large ratio and
    large advantage, which a clip meets first, carry more of the gradient than others.

    Args:
        scale: factor of the range in this step.
        excess: one for each unit of the step, from :class:`~workflow_r1.algorithms.PolicyLoss`, by the range as scaled.
        mass: mass of their gradients without a clip, likewise.
        share: share of the mass that the clip shall remove.

    Returns:
        The next factor of the range: the same whatever the order of the units.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share between 0 and 1, received {share}")
    movable = mass > 0
    excess, mass = excess[movable].double(), mass[movable].double()
    if not (excess > 0).any():
        return scale
    order = excess.argsort(descending=True, stable=True)
    excess, mass = excess[order], mass[order]
    num_removed = int((mass.cumsum(0) <= share * mass.sum()).sum())
    wanted = max(excess[num_removed].item(), 1.0 / LARGEST_CHANGE)
    smallest, largest = SCALE_BOUNDS
    return min(max(scale * min(wanted, LARGEST_CHANGE) ** 0.5, smallest), largest)
