"""The choice of each arm's learning rate, on seeds of its own."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from arms import ARMS
from training import Job, Setting, setting_of

RATES = (0.02, 0.04, 0.08)
"""Learning rates that every arm tries; where the best is the first or last that was tried, the next one is tried too."""

MOST_RATES = 8
"""Learning rates after which an arm tries no more."""

FIRST_TUNING_SEED, TUNING_SEEDS = 1000, 3


def untried(rows: Sequence[dict[str, Any]], arms: Sequence[str], settings: Sequence[Setting]) -> list[Job]:
    """Return the runs of tuning that are still to be done: the grid, then one rate beyond it where the best is at its edge."""
    areas = tuning_areas(rows)
    jobs: list[Job] = []
    for setting, arm in itertools.product(settings, arms):
        if tuned_as(arm, setting) != arm:
            continue
        tried = areas.get((arm, setting), {})
        wanted = set(RATES) | set(tried)
        if all(len(tried.get(rate, {})) == TUNING_SEEDS for rate in wanted) and len(wanted) < MOST_RATES:
            best = _best(tried)
            wanted |= {best / 2} if best == min(tried) else {best * 2} if best == max(tried) else set()
        jobs += [
            Job(arm, setting, rate, seed, "tuning")
            for rate in sorted(wanted)
            for seed in range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + TUNING_SEEDS)
            if seed not in tried.get(rate, {})
        ]
    return jobs


def tuned_as(arm: str, setting: Setting) -> str:
    """Return the arm whose rate an arm takes: with ratios of 1, arms of one weight are one arm, as the null table shows."""
    if setting != setting.null:
        return arm
    return next(name for name, each in ARMS.items() if each.weighs_turns == ARMS[arm].weighs_turns)


def tuning_areas(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, Setting], dict[float, dict[int, float]]]:
    """Areas of the runs of tuning, by arm and setting, by rate, by seed."""
    areas: dict[tuple[str, Setting], dict[float, dict[int, float]]] = {}
    for row in rows:
        if row["stage"] == "tuning":
            of_rate = areas.setdefault((row["arm"], setting_of(row)), {}).setdefault(row["rate"], {})
            of_rate[row["seed"]] = row["area"]
    return areas


def tuned(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, Setting], float]:
    """Return the best learning rate of each arm in each setting, by the mean area of the tuning seeds."""
    best = {cell: _best(tried) for cell, tried in tuning_areas(rows).items()}
    settings = {setting for _, setting in best}
    return {
        (arm, setting): best[tuned_as(arm, setting), setting]
        for arm in ARMS
        for setting in settings
        if (tuned_as(arm, setting), setting) in best
    }


def _best(tried: dict[float, dict[int, float]]) -> float:
    return max(tried, key=lambda rate: statistics.mean(tried[rate].values()))


def best_area(tried: Mapping[float, Mapping[int, float]]) -> float:
    """Return the mean area of the best rate."""
    return max(statistics.mean(areas.values()) for areas in tried.values())
