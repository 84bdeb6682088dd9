"""The accuracy-cost frontier."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_frontier(*, costs: ArrayLike, accuracies: ArrayLike) -> NDArray[np.bool_]:
    """Return the methods that no other one beats: no other is at least as cheap and as accurate, and better in one of the two.

    Args:
        costs: ``(methods,)`` in any unit; NaN where unknown: such a method is not on the frontier and beats nobody.
        accuracies: ``(methods,)``.

    Returns:
        ``(methods,)``; two methods that are equal in both are both on it, or neither.
    """
    cost, accuracy = np.asarray(costs, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if cost.ndim != 1 or cost.shape != accuracy.shape:
        raise ValueError(f"expected two lists of equal length, received shapes {cost.shape} and {accuracy.shape}")
    if np.isnan(accuracy).any():
        raise ValueError("expected accuracies, received NaN: leave out methods without one")
    on_frontier = np.zeros(len(cost), dtype=np.bool_)
    best, best_cost = -math.inf, math.inf
    for index in np.lexsort((-accuracy, cost)):
        if math.isnan(cost[index]):
            continue
        if accuracy[index] > best:
            best, best_cost = accuracy[index], cost[index]
        on_frontier[index] = accuracy[index] == best and cost[index] == best_cost
    return on_frontier
