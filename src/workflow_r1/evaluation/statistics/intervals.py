"""Intervals of figures and of their differences: what each covers stands in its docstring."""

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from workflow_r1.evaluation.figures import wilson_interval
from workflow_r1.evaluation.statistics.scores import (
    Scores,
    as_pair,
    as_table,
    chunks,
    is_binary,
    one_seed,
    one_seed_pair,
    paired_differences,
    variance_of_mean,
    variance_of_rest,
)
from workflow_r1.evaluation.student import t_quantile
from workflow_r1.trajectory.records import Record

NUM_RESAMPLES = 10_000
"""Resamples of a bootstrap: the ends of a 95% interval then move by about a hundredth of its width from seed to seed."""

_MULTINOMIAL_COST = 30
"""Questions that can be drawn one by one in the time of one multinomial number (measured: 20 to 50)."""


class Interval(Record):
    """A figure with its confidence interval."""

    estimate: float
    """The figure itself, in the unit of the scores."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    confidence: float
    """Share of such intervals that are meant to hold the true figure."""
    method: str
    """Method by which it was computed."""
    num_questions: int
    """Questions that it rests on."""
    num_seeds: int
    """Seeds that it rests on."""

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def clipped(self, *, low: float, high: float) -> "Interval":
        """Cut the interval to the possible range of the figure."""
        return self.model_copy(update={"low": max(low, self.low), "high": min(high, self.high)})


def rate_interval(*, scores: ArrayLike, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (1927) of a share of questions; see :func:`~workflow_r1.evaluation.figures.wilson_interval`.

    The interval covers the choice of questions and the randomness of an answer. It does not cover seeds: there is one.

    Args:
        scores: ``(questions,)``, each 0 or 1; at least one.
        confidence: in (0, 1).
    """
    table = one_seed(scores)
    if not is_binary(table):
        raise ValueError("expected scores of 0 and 1, received others: use bootstrap_interval")
    low, high = wilson_interval(int(table.sum()), len(table), z=_z(confidence))
    return _interval(table, low=low, high=high, confidence=confidence, method="Wilson")


def bootstrap_interval(
    *,
    scores: ArrayLike,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Bootstrap over questions (Efron 1979) of a mean, bias-corrected and accelerated (Efron 1987).

    The interval covers the choice of questions and the randomness of an answer. With several seeds it says what *these*
    seeds reach on other questions, and nothing about other seeds. Its width is 0 where all scores are equal, which is
    no certainty.

    Args:
        scores: ``(questions,)`` or ``(questions, seeds)``; at least two questions.
        confidence: in (0, 1).
        num_resamples: number of draws of the questions with replacement.
        seed: seed of the draws.
    """
    table = as_table(scores, min_questions=2)
    means = table.mean(axis=1)
    resampled = np.concatenate(
        [sums / len(means) for sums in _resampled_sums(means[:, None], num_resamples=num_resamples, seed=seed)]
    )[:, 0]
    tail = (1 - confidence) / 2
    levels = [tail, 1 - tail]
    deviations = means - means.mean()
    squares = float(deviations @ deviations)
    if squares > 0:
        estimate, slack = means.mean(), 1e-12 * np.abs(means).max()
        below = np.count_nonzero(resampled < estimate - slack)
        level = np.count_nonzero(resampled <= estimate + slack) - below
        # Half of the ties, and never 0 or 1, whose quantiles are infinite.
        share = (below + level / 2 + 0.5) / (num_resamples + 1)
        bias = NormalDist().inv_cdf(share)
        acceleration = float((deviations**3).sum()) / (6 * squares**1.5)
        levels = [_shifted(level, bias=bias, acceleration=acceleration) for level in levels]
    low, high = np.quantile(resampled, levels)
    return _interval(table, low=low, high=high, confidence=confidence, method="bootstrap over questions (bca)")


def crossed_interval(*, scores: ArrayLike, confidence: float = 0.95) -> Interval:
    r"""Interval of a mean over seeds and questions, both taken as drawn at random (two-way layout, both crossed).

    .. math:: \bar{x} \pm t_{\nu} \sqrt{\frac{M_q}{QS} + \max\!\left(0, \frac{M_s - M_e}{QS}\right)}

    with the mean squares of Q questions, of S seeds and of the rest, and degrees of freedom after Satterthwaite (1946):
    those of the questions where seeds hardly differ, S - 1 where nothing but seeds differs. Source: Brennan,
    "Generalizability Theory" (2001), section 6.1. With one seed it is the t interval over questions, and covers no
    seeds.

    Args:
        scores: ``(questions,)`` or ``(questions, seeds)``; at least two questions.
        confidence: in (0, 1).
    """
    table = as_table(scores, min_questions=2)
    mean = float(table.mean())
    variance, degrees = variance_of_mean(table)
    half_width = t_quantile(confidence=confidence, degrees=degrees) * math.sqrt(variance)
    method = "t over questions" if table.shape[1] == 1 else "t over seeds and questions"
    return _interval(table, low=mean - half_width, high=mean + half_width, confidence=confidence, method=method)


def interval_of_mean(*, intervals: Sequence[Interval], independent: bool = True) -> Interval:
    r"""Interval of the mean of several figures, such as one method's on B benchmarks, made from their own intervals.

    .. math:: \bar{x} - \frac{1}{B}\sqrt{\sum_b (x_b - l_b)^2},\quad \bar{x} + \frac{1}{B}\sqrt{\sum_b (u_b - x_b)^2}

    the method of variance estimates recovery (Zou and Donner 2008): each end keeps the skew of those that it is made
    from. The interval covers what the given intervals cover. The benchmarks are taken as given: it says nothing about
    others.

    Args:
        intervals: intervals of one confidence; at least one.
        independent: True where the figures rest on draws of their own. Where they share seeds, for example, they do
            not: the distances of the ends are then added instead of their squares, which is at least as wide as it must
            be.
    """
    if not intervals or len({interval.confidence for interval in intervals}) > 1:
        raise ValueError("expected intervals of one confidence, at least one")
    num = len(intervals)
    mean = math.fsum(interval.estimate for interval in intervals) / num
    below = [interval.estimate - interval.low for interval in intervals]
    above = [interval.high - interval.estimate for interval in intervals]
    add = math.hypot if independent else lambda *distances: math.fsum(distances)
    return Interval(
        estimate=mean, low=mean - add(*below) / num, high=mean + add(*above) / num, confidence=intervals[0].confidence,
        num_questions=sum(interval.num_questions for interval in intervals),
        num_seeds=min(interval.num_seeds for interval in intervals),
        method="of the benchmarks' intervals, " + ("independent" if independent else "added up"),
    )  # fmt: skip


def crossed_interval_of_mean(*, tables: Sequence[ArrayLike], confidence: float = 0.95) -> Interval:
    r"""Interval of the mean over B sets of questions, all answered under the same seeds; as :func:`crossed_interval`.

    .. math:: \bar{x} \pm t_{\nu} \sqrt{\frac{1}{B^2}\sum_b \frac{M_{q,b}}{Q_b S}
              + \max\!\left(0, \frac{s^2}{S} - \frac{1}{B^2}\sum_b \frac{M_{e,b}}{Q_b S}\right)}

    Questions are drawn for each set by itself. A seed that is lucky on one set may be so on all, so the spread of
    seeds, s, is that of each seed's mean over the sets.

    Args:
        tables: ``(questions, seeds)`` each, the same seeds in the same order; at least two questions.
        confidence: in (0, 1).
    """
    scores = [as_table(table, min_questions=2) for table in tables]
    if len({table.shape[1] for table in scores}) != 1:
        raise ValueError("expected at least one table of scores, all under the same seeds")
    num, num_seeds = len(scores), scores[0].shape[1]
    parts = [float(table.mean(axis=1).var(ddof=1)) / len(table) / num**2 for table in scores]
    variance = math.fsum(parts)
    squares = math.fsum(part**2 / (len(table) - 1) for part, table in zip(parts, scores, strict=True))
    fewest = min(len(table) for table in scores) - 1
    if num_seeds > 1:
        columns = np.mean([table.mean(axis=0) for table in scores], axis=0)
        of_seeds = float(columns.var(ddof=1)) / num_seeds
        variance += max(0.0, of_seeds - math.fsum(variance_of_rest(table) for table in scores) / num**2)
        squares += of_seeds**2 / (num_seeds - 1)
        fewest = min(fewest, num_seeds - 1)
    degrees = max(float(fewest), variance**2 / squares) if squares > 0 else float(fewest)
    mean = float(np.mean([table.mean() for table in scores]))
    half_width = t_quantile(confidence=confidence, degrees=degrees) * math.sqrt(variance)
    return Interval(
        estimate=mean, low=mean - half_width, high=mean + half_width, confidence=confidence,
        num_questions=sum(len(table) for table in scores), num_seeds=num_seeds,
        method="t over seeds and questions of each benchmark",
    )  # fmt: skip


def paired_rate_interval(*, first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Interval:
    r"""Interval of the difference of two shares on the same questions, ``first - second`` (Bonett and Price 2012).

    The adjusted Wald interval: one question is added to each kind on which the two differ, so that it has a width even
    where they never do.

    .. math:: p_1 - p_2 \pm z \sqrt{\frac{p_1 + p_2 - (p_1 - p_2)^2}{n + 2}},\quad
              p_1 = \frac{b + 1}{n + 2},\ p_2 = \frac{c + 1}{n + 2}

    Args:
        first: ``(questions,)``, each 0 or 1.
        second: the other method's, question by question.
        confidence: in (0, 1).
    """
    one, other = one_seed_pair(first, second)
    wins, losses, total = int((one > other).sum()), int((one < other).sum()), len(one)
    up, down = (wins + 1) / (total + 2), (losses + 1) / (total + 2)
    half_width = _z(confidence) * math.sqrt((up + down - (up - down) ** 2) / (total + 2))
    low, high = max(-1.0, up - down - half_width), min(1.0, up - down + half_width)
    return _interval(one - other, low=low, high=high, confidence=confidence, method="adjusted Wald, paired")


def crossed_difference_interval(*, first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the difference of two means on the same questions, ``first - second``; as :func:`crossed_interval`.

    Questions are paired. Seeds are not: seed 0 of one method has nothing to do with seed 0 of the other, so each
    method's seeds bring their own spread, and the two may have different numbers of them.

    Args:
        first: ``(questions,)`` or ``(questions, seeds)``; at least two questions.
        second: the other method's, question by question.
        confidence: in (0, 1).
    """
    one, other = as_pair(first, second, min_questions=2)
    variance, degrees = variance_of_mean(one, other)
    half_width = t_quantile(confidence=confidence, degrees=degrees) * math.sqrt(variance)
    mean = float(paired_differences(one, other).mean())
    num_seeds = min(one.shape[1], other.shape[1])
    return Interval(
        estimate=mean, low=mean - half_width, high=mean + half_width, confidence=confidence, num_questions=len(one), num_seeds=num_seeds,
        method="t over questions, paired" if one.shape[1] == other.shape[1] == 1 else "t over seeds and questions, paired",
    )  # fmt: skip


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, received {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _shifted(level: float, *, bias: float, acceleration: float) -> float:
    """Level of the bootstrap distribution that BCa reads instead of a nominal one."""
    z = bias + NormalDist().inv_cdf(level)
    return NormalDist().cdf(bias + z / (1 - acceleration * z))


def _interval(table: Scores, *, low: float, high: float, confidence: float, method: str) -> Interval:
    num_questions, num_seeds = table.shape
    return Interval(
        estimate=float(table.mean()), low=float(low), high=float(high), confidence=confidence, method=method,
        num_questions=num_questions, num_seeds=num_seeds,
    )  # fmt: skip


def _resampled_sums(table: Scores, *, num_resamples: int, seed: int) -> Iterator[Scores]:
    """Sums over as many questions as there are, drawn with replacement: chunks ``(resamples, seeds)``.

    Where scores take few values, questions with equal scores are drawn together, as one multinomial number: the same
    distribution, and 100,000 questions then cost little more than 100.
    """
    num_questions = len(table)
    rng = np.random.default_rng([seed, 0])
    rows, counts = np.unique(table, axis=0, return_counts=True)
    if len(rows) * _MULTINOMIAL_COST < num_questions:
        for size in chunks(num_resamples, width=len(rows)):
            yield rng.multinomial(num_questions, counts / num_questions, size=size) @ rows
    else:
        for size in chunks(num_resamples, width=num_questions):
            chosen = rng.integers(num_questions, size=(size, num_questions))
            yield np.stack([scores[chosen].sum(axis=1) for scores in np.ascontiguousarray(table.T)], axis=1)
