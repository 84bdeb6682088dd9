"""The cost of a trajectory, and the reward that weighs it: gated by success, and relative to the group."""

import math
from collections.abc import Sequence

from workflow_r1.rewards.config import CostKind
from workflow_r1.trajectory import Trajectory


def cost_of(trajectory: Trajectory, kind: CostKind) -> float | None:
    """Return what a trajectory cost.

    Args:
        trajectory: any trajectory.
        kind: ``tokens``: see :func:`num_tokens`. ``calls``: calls of the LLM and of the search by operators.
            ``turns``. ``seconds``: wall time, which depends on what else runs at the same time. ``money``: list price of
            all calls, those of a policy's server and those answered from the store of calls included, in the
            configuration's currency.

    Returns:
        The cost, at least 0; None where a price is unknown, or the tokens of a service that does not count them.
    """
    match kind:
        case "tokens":
            return num_tokens(trajectory)
        case "calls":
            return trajectory.usage.llm_calls + trajectory.usage.searches
        case "turns":
            return len(trajectory.turns)
        case "seconds":
            return trajectory.seconds
        case "money":
            return (trajectory.usage + trajectory.policy_usage).cost


def num_tokens(trajectory: Trajectory) -> int | None:
    """Return the tokens of all LLMs of a trajectory; None where a service did not count them.

    Tokens of a policy in this process are those of its context, each counted once: it keeps them between turns. Tokens
    of LLMs behind services are the services' own figures: a chat is sent anew with each turn.
    """
    usage = trajectory.usage
    if usage.tokens is None or trajectory.policy_usage.tokens is None:
        return None
    return usage.tokens + sum(trajectory.policy_tokens)


def cost_reductions(
    *, rewards: Sequence[float], successes: Sequence[bool], costs: Sequence[float], dial: float
) -> list[float]:
    r"""Return what each trajectory of a group loses by its cost.

    .. math:: \text{dial} \cdot \min(1,\ R_i - \max_{\text{wrong}} R) \cdot
        \frac{c_i - \min_{\text{right}} c}{\max_{\text{right}} c} \quad\text{where } i \text{ is right, else } 0

    A right trajectory never falls to a wrong one, since it loses less than its lead. A wrong one's cost enters nothing,
    so that nothing is gained by failing fast. The cheapest right one loses nothing; costs that are nearly equal hardly
    tell; the unit of the cost cancels.

    Args:
        rewards: rewards before the cost, one per trajectory of the group.
        successes: True for the right ones.
        costs: costs, at least 0.
        dial: at least 0, below 1.

    Returns:
        Reductions, at least 0.
    """
    right = [cost for cost, success in zip(costs, successes, strict=True) if success]
    dearest = max(right, default=0.0)
    if not dearest > 0:
        return [0.0] * len(rewards)
    best_wrong = max((r for r, success in zip(rewards, successes, strict=True) if not success), default=-math.inf)
    return [
        dial * min(1.0, max(0.0, reward - best_wrong)) * (cost - min(right)) / dearest if success else 0.0
        for reward, success, cost in zip(rewards, successes, costs, strict=True)
    ]
