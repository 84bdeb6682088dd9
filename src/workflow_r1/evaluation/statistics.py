"""The worth of a difference between two figures: intervals, paired tests, correction, and the accuracy-cost frontier.

Scores are an array ``(questions,)``, or ``(questions, seeds)`` where a method was run under several seeds, each of
which answered every question; a question that was repeated under one seed enters with its mean. Their unit is the
figure's own (0 to 1 for exact match and F1). ``docs/explanation/statistics.md`` says what each interval covers, and how
often it does so in simulations. Every function is deterministic; those that draw take a seed.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_r1.evaluation.figures import wilson_interval
from workflow_r1.evaluation.student import t_quantile, t_two_sided_p
from workflow_r1.trajectory.records import Record

NUM_RESAMPLES = 10_000
"""Resamples of a bootstrap: the ends of a 95% interval then move by about a hundredth of its width from seed to seed."""

NUM_PERMUTATIONS = 10_000
"""Permutations of a test: the smallest p-value is 1/10,001."""

MAX_EXACT = 14
"""Questions up to which a permutation test goes through all sign patterns (16,384) instead of drawing some."""

_CHUNK = 1 << 21
"""Numbers drawn at a time: 16 MiB."""

_MULTINOMIAL_COST = 30
"""Questions that can be drawn one by one in the time of one multinomial number (measured: 20 to 50)."""

Scores = NDArray[np.float64]


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


class PairedTest(Record):
    """Test of whether two methods differ on the same questions."""

    p_value: float
    """Probability of a difference at least as large if the methods do not differ; two-sided."""
    method: str
    """Name of the test."""
    num_questions: int
    """Questions that both answered."""
    num_first_better: int
    """Questions on which the first method scored more (summed over seeds)."""
    num_second_better: int
    """Questions on which the second did."""

    @property
    def num_ties(self) -> int:
        """Questions on which they scored the same."""
        return self.num_questions - self.num_first_better - self.num_second_better


def rate_interval(*, scores: ArrayLike, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (1927) of a share of questions; see :func:`~workflow_r1.evaluation.figures.wilson_interval`.

    The interval covers the choice of questions and the randomness of an answer. It does not cover seeds: there is one.

    Args:
        scores: ``(questions,)``, each 0 or 1; at least one.
        confidence: in (0, 1).
    """
    table = _one_seed(scores)
    if not _is_binary(table):
        raise ValueError("expected scores of 0 and 1, received others: use bootstrap_interval")
    low, high = wilson_interval(int(table.sum()), len(table), z=_z(confidence))
    return _interval(table, low=low, high=high, confidence=confidence, method="Wilson")


def bootstrap_interval(
    *,
    scores: ArrayLike,
    confidence: float = 0.95,
    kind: Literal["bca", "percentile"] = "bca",
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Bootstrap over questions (Efron 1979) of a mean; bias-corrected and accelerated (Efron 1987) by default.

    The interval covers the choice of questions and the randomness of an answer. With several seeds it says what *these*
    seeds reach on other questions, and nothing about other seeds. Its width is 0 where all scores are equal, which is
    no certainty.

    Args:
        scores: ``(questions,)`` or ``(questions, seeds)``; at least two questions.
        confidence: in (0, 1).
        kind: ``bca`` shifts the percentiles for skew; ``percentile`` does not.
        num_resamples: number of draws of the questions with replacement.
        seed: seed of the draws.
    """
    table = _as_table(scores, min_questions=2)
    means = table.mean(axis=1)
    resampled = np.concatenate(
        [sums / len(means) for sums in _resampled_sums(means[:, None], num_resamples=num_resamples, seed=seed)]
    )[:, 0]
    tail = (1 - confidence) / 2
    levels = [tail, 1 - tail]
    deviations = means - means.mean()
    squares = float(deviations @ deviations)
    if kind == "bca" and squares > 0:
        estimate, slack = means.mean(), 1e-12 * np.abs(means).max()
        below = np.count_nonzero(resampled < estimate - slack)
        level = np.count_nonzero(resampled <= estimate + slack) - below
        # Half of the ties, and never 0 or 1, whose quantiles are infinite.
        share = (below + level / 2 + 0.5) / (num_resamples + 1)
        bias = NormalDist().inv_cdf(share)
        acceleration = float((deviations**3).sum()) / (6 * squares**1.5)
        levels = [_shifted(level, bias=bias, acceleration=acceleration) for level in levels]
    low, high = np.quantile(resampled, levels)
    return _interval(table, low=low, high=high, confidence=confidence, method=f"bootstrap over questions ({kind})")


def crossed_bootstrap_interval(
    *, scores: ArrayLike, confidence: float = 0.95, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Interval:
    """Bootstrap over seeds and, independently, over questions (Owen 2007, "The pigeonhole bootstrap"); percentiles.

    Seeds are not nested in questions: every seed answers the same ones, so both are drawn, and their crossing scored.
    The interval is meant to cover both. With few seeds it is too narrow, since S seeds drawn with replacement spread as
    little as S/(S-1) times as many: prefer :func:`crossed_interval` below some twenty.

    Args:
        scores: ``(questions, seeds)``; at least two of each.
        confidence: in (0, 1).
        num_resamples: number of draws of both.
        seed: seed of the draws.
    """
    table = _as_table(scores, min_questions=2, min_seeds=2)
    num_questions, num_seeds = table.shape
    rng = np.random.default_rng([seed, 1])
    resampled = []
    for sums in _resampled_sums(table, num_resamples=num_resamples, seed=seed):
        chosen = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=len(sums))
        resampled.append((sums * chosen).sum(axis=1) / (num_questions * num_seeds))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(resampled), [tail, 1 - tail])
    return _interval(table, low=low, high=high, confidence=confidence, method="bootstrap over seeds and questions")


def seed_interval(*, scores: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval over the means of the seeds.

    The interval covers seeds and the randomness of an answer on *these* questions, and says nothing about other
    questions. It is honest from two seeds on, and then wide: 12.7 standard errors with two, 4.3 with three, 2.8 with
    five.

    Args:
        scores: ``(questions, seeds)``; at least two seeds.
        confidence: in (0, 1).
    """
    table = _as_table(scores, min_seeds=2)
    num_seeds = table.shape[1]
    error = float(table.mean(axis=0).std(ddof=1)) / math.sqrt(num_seeds)
    half_width = t_quantile(confidence=confidence, degrees=num_seeds - 1) * error
    mean = float(table.mean())
    return _interval(table, low=mean - half_width, high=mean + half_width, confidence=confidence, method="t over seeds")


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
    table = _as_table(scores, min_questions=2)
    mean = float(table.mean())
    variance, degrees = _variance_of_mean(table)
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
    scores = [_as_table(table, min_questions=2) for table in tables]
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
        variance += max(0.0, of_seeds - math.fsum(_variance_of_rest(table) for table in scores) / num**2)
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
    one, other = _one_seed_pair(first, second)
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
    one, other = _as_pair(first, second, min_questions=2)
    variance, degrees = _variance_of_mean(one, other)
    half_width = t_quantile(confidence=confidence, degrees=degrees) * math.sqrt(variance)
    mean = float(_differences(one, other).mean())
    num_seeds = min(one.shape[1], other.shape[1])
    return Interval(
        estimate=mean, low=mean - half_width, high=mean + half_width, confidence=confidence, num_questions=len(one), num_seeds=num_seeds,
        method="t over questions, paired" if one.shape[1] == other.shape[1] == 1 else "t over seeds and questions, paired",
    )  # fmt: skip


def mcnemar_test(*, first: ArrayLike, second: ArrayLike, mid_p: bool = False) -> PairedTest:
    r"""Exact test of two shares on the same questions (McNemar 1947): a sign test on the questions where they differ.

    .. math:: p = \min\!\left(1, 2\,P(X \le \min(b, c))\right),\quad X \sim \mathrm{Binomial}(b + c, 1/2)

    Args:
        first: ``(questions,)``, each 0 or 1.
        second: the other method's, question by question.
        mid_p: count the outcome itself by half (Fagerland et al. 2013): closer to the nominal level, which it may
            exceed slightly. The exact test never does.
    """
    one, other = _one_seed_pair(first, second)
    wins, losses = int((one > other).sum()), int((one < other).sum())
    num, smaller = wins + losses, min(wins, losses)
    # log P(X = k + 1) - log P(X = k) = log((n - k) / (k + 1))
    below = np.arange(smaller)
    log_probabilities = -num * math.log(2) + np.concatenate([[0.0], np.cumsum(np.log((num - below) / (below + 1)))])
    probabilities = np.exp(log_probabilities)
    p_value = min(1.0, 2 * math.fsum(probabilities) - (float(probabilities[-1]) if mid_p else 0.0))
    if wins == losses:
        p_value = 1.0
    return _test(one, other, p_value=p_value, method="McNemar, mid-p" if mid_p else "McNemar, exact")


def permutation_test(
    *, first: ArrayLike, second: ArrayLike, num_permutations: int = NUM_PERMUTATIONS, seed: int = 0
) -> PairedTest:
    r"""Sign-flip test of two means on the same questions (Fisher 1935; Phipson and Smyth 2010 for the 1 that is added).

    If the methods are alike, each question's difference is as likely to have the other sign. All patterns of signs are
    tried for up to ``MAX_EXACT`` questions that differ; else so many are drawn, and

    .. math:: p = \frac{1 + \#\{|\bar{d}^*| \ge |\bar{d}|\}}{1 + N}

    With several seeds it compares *these* seeds: where a seed decides about the training of a method, two sets of seeds
    of one method differ, too, and the test finds that. For such seeds: :func:`crossed_test`.

    Args:
        first: ``(questions,)`` or ``(questions, seeds)``.
        second: the other method's, question by question.
        num_permutations: patterns that are drawn.
        seed: seed of the draws.
    """
    one, other = _as_pair(first, second)
    differences = _differences(one, other)
    sizes = np.abs(differences[differences != 0])
    # Sums of the same terms in another order count as equal.
    threshold = abs(float(differences.sum())) - 1e-9 * float(sizes.sum())
    if len(sizes) <= MAX_EXACT:
        patterns = np.arange(1 << len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        sums = (2 * patterns - 1) @ sizes
        p_value = float(np.mean(np.abs(sums) >= threshold))
        return _test(one, other, p_value=p_value, method="permutation, exact")
    rng = np.random.default_rng(seed)
    num_as_large = 0
    for size in _chunks(num_permutations, width=len(sizes)):
        bits = np.frombuffer(rng.bytes(size * -(-len(sizes) // 8)), dtype=np.uint8).reshape(size, -1)
        # Twice the sum of those with a plus, less the sum of all.
        sums = 2 * (np.unpackbits(bits, axis=1, count=len(sizes)) @ sizes) - sizes.sum()
        num_as_large += int(np.count_nonzero(np.abs(sums) >= threshold))
    p_value = (1 + num_as_large) / (1 + num_permutations)
    return _test(one, other, p_value=p_value, method="permutation")


def crossed_test(*, first: ArrayLike, second: ArrayLike) -> PairedTest:
    """T test that belongs to :func:`crossed_difference_interval`: it covers questions and each method's seeds.

    Args:
        first: ``(questions,)`` or ``(questions, seeds)``; at least two questions.
        second: the other method's, question by question.
    """
    one, other = _as_pair(first, second, min_questions=2)
    variance, degrees = _variance_of_mean(one, other)
    difference = float(_differences(one, other).mean())
    if difference == 0:
        p_value = 1.0
    elif variance == 0:
        p_value = 0.0
    else:
        p_value = t_two_sided_p(difference / math.sqrt(variance), degrees=degrees)
    return _test(one, other, p_value=p_value, method="t over seeds and questions")


def holm(*, p_values: ArrayLike) -> NDArray[np.float64]:
    r"""Correct the p-values of a family of tests: a false finding among all of them is then as rare as in one (Holm 1979).

    .. math:: \tilde{p}_{(i)} = \max_{j \le i} \min\!\left(1, (m - j + 1)\, p_{(j)}\right)

    The correction holds for any dependence between the tests.

    Args:
        p_values: ``(tests,)``, each in [0, 1]; may be empty.

    Returns:
        ``(tests,)`` corrected p-values, in the order given.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError("expected a list of p-values between 0 and 1")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted


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


def _as_table(scores: ArrayLike, *, min_questions: int = 1, min_seeds: int = 1) -> Scores:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2:
        raise ValueError(f"expected scores (questions,) or (questions, seeds), received shape {table.shape}")
    if table.shape[0] < min_questions or table.shape[1] < min_seeds:
        raise ValueError(
            f"expected at least {min_questions} questions and {min_seeds} seeds, received {table.shape[0]} and {table.shape[1]}"
        )
    if not np.isfinite(table).all():
        raise ValueError("expected finite scores, received NaN or infinity: leave out questions without a score")
    return table


def _as_pair(first: ArrayLike, second: ArrayLike, *, min_questions: int = 1) -> tuple[Scores, Scores]:
    one, other = _as_table(first, min_questions=min_questions), _as_table(second, min_questions=min_questions)
    if len(one) != len(other):
        raise ValueError(f"expected scores on the same questions, received {len(one)} and {len(other)}")
    return one, other


def _one_seed(scores: ArrayLike) -> Scores:
    table = _as_table(scores)
    if table.shape[1] != 1:
        raise ValueError(f"expected one seed, received {table.shape[1]}: use crossed_interval or crossed_test")
    return table


def _one_seed_pair(first: ArrayLike, second: ArrayLike) -> tuple[Scores, Scores]:
    one, other = _as_pair(_one_seed(first), _one_seed(second))
    if not (_is_binary(one) and _is_binary(other)):
        raise ValueError(
            "expected scores of 0 and 1, received others: use permutation_test and crossed_difference_interval"
        )
    return one, other


def _is_binary(table: Scores) -> bool:
    return bool(np.isin(table, (0.0, 1.0)).all())


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


def _test(one: Scores, other: Scores, *, p_value: float, method: str) -> PairedTest:
    differences = _differences(one, other)
    return PairedTest(
        p_value=p_value, method=method, num_questions=len(one),
        num_first_better=int((differences > 0).sum()), num_second_better=int((differences < 0).sum()),
    )  # fmt: skip


def _differences(one: Scores, other: Scores) -> Scores:
    """Difference of each question's means. Rounding differences of equal means over different numbers of seeds become 0."""
    differences = one.mean(axis=1) - other.mean(axis=1)
    differences[np.abs(differences) <= 1e-12 * max(np.abs(one).max(), np.abs(other).max())] = 0.0
    return differences


def _variance_of_mean(one: Scores, other: Scores | None = None) -> tuple[float, float]:
    """Variance of a mean, or of the difference of two, over questions and each method's seeds; degrees of freedom."""
    num_questions = len(one)
    rows = one.mean(axis=1) if other is None else _differences(one, other)
    variance = float(rows.var(ddof=1)) / num_questions
    # Satterthwaite: variance^2 / sum of (part^2 / its degrees). The seeds' part enters uncut, so that nothing jumps.
    squares = variance**2 / (num_questions - 1)
    fewest = num_questions - 1
    for table in (one,) if other is None else (one, other):
        num_seeds = table.shape[1]
        if num_seeds == 1:
            continue
        columns = table.mean(axis=0)
        of_seeds = float(columns.var(ddof=1)) / num_seeds
        variance += max(0.0, of_seeds - _variance_of_rest(table))
        squares += of_seeds**2 / (num_seeds - 1)
        fewest = min(fewest, num_seeds - 1)
    return variance, max(float(fewest), variance**2 / squares) if squares > 0 else float(num_questions - 1)


def _variance_of_rest(table: Scores) -> float:
    """Variance that neither questions nor seeds explain, as a part of the variance of the mean; at least two of each."""
    num_questions, num_seeds = table.shape
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float((rest**2).sum()) / ((num_questions - 1) * (num_seeds - 1)) / (num_questions * num_seeds)


def _resampled_sums(table: Scores, *, num_resamples: int, seed: int) -> Iterator[Scores]:
    """Sums over as many questions as there are, drawn with replacement: chunks ``(resamples, seeds)``.

    Where scores take few values, questions with equal scores are drawn together, as one multinomial number: the same
    distribution, and 100,000 questions then cost little more than 100.
    """
    num_questions = len(table)
    rng = np.random.default_rng([seed, 0])
    rows, counts = np.unique(table, axis=0, return_counts=True)
    if len(rows) * _MULTINOMIAL_COST < num_questions:
        for size in _chunks(num_resamples, width=len(rows)):
            yield rng.multinomial(num_questions, counts / num_questions, size=size) @ rows
    else:
        for size in _chunks(num_resamples, width=num_questions):
            chosen = rng.integers(num_questions, size=(size, num_questions))
            yield np.stack([scores[chosen].sum(axis=1) for scores in np.ascontiguousarray(table.T)], axis=1)


def _chunks(total: int, *, width: int) -> Iterator[int]:
    """Sizes of pieces of ``total`` rows of ``width`` numbers that fit the memory."""
    if total < 1:
        raise ValueError(f"expected at least one draw, received {total}")
    step = max(1, _CHUNK // width)
    for start in range(0, total, step):
        yield min(step, total - start)
