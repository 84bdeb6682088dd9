r"""Credit of single turns: advantages by turn from returns to go. An experiment; the objective's own is the outcome.

The return to go of turn k of trajectory i is what is still to come there, :math:`G_{ik} = R_i - \sum_{l<k} r_{il}`: the
reward of the trajectory less the turn rewards that it had already. It is compared with a baseline
:math:`b_{ik}`, and the policy gradient is unbiased wherever the baseline does not depend on what trajectory i does at
turn k or later. Its *number of turns* is among that: see :func:`turn_advantages`.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workflow_r1.algorithms.advantage import STD_EPSILON, AdvantageKind


def turn_advantages(
    returns: Float[Tensor, "num turns"],
    num_turns: Int[Tensor, " num"],
    group_ids: Int[Tensor, " num"],
    *,
    states: Int[Tensor, "num turns"] | None = None,
    kind: AdvantageKind = "group_normalised",
) -> Float[Tensor, "num turns"]:
    r"""Compare the return to go of each turn with those of the other trajectories of its group.

    .. math:: A_{ik} = c_n\,(G_{ik} - b_{ik}), \qquad b_{ik} = \frac{1}{n-1} \sum_{j \ne i} G_{j,\min(k, K_j)}

    A trajectory that has ended stands in the baseline with its last return to go. Every baseline thus has n - 1 terms,
    whichever turn a trajectory stops at. The mean over the trajectories that are still alive at turn k has fewer terms
    the later the turn; built into advantages turn by turn, their number depends on the trajectory's own stop, and the
    gradient is biased wherever the policy decides when to stop (verl issue 7244; the test enumerates it).

    With states it is the baseline of GiGPO's step groups (arXiv:2505.10978): the mean over the turns of *other*
    trajectories of the group that began in the same state, and the one above where no other trajectory was there. GiGPO
    itself adds the two comparisons, takes the trajectory's own turns into the means, and discounts; each of the first
    two biases the gradient.

    The factor is that of the outcome: :math:`c_n = 1` for ``leave_one_out``, :math:`(n-1)/n` for ``group_centred``, and
    ``group_normalised`` divides the latter by one spread for the whole group: the standard deviation of the n returns,
    over as many turns as the longest trajectory has; with states the root mean square of the advantages. Without turn
    rewards, and without states, all turns have the outcome's advantage.

    Args:
        returns: returns to go; at least one column. Beyond a trajectory's last turn anything.
        num_turns: turns of each trajectory; one of none has its reward in the first column.
        group_ids: trajectories of one question share an id; any integers, in any order.
        states: state at the start of each turn, as a number that equal states share. None compares without states.
        kind: see :func:`~workflow_r1.algorithms.advantages`.

    Returns:
        Advantages; 0 beyond a trajectory's last turn, and for a group of one.
    """
    advantages = torch.zeros_like(returns)
    alive = torch.arange(returns.shape[1], device=returns.device) < num_turns[:, None]
    for group in group_ids.unique():
        rows = (group_ids == group).nonzero()[:, 0]
        if len(rows) > 1:
            advantages[rows] = _of_group(
                returns[rows], num_turns[rows], alive[rows], None if states is None else states[rows], kind
            )
    return advantages.where(alive, 0.0)


def _of_group(
    returns: Float[Tensor, "num turns"],
    num_turns: Int[Tensor, " num"],
    alive: Bool[Tensor, "num turns"],
    states: Int[Tensor, "num turns"] | None,
    kind: AdvantageKind,
) -> Float[Tensor, "num turns"]:
    num, longest = len(returns), max(1, int(num_turns.max()))
    last = (num_turns - 1).clamp(min=0)
    column = torch.arange(returns.shape[1], device=returns.device)
    held = returns.gather(1, torch.minimum(column[None, :].expand_as(returns), last[:, None]))
    # Measured from the smallest, as the outcome's are: equal returns are exactly 0.
    held = held - held.min()
    centred = held - held.mean(dim=0)
    differences = centred * (num / (num - 1))
    if states is not None:
        differences = _by_state(held, differences, alive, states)
    if kind == "leave_one_out":
        return differences
    differences = differences * ((num - 1) / num)
    if kind == "group_centred":
        return differences
    if states is None:
        spread = centred[:, :longest].square().sum() / (longest * (num - 1))
    else:  # Turns of different numbers are compared: their spread may be large where that of each number is 0.
        spread = differences[alive].square().sum() / alive.sum().clamp(min=1)
    return differences / (spread.sqrt() + STD_EPSILON)


def _by_state(
    held: Float[Tensor, "num turns"],
    differences: Float[Tensor, "num turns"],
    alive: Bool[Tensor, "num turns"],
    states: Int[Tensor, "num turns"],
) -> Float[Tensor, "num turns"]:
    """Replace the baseline where another trajectory was in the same state."""
    compared = differences.clone()
    for state in states[alive].unique():
        here = alive & (states == state)
        by_row, visits = held.where(here, 0.0).sum(dim=1), here.sum(dim=1)
        num_others = visits.sum() - visits
        baseline = (by_row.sum() - by_row) / num_others.clamp(min=1)
        compared = torch.where(here & (num_others > 0)[:, None], held - baseline[:, None], compared)
    return compared


def spread_turns(
    values: Float[Tensor, "batch turns"], turn_ids: Int[Tensor, "batch time"]
) -> Float[Tensor, "batch time"]:
    """Give each policy token the value of its turn; 0 elsewhere.

    Args:
        values: column k - 1 is turn k's.
        turn_ids: turn of each policy token, 1 for the first; 0 where a token is not the policy's.
    """
    return values.gather(1, (turn_ids - 1).clamp(min=0)).where(turn_ids > 0, 0.0)
