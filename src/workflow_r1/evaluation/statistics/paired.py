"""Tests whether two methods differ on the same questions, and the correction for many of them."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_r1.evaluation.statistics.scores import (
    Scores,
    as_pair,
    chunks,
    one_seed_pair,
    paired_differences,
    variance_of_mean,
)
from workflow_r1.evaluation.student import t_two_sided_p
from workflow_r1.trajectory.records import Record

NUM_PERMUTATIONS = 10_000
"""Permutations of a test: the smallest p-value is 1/10,001."""

MAX_EXACT = 14
"""Questions up to which a permutation test goes through all sign patterns (16,384) instead of drawing some."""


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


def mcnemar_test(*, first: ArrayLike, second: ArrayLike) -> PairedTest:
    r"""Exact test of two shares on the same questions (McNemar 1947): a sign test on the questions where they differ.

    .. math:: p = \min\!\left(1, 2\,P(X \le \min(b, c))\right),\quad X \sim \mathrm{Binomial}(b + c, 1/2)

    Args:
        first: ``(questions,)``, each 0 or 1.
        second: the other method's, question by question.
    """
    one, other = one_seed_pair(first, second)
    wins, losses = int((one > other).sum()), int((one < other).sum())
    num, smaller = wins + losses, min(wins, losses)
    # log P(X = k + 1) - log P(X = k) = log((n - k) / (k + 1))
    below = np.arange(smaller)
    log_probabilities = -num * math.log(2) + np.concatenate([[0.0], np.cumsum(np.log((num - below) / (below + 1)))])
    p_value = min(1.0, 2 * math.fsum(np.exp(log_probabilities)))
    if wins == losses:
        p_value = 1.0
    return _test(one, other, p_value=p_value, method="McNemar, exact")


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
    one, other = as_pair(first, second)
    differences = paired_differences(one, other)
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
    for size in chunks(num_permutations, width=len(sizes)):
        bits = np.frombuffer(rng.bytes(size * -(-len(sizes) // 8)), dtype=np.uint8).reshape(size, -1)
        # Twice the sum of those with a plus, less the sum of all.
        sums = 2 * (np.unpackbits(bits, axis=1, count=len(sizes)) @ sizes) - sizes.sum()
        num_as_large += int(np.count_nonzero(np.abs(sums) >= threshold))
    p_value = (1 + num_as_large) / (1 + num_permutations)
    return _test(one, other, p_value=p_value, method="permutation")


def crossed_test(*, first: ArrayLike, second: ArrayLike) -> PairedTest:
    """T test of :func:`~workflow_r1.evaluation.statistics.crossed_difference_interval`: over questions and each method's seeds.

    Args:
        first: ``(questions,)`` or ``(questions, seeds)``; at least two questions.
        second: the other method's, question by question.
    """
    one, other = as_pair(first, second, min_questions=2)
    variance, degrees = variance_of_mean(one, other)
    difference = float(paired_differences(one, other).mean())
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


def _test(one: Scores, other: Scores, *, p_value: float, method: str) -> PairedTest:
    differences = paired_differences(one, other)
    return PairedTest(
        p_value=p_value, method=method, num_questions=len(one),
        num_first_better=int((differences > 0).sum()), num_second_better=int((differences < 0).sum()),
    )  # fmt: skip
