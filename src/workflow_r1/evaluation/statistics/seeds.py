"""Figures of several seeds: one number from each run, paired by seed where two arms are compared."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_r1.evaluation.statistics.intervals import Interval
from workflow_r1.evaluation.student import t_quantile, t_two_sided_p


def seed_interval(*, values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's interval of a mean over seeds, or of a difference that was taken seed by seed.

    Where the seed decides about everything that is random, the questions and the world among it, the interval covers all
    of it. Differences seed by seed pair what the two arms share.

    Args:
        values: ``(seeds,)``; one seed gives an interval without an end.
        confidence: in (0, 1).
    """
    numbers = _as_values(values)
    mean, num = float(numbers.mean()), len(numbers)
    half = math.inf
    if num > 1:
        half = t_quantile(confidence=confidence, degrees=num - 1) * float(numbers.std(ddof=1)) / math.sqrt(num)
    return Interval(
        estimate=mean, low=mean - half, high=mean + half, confidence=confidence, method="t over seeds",
        num_questions=0, num_seeds=num,
    )  # fmt: skip


def seed_p_value(*, differences: ArrayLike) -> float:
    """Two-sided p-value of Student's test that differences seed by seed have the mean 0; 1 for a single seed."""
    numbers = _as_values(differences)
    mean, num = float(numbers.mean()), len(numbers)
    error = float(numbers.std(ddof=1)) / math.sqrt(num) if num > 1 else math.inf
    if mean == 0 or num < 2:
        return 1.0
    return t_two_sided_p(mean / error, degrees=num - 1) if error > 0 else 0.0


def smallest_difference(*, spread: float, num_seeds: int, num_tests: int = 1, power: float = 0.8) -> float:
    r"""Smallest true difference that a test over seeds finds with the given power, at 5% over the whole family.

    .. math:: \delta = (t_{1 - .05 / 2m} + t_{\text{power}}) \, \sigma / \sqrt{n}

    Args:
        spread: standard deviation :math:`\sigma` of the differences seed by seed.
        num_seeds: n, at least 2.
        num_tests: m: the tests of the family, counted as by Bonferroni, the first step of Holm.
        power: in (.5, 1).
    """
    degrees = num_seeds - 1
    found = t_quantile(confidence=1 - 0.05 / num_tests, degrees=degrees)
    return (found + t_quantile(confidence=2 * power - 1, degrees=degrees)) * spread / math.sqrt(num_seeds)


def pooled_spread(*, differences: Sequence[ArrayLike]) -> float:
    """Standard deviation within several samples of differences, each about its own mean; NaN where none has two."""
    samples = [sample for sample in map(_as_values, differences) if len(sample) > 1]
    degrees = sum(len(sample) - 1 for sample in samples)
    if not degrees:
        return math.nan
    return math.sqrt(sum(float(sample.var(ddof=1)) * (len(sample) - 1) for sample in samples) / degrees)


def _as_values(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError("expected a list of finite numbers, one of each seed")
    return numbers
