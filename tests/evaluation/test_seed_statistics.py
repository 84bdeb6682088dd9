"""Student's statistics of one number from each seed, against textbook values."""

import math

import numpy as np
import pytest

from workflow_r1.evaluation.statistics import pooled_spread, seed_interval, seed_p_value, smallest_difference


def test_the_interval_of_three_seeds_by_hand():
    # Mean 2, standard error 1 / sqrt(3), t = 4.303 with 2 degrees of freedom.
    interval = seed_interval(values=[1, 2, 3])
    assert interval.estimate == 2
    assert interval.high - interval.estimate == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert interval.num_seeds == 3


def test_one_seed_tells_nothing():
    interval = seed_interval(values=[0.4])
    assert (interval.estimate, interval.low, interval.high) == (0.4, -math.inf, math.inf)
    assert seed_p_value(differences=[0.4]) == 1.0


def test_p_values_by_hand():
    # t = 2 sqrt(3) = 3.46 with 2 degrees: p = 1 - t / sqrt(2 + t^2) = 0.0742.
    assert seed_p_value(differences=[1, 2, 3]) == pytest.approx(0.0742, abs=1e-4)
    assert seed_p_value(differences=[0.0, 0.0]) == 1.0
    assert seed_p_value(differences=[0.5, 0.5]) == 0.0


def test_the_smallest_difference_has_the_power_that_it_says():
    """Of 4,000 studies of 12 seeds with that true difference, four in five find it."""
    size = smallest_difference(spread=0.1, num_seeds=12)
    rng = np.random.default_rng(0)
    found = np.mean([seed_p_value(differences=sample) <= 0.05 for sample in rng.normal(size, 0.1, size=(4000, 12))])
    assert found == pytest.approx(0.8, abs=0.03)


def test_more_tests_need_a_larger_difference_and_more_seeds_a_smaller_one():
    size = smallest_difference(spread=0.1, num_seeds=12)
    assert (
        smallest_difference(spread=0.1, num_seeds=12, num_tests=5)
        > size
        > smallest_difference(spread=0.1, num_seeds=40)
    )


def test_the_pooled_spread_leaves_out_the_means():
    # Both samples have the variance 2 about their own mean.
    assert pooled_spread(differences=[[0.0, 2.0], [10.0, 12.0]]) == pytest.approx(math.sqrt(2))
    assert math.isnan(pooled_spread(differences=[[1.0]]))
