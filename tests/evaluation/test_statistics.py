import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.evaluation.statistics import (
    Interval,
    PairedTest,
    bootstrap_interval,
    crossed_difference_interval,
    crossed_interval,
    crossed_interval_of_mean,
    crossed_test,
    holm,
    interval_of_mean,
    mcnemar_test,
    paired_rate_interval,
    pareto_frontier,
    permutation_test,
    rate_interval,
)
from workflow_r1.evaluation.student import t_quantile

INTERVALS: dict[str, Callable[..., Interval]] = {
    "rate": rate_interval,
    "bootstrap": bootstrap_interval,
    "crossed": crossed_interval,
}
PAIRED: dict[str, Callable[..., Any]] = {
    "rate": paired_rate_interval,
    "crossed": crossed_difference_interval,
    "McNemar": mcnemar_test,
    "permutation": permutation_test,
    "crossed test": crossed_test,
}


def wins_and_losses(wins: int, losses: int, ties: int = 0) -> dict[str, list[int]]:
    return {"first": [1] * wins + [0] * losses + [1] * ties, "second": [0] * wins + [1] * losses + [1] * ties}


# Intervals


def test_a_rate_has_wilsons_interval() -> None:
    interval = rate_interval(scores=[1, 0, 0, 1, 0, 0, 1, 0, 0, 1])
    assert (interval.estimate, interval.num_questions, interval.num_seeds) == (0.4, 10, 1)
    # p = 0.4, n = 10, z = 1.96: derived in test_figures.
    assert (interval.low, interval.high) == pytest.approx((0.168180, 0.687326), abs=2e-6)
    assert rate_interval(scores=[1], confidence=0.9).low == pytest.approx(1 / (1 + 1.644854**2))


def test_bootstrap_of_two_questions_by_hand() -> None:
    # Means of two draws from {0, 1}: 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    wide = bootstrap_interval(scores=[0.0, 1.0])
    assert (wide.estimate, wide.low, wide.high) == (0.5, 0.0, 1.0)
    narrow = bootstrap_interval(scores=[0.0, 1.0], confidence=0.4)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_the_bootstrap_moves_with_the_skew() -> None:
    # 50 draws from 45 zeros and 5 ones: Binomial(50, 0.1), whose 2.5% and 97.5% points are 1 and 9. The correction for the
    # skew moves both ends up.
    interval = bootstrap_interval(scores=[0.0] * 45 + [1.0] * 5)
    assert interval.low >= 1 / 50
    assert interval.high > 9 / 50


def test_few_and_many_values_are_resampled_alike() -> None:
    # Noise of 1e-9 makes all scores differ, so that questions are drawn one by one.
    rng = np.random.default_rng(0)
    scores = (rng.random(2000) < 0.3).astype(float)
    together = bootstrap_interval(scores=scores, num_resamples=20_000)
    apart = bootstrap_interval(scores=scores + 1e-9 * rng.random(2000), num_resamples=20_000)
    assert (apart.low, apart.high) == pytest.approx((together.low, together.high), abs=0.001)


def test_crossed_interval_by_hand() -> None:
    # Questions 0.1, 0.3, 0.5 plus seeds -0.1, 0.1, nothing else: M_e = 0.
    # Questions: variance 0.04 / 3. Seeds: variance 0.02 / 2. Sum 0.07 / 3.
    scores = np.add.outer([0.1, 0.3, 0.5], [-0.1, 0.1])
    interval = crossed_interval(scores=scores)
    variance = 0.07 / 3
    degrees = variance**2 / ((0.04 / 3) ** 2 / 2 + 0.01**2 / 1)
    assert degrees == pytest.approx(2.8824, abs=1e-4)
    # t with 2 and 3 degrees: 4.30 and 3.18.
    assert 3.18 < (interval.high - interval.low) / 2 / math.sqrt(variance) < 4.30
    assert interval.estimate == pytest.approx(0.3)
    # Questions alone: mean 0.3, error sqrt(0.04 / 3), 2 degrees.
    alone = crossed_interval(scores=[0.1, 0.3, 0.5])
    assert alone.high == pytest.approx(0.3 + 4.302653 * math.sqrt(0.04 / 3))
    assert (alone.method, interval.method) == ("t over questions", "t over seeds and questions")


def test_seeds_that_differ_less_than_by_chance_make_no_interval_narrower() -> None:
    # Both seeds have the mean 0.3, less apart than answers are: what is left are the questions' means 0.3, 0.5, 0.1.
    interval = crossed_interval(scores=[[0.2, 0.4], [0.6, 0.4], [0.1, 0.1]])
    alone = crossed_interval(scores=[0.3, 0.5, 0.1])
    assert (interval.low, interval.high) == pytest.approx((alone.low, alone.high))


def test_what_answers_differ_by_chance_is_not_taken_for_the_seeds() -> None:
    # The same with seeds 0.2 apart: theirs are 0.02 / 2, of which answers explain 0.04 / 2 / 6.
    interval = crossed_interval(scores=[[0.1, 0.5], [0.5, 0.5], [0.0, 0.2]])
    variance = 0.04 / 3 + 0.01 - 0.02 / 6
    degrees = variance**2 / ((0.04 / 3) ** 2 / 2 + 0.01**2 / 1)
    half_width = t_quantile(confidence=0.95, degrees=degrees) * math.sqrt(variance)
    assert (interval.low, interval.high) == pytest.approx((0.3 - half_width, 0.3 + half_width))


@pytest.mark.parametrize("name", INTERVALS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_scores(name: str, value: float) -> None:
    interval = INTERVALS[name](scores=[value] * 5 if name == "rate" else np.full((5, 2), value))
    assert interval.low <= interval.estimate == value <= interval.high
    # Only Wilson's knows that five questions are few.
    assert (interval.high - interval.low > 0.3) == (name == "rate")


def test_one_question_has_a_rate_but_no_spread() -> None:
    assert rate_interval(scores=[0]).high == pytest.approx(0.793, abs=1e-3)
    for name in ("bootstrap", "crossed"):
        with pytest.raises(ValueError, match="at least 2 questions"):
            INTERVALS[name](scores=[[0.5, 0.5]])


@pytest.mark.parametrize("name", INTERVALS)
def test_intervals_refuse_nothing_and_nonsense(name: str) -> None:
    interval_of = INTERVALS[name]
    with pytest.raises(ValueError, match="at least"):
        interval_of(scores=[])
    with pytest.raises(ValueError, match="finite scores, received NaN"):
        interval_of(scores=[[0.0, 1.0], [math.nan, 1.0]])
    with pytest.raises(ValueError, match="received shape"):
        interval_of(scores=np.zeros((2, 2, 2)))


def test_the_seed_decides() -> None:
    scores = np.random.default_rng(0).random((40, 3))
    assert bootstrap_interval(scores=scores, seed=1) == bootstrap_interval(scores=scores, seed=1)
    assert bootstrap_interval(scores=scores, seed=1) != bootstrap_interval(scores=scores, seed=2)
    first, second = scores[:, 0], scores[:, 1]
    assert permutation_test(first=first, second=second, seed=1) == permutation_test(first=first, second=second, seed=1)
    assert permutation_test(first=first, second=second, seed=1) != permutation_test(first=first, second=second, seed=2)


# Differences


def test_paired_rates_by_hand() -> None:
    # b = 6, c = 1, n = 18: p1 = 7/20, p2 = 2/20, variance (0.45 - 0.0625) / 20.
    interval = paired_rate_interval(**wins_and_losses(6, 1, ties=11))
    half_width = 1.959964 * math.sqrt(0.3875 / 20)
    assert (interval.low, interval.high) == pytest.approx((0.25 - half_width, 0.25 + half_width))
    assert interval.estimate == pytest.approx(5 / 18)


def test_methods_that_never_differ_still_have_an_interval() -> None:
    # p1 = p2 = 1/12, variance (2/12) / 12.
    interval = paired_rate_interval(**wins_and_losses(0, 0, ties=10))
    assert interval.high == -interval.low == pytest.approx(1.959964 * math.sqrt(2) / 12)
    assert crossed_difference_interval(**wins_and_losses(0, 0, ties=10)).high == 0.0


def test_crossed_difference_by_hand() -> None:
    # Differences 0.2, 0.4, 0.6 with one seed each: error sqrt(0.04 / 3), 2 degrees.
    interval = crossed_difference_interval(first=[0.3, 0.6, 0.9], second=[0.1, 0.2, 0.3])
    assert interval.high == pytest.approx(0.4 + 4.302653 * math.sqrt(0.04 / 3))
    # Two seeds of the first, each as much off: their variance 0.02 / 2 is added, and only theirs.
    wider = crossed_difference_interval(first=np.add.outer([0.3, 0.6, 0.9], [-0.1, 0.1]), second=[0.1, 0.2, 0.3])
    assert wider.estimate == pytest.approx(0.4)
    # The same variance and degrees as in test_crossed_interval_by_hand.
    reference = crossed_interval(scores=np.add.outer([0.1, 0.3, 0.5], [-0.1, 0.1]))
    assert wider.high - wider.low == pytest.approx(reference.high - reference.low)


# Tests of differences


@pytest.mark.parametrize(
    ("wins", "losses", "exact"),
    [
        # 2 P(X <= 1), X ~ Binomial(6, 1/2): 2 (1 + 6) / 64.
        (5, 1, 14 / 64),
        (1, 5, 14 / 64),
        (6, 0, 2 / 64),
        (1, 0, 1.0),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(wins: int, losses: int, exact: float) -> None:
    for ties in (1, 7):
        test = mcnemar_test(**wins_and_losses(wins, losses, ties))
        assert test.p_value == pytest.approx(exact)
        assert (test.num_first_better, test.num_second_better, test.num_questions) == (
            wins,
            losses,
            wins + losses + ties,
        )


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_sum(wins: int, losses: int) -> None:
    num = wins + losses
    expected = min(1.0, 2 * sum(math.comb(num, k) for k in range(min(wins, losses) + 1)) / 2**num)
    test = mcnemar_test(first=[1] * wins + [0] * losses + [1], second=[0] * wins + [1] * losses + [1])
    assert test.p_value == pytest.approx(expected)


def test_mcnemar_of_many_questions_neither_overflows_nor_vanishes() -> None:
    # 50,000 differences, 25,000 + 500 to 25,000 - 500: z = (1000 - 1) / sqrt(50,000) with Yates' correction.
    test = mcnemar_test(**wins_and_losses(25_500, 24_500))
    assert test.p_value == pytest.approx(math.erfc(999 / math.sqrt(50_000) / math.sqrt(2)), rel=1e-3)


def test_permutation_of_few_questions_goes_through_all_signs() -> None:
    # Differences 3, 2, 1: sums of +-3 +-2 +-1 are 6, 4, 2, 0, 0, -2, -4, -6.
    test = permutation_test(first=[3, 2, 1], second=[0, 0, 0])
    assert (test.p_value, test.method) == (2 / 8, "permutation, exact")
    assert permutation_test(first=[3, 2, 0], second=[0, 0, 1]).p_value == 4 / 8
    assert permutation_test(first=[1, 1], second=[1, 1]).p_value == 1.0
    assert permutation_test(first=[1], second=[0]).p_value == 1.0


def test_drawn_signs_come_close_to_all_signs() -> None:
    # For differences of one size it is McNemar's test.
    table = wins_and_losses(21, 9, ties=5)
    drawn = permutation_test(**table, num_permutations=100_000)
    assert drawn.method == "permutation"
    assert drawn.p_value == pytest.approx(mcnemar_test(**table).p_value, abs=0.002)


def test_sums_in_another_order_are_equal() -> None:
    # Of all signs, only all plus and all minus are as large as ten gains; their sums are rounded otherwise than the gains'.
    for seed in range(20):
        gains = np.random.default_rng(seed).random(10)
        assert permutation_test(first=gains, second=np.zeros(10)).p_value == 2 / 1024
    # 0.1 + 0.2 + ... in any order: every pattern of 20 equal differences of thirds is as large or smaller.
    test = permutation_test(first=[1 / 3 + 1 / 3] * 20, second=[1 / 3] * 20, num_permutations=1000)
    assert test.p_value == 1 / 1001
    # The mean over three seeds of 0.1 is 0.10000000000000002: no difference.
    same = permutation_test(first=np.full((30, 3), 0.1), second=[0.1] * 30)
    assert (same.p_value, same.num_first_better, same.num_second_better) == (1.0, 0, 0)
    assert crossed_test(first=np.full((30, 3), 0.1), second=[0.1] * 30).p_value == 1.0


def test_crossed_test_by_hand() -> None:
    # Differences 0.2, 0.4, 0.6: t = 0.4 / sqrt(0.04 / 3) = 2 sqrt(3), two degrees: p = 1 - t / sqrt(2 + t^2).
    t = 2 * math.sqrt(3)
    test = crossed_test(first=[0.3, 0.6, 0.9], second=[0.1, 0.2, 0.3])
    assert test.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert crossed_test(first=[1, 1, 1], second=[0, 0, 0]).p_value == 0.0


@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(1, 4), st.integers(1, 4))
def test_an_interval_holds_0_where_its_test_finds_nothing(seed: int, num: int, one: int, other: int) -> None:
    rng = np.random.default_rng(seed)
    pair = {"first": rng.random((num, one)), "second": rng.random((num, other))}
    interval, test = crossed_difference_interval(**pair), crossed_test(**pair)
    assert (interval.low <= 0 <= interval.high) == (test.p_value >= 0.05)
    swapped = crossed_test(first=pair["second"], second=pair["first"])
    assert swapped.p_value == pytest.approx(test.p_value)
    assert swapped.num_first_better == test.num_second_better


@pytest.mark.parametrize("name", PAIRED)
def test_pairs_refuse_nothing_and_nonsense(name: str) -> None:
    with pytest.raises(ValueError, match="at least"):
        PAIRED[name](first=[], second=[])
    with pytest.raises(ValueError, match="same questions, received 3 and 2"):
        PAIRED[name](first=[1, 0, 1], second=[1, 0])
    with pytest.raises(ValueError, match="finite scores"):
        PAIRED[name](first=[1, math.nan], second=[1, 0])


@pytest.mark.parametrize("name", ["rate", "McNemar"])
def test_shares_need_zeros_and_ones_of_one_seed(name: str) -> None:
    with pytest.raises(ValueError, match="0 and 1"):
        PAIRED[name](first=[1, 0.5], second=[1, 0])
    with pytest.raises(ValueError, match="expected one seed, received 2"):
        PAIRED[name](first=[[1, 0], [0, 0]], second=[1, 0])


# Families and the frontier


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04 -> never below the one before.
    assert holm(p_values=[0.03, 0.01, 0.04, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(p_values=[0.6, 0.5]).tolist() == [1.0, 1.0]
    assert holm(p_values=[0.2]).tolist() == [0.2]
    assert holm(p_values=[]).tolist() == []
    assert holm(p_values=[0.02, 0.02, 0.02]).tolist() == pytest.approx([0.06] * 3)


def test_holm_refuses_nonsense() -> None:
    for values in ([1.1], [-0.1], [math.nan], [[0.1]]):
        with pytest.raises(ValueError, match="p-values"):
            holm(p_values=values)


def test_frontier_by_hand() -> None:
    costs = [1, 2, 2, 3, 4, math.nan, 0.5]
    accuracies = [0.3, 0.5, 0.4, 0.5, 0.6, 0.9, 0.3]
    # (1, .3) loses to (0.5, .3); (2, .4) and (3, .5) to (2, .5); the unknown cost neither wins nor loses.
    assert pareto_frontier(costs=costs, accuracies=accuracies).tolist() == [
        False,
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_equal_methods_share_the_frontier() -> None:
    assert pareto_frontier(costs=[1, 1, 2], accuracies=[0.5, 0.5, 0.5]).tolist() == [True, True, False]
    assert pareto_frontier(costs=[], accuracies=[]).tolist() == []
    with pytest.raises(ValueError, match="equal length"):
        pareto_frontier(costs=[1], accuracies=[])
    with pytest.raises(ValueError, match="received NaN"):
        pareto_frontier(costs=[1], accuracies=[math.nan])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_frontier_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    expected = [
        not any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in points)
        for cost, accuracy in points
    ]
    found = pareto_frontier(costs=[cost for cost, _ in points], accuracies=[accuracy for _, accuracy in points])
    assert found.tolist() == expected


def test_a_hundred_thousand_questions_stay_within_bounds() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((100_000, 2)), rng.random(100_000)
    tracemalloc.start()
    bootstrap_interval(scores=second, num_resamples=50)
    permutation_test(first=first, second=second, num_permutations=200)
    crossed_test(first=first, second=second)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 50 resamples of 200,000 scores at once would be 80 MB for the draws alone, and as much for the scores.
    assert peak < 100e6


def test_records_can_be_read_back() -> None:
    interval = bootstrap_interval(scores=[0.0, 0.5, 1.0])
    assert Interval.model_validate_json(interval.model_dump_json()) == interval
    test = mcnemar_test(first=[1, 1], second=[0, 1])
    assert PairedTest.model_validate_json(test.model_dump_json()) == test
    assert interval.clipped(low=0.4, high=0.6).low == 0.4
    assert str(rate_interval(scores=[1, 0])) == "0.500 [0.095, 0.905]"


# ----------------------------------------------------------------------------------------------- means over benchmarks


def test_one_table_gives_the_crossed_interval_itself() -> None:
    rng = np.random.default_rng(0)
    for seeds in (1, 3):
        scores = (rng.random((40, seeds)) < 0.4).astype(float)
        one, same = crossed_interval(scores=scores), crossed_interval_of_mean(tables=[scores])
        assert (same.low, same.high) == (pytest.approx(one.low), pytest.approx(one.high))


def test_an_interval_of_a_mean_adds_squares_or_distances() -> None:
    one = rate_interval(scores=[1, 0, 0, 0])
    mean = interval_of_mean(intervals=[one] * 4)
    assert mean.estimate - mean.low == pytest.approx((one.estimate - one.low) / 2)
    assert mean.high - mean.estimate == pytest.approx((one.high - one.estimate) / 2)
    added = interval_of_mean(intervals=[one] * 4, independent=False)
    assert (added.low, added.high) == (pytest.approx(one.low), pytest.approx(one.high))
    assert interval_of_mean(intervals=[one]).high == pytest.approx(one.high)


def test_intervals_of_means_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="at least one"):
        interval_of_mean(intervals=[])
    with pytest.raises(ValueError, match="of one confidence"):
        interval_of_mean(intervals=[rate_interval(scores=[1], confidence=level) for level in (0.9, 0.95)])
    with pytest.raises(ValueError, match="all under the same seeds"):
        crossed_interval_of_mean(tables=[[[0.0, 1.0]] * 3, [[0.0]] * 3])
