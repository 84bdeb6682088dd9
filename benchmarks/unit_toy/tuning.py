"""The choice of each arm's learning rate, on seeds of its own."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from arms import ARMS
from training import Job

RATES = (0.02, 0.04, 0.08)
"""Learning rates that every arm tries; where the best is the first or last that was tried, the next one is tried too."""

MOST_RATES = 8
"""Learning rates after which an arm tries no more."""

FIRST_TUNING_SEED, TUNING_SEEDS = 1000, 3


def untried(rows: Sequence[dict[str, Any]], arms: Sequence[str], doses: Sequence[int]) -> list[Job]:
    """Return the runs of tuning that are still to be done: the grid, then one rate beyond it where the best is at its edge."""
    areas = tuning_areas(rows)
    jobs: list[Job] = []
    for dose, arm in itertools.product(doses, arms):
        if tuned_as(arm, dose) != arm:
            continue
        tried = areas.get((arm, dose), {})
        wanted = set(RATES) | set(tried)
        if all(len(tried.get(rate, {})) == TUNING_SEEDS for rate in wanted) and len(wanted) < MOST_RATES:
            best = _best(tried)
            wanted |= {best / 2} if best == min(tried) else {best * 2} if best == max(tried) else set()
        jobs += [
            (arm, dose, rate, seed, "tuning")
            for rate in sorted(wanted)
            for seed in range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + TUNING_SEEDS)
            if seed not in tried.get(rate, {})
        ]
    return jobs


def tuned_as(arm: str, dose: int) -> str:
    """Return the arm whose rate an arm takes: with ratios of 1, arms of one weight are one arm, as the null table shows."""
    if dose > 1:
        return arm
    return next(name for name, each in ARMS.items() if each.weighs_turns == ARMS[arm].weighs_turns)


def tuning_areas(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], dict[float, dict[int, float]]]:
    """Areas of the runs of tuning, by arm and dose, by rate, by seed."""
    areas: dict[tuple[str, int], dict[float, dict[int, float]]] = {}
    for row in rows:
        if row["stage"] == "tuning":
            of_rate = areas.setdefault((row["arm"], row["dose"]), {}).setdefault(row["rate"], {})
            of_rate[row["seed"]] = row["area"]
    return areas


def tuned(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Return the best learning rate of each arm at each dose, by the mean area of the tuning seeds."""
    best = {cell: _best(tried) for cell, tried in tuning_areas(rows).items()}
    doses = {dose for _, dose in best}
    return {
        (arm, dose): best[tuned_as(arm, dose), dose]
        for arm in ARMS
        for dose in doses
        if (tuned_as(arm, dose), dose) in best
    }


def _best(tried: dict[float, dict[int, float]]) -> float:
    return max(tried, key=lambda rate: statistics.mean(tried[rate].values()))


def best_area(tried: Mapping[float, Mapping[int, float]]) -> float:
    """Return the mean area of the best rate."""
    return max(statistics.mean(areas.values()) for areas in tried.values())
