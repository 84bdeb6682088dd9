"""Statistics checked by simulation. ``benchmarks/coverage.py`` makes the long tables of ``docs/explanation/statistics.md`` from the same parts."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from workflow_r1.evaluation.statistics import (
    Interval,
    Scores,
    crossed_difference_interval,
    crossed_interval,
    crossed_interval_of_mean,
    interval_of_mean,
    rate_interval,
)

PATH = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
QUICK, LONG = 1000, 4000


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_benchmark", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


benchmark = _load()
EXACT, F1, SEEDS = benchmark.Population(), benchmark.Population(partial=True), benchmark.Population(luck=0.03)


def error(nominal: float, simulations: int) -> float:
    """Four standard errors of a share of so many simulations."""
    return 4 * math.sqrt(nominal * (1 - nominal) / simulations)


def holds(share: float, *, simulations: int, nominal: float = 0.95) -> bool:
    """Return True where an interval covers at its nominal rate, neither less nor more often."""
    return abs(share - nominal) <= error(nominal, simulations)


def keeps(share: float, *, simulations: int, level: float = 0.05) -> bool:
    """Return True where a test, or a family of them, errs no more often than its level."""
    return share <= level + error(level, simulations)


@pytest.mark.parametrize(
    ("name", "population", "num_questions", "num_seeds", "over"),
    [
        ("Wilson", EXACT, 200, 1, "seeds and questions"),
        ("bootstrap, percentile", F1, 200, 1, "seeds and questions"),
        ("bootstrap, BCa", F1, 50, 1, "seeds and questions"),
        ("bootstrap, BCa", SEEDS, 200, 3, "questions"),
        ("t over seeds", SEEDS, 200, 3, "seeds"),
        ("t over seeds and questions", SEEDS, 200, 3, "seeds and questions"),
        ("t over seeds and questions", SEEDS, 200, 5, "seeds and questions"),
    ],
)
@pytest.mark.parametrize("simulations", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)])
def test_intervals_hold_at_their_nominal_rate(
    name: str, population: object, num_questions: int, num_seeds: int, over: str, simulations: int
) -> None:
    share = benchmark.coverage(
        benchmark.INTERVALS[name],
        population=population, num_questions=num_questions, num_seeds=num_seeds, over=over, simulations=simulations,
    )  # fmt: skip
    assert holds(share, simulations=simulations), share


def too_narrow(scores: Scores) -> Interval:
    return rate_interval(scores=scores, confidence=0.9)


def too_wide(scores: Scores) -> Interval:
    return rate_interval(scores=scores, confidence=0.99)


@pytest.mark.parametrize("wrong", [too_narrow, too_wide])
def test_a_wrong_interval_is_found_out(wrong: object) -> None:
    share = benchmark.coverage(wrong, population=EXACT, num_questions=200, simulations=QUICK)
    assert not holds(share, simulations=QUICK)


@pytest.mark.parametrize("name", ["bootstrap, BCa", "t over seeds"])
def test_an_interval_is_wrong_for_what_it_does_not_cover(name: str) -> None:
    # Few questions for the one over seeds, which takes them as given.
    num_questions, num_seeds = (200, 3) if name == "bootstrap, BCa" else (100, 10)
    share = benchmark.coverage(
        benchmark.INTERVALS[name],
        population=SEEDS, num_questions=num_questions, num_seeds=num_seeds, simulations=QUICK,
    )  # fmt: skip
    assert share < 0.95 - error(0.95, QUICK), share


@pytest.mark.parametrize(
    ("name", "population", "num_questions", "num_seeds"),
    [
        ("adjusted Wald, paired", EXACT, 200, 1),
        ("t over seeds and questions, paired", F1, 200, 1),
        ("t over seeds and questions, paired", SEEDS, 200, 5),
    ],
)
@pytest.mark.parametrize("simulations", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)])
def test_intervals_of_differences_hold_at_their_nominal_rate(
    name: str, population: object, num_questions: int, num_seeds: int, simulations: int
) -> None:
    share = benchmark.difference_coverage(
        benchmark.DIFFERENCES[name],
        population=population, gain=0.1, num_questions=num_questions, num_seeds=num_seeds, simulations=simulations,
    )  # fmt: skip
    # With several seeds it is somewhat wider than need be, since a spread below 0 is taken for 0.
    assert holds(share, simulations=simulations) or (num_seeds > 1 and share > 0.95), share


def test_unpaired_seeds_must_not_be_paired() -> None:
    def paired_seeds(first: Scores, second: Scores) -> Interval:
        return crossed_difference_interval(first=first.mean(axis=1), second=second.mean(axis=1))

    share = benchmark.difference_coverage(
        paired_seeds, population=SEEDS, gain=0.1, num_questions=500, num_seeds=5, simulations=QUICK
    )
    assert share < 0.95 - error(0.95, QUICK), share


@pytest.mark.parametrize(
    ("name", "population", "num_seeds", "least_power"),
    [
        ("McNemar, exact", EXACT, 1, 0.4),
        ("McNemar, mid-p", EXACT, 1, 0.4),
        ("permutation", F1, 1, 0.4),
        ("permutation", EXACT, 3, 0.9),
        ("t over seeds and questions", EXACT, 3, 0.6),
        ("t over seeds and questions", SEEDS, 5, 0.6),
    ],
)
@pytest.mark.parametrize("simulations", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)])
def test_tests_keep_their_level_and_have_power(
    name: str, population: object, num_seeds: int, least_power: float, simulations: int
) -> None:
    shares = [
        benchmark.rejections(
            benchmark.TESTS[name],
            population=population, gain=gain, num_questions=200, num_seeds=num_seeds, simulations=num,
        )
        for gain, num in ((0.0, simulations), (0.1, simulations // 4))
    ]  # fmt: skip
    assert keeps(shares[0], simulations=simulations), shares
    assert shares[1] >= least_power, shares


def test_a_test_over_questions_takes_the_luck_of_seeds_for_a_difference() -> None:
    share = benchmark.rejections(
        benchmark.TESTS["permutation"], population=SEEDS, num_questions=500, num_seeds=3, simulations=QUICK // 2
    )
    assert not keeps(share, simulations=QUICK // 2)


@pytest.mark.parametrize("num_false", [0, 6])
def test_holm_controls_the_family(num_false: int) -> None:
    shares = {
        correct: benchmark.family_errors(num_tests=12, num_false=num_false, correct=correct, simulations=300)
        for correct in (False, True)
    }
    assert keeps(shares[True], simulations=300), shares
    assert not keeps(shares[False], simulations=300), shares


def test_the_population_has_the_mean_that_it_says() -> None:
    rng = np.random.default_rng(0)
    for population in (EXACT, F1, SEEDS):
        ease, luck = population.draw_ease(rng, 2000), population.draw_luck(rng, 200)
        drawn = population.draw(rng, ease=ease, luck=luck).mean()
        assert drawn == pytest.approx(population.expected(population.mean), abs=0.012)


# ----------------------------------------------------------------------------------------------- means over benchmarks


def test_the_interval_of_a_mean_over_benchmarks_holds_at_its_nominal_rate() -> None:
    rng = np.random.default_rng(3)
    rates = np.array([0.06, 0.35, 0.6])
    held = 0
    for _ in range(QUICK):
        of = [rate_interval(scores=(rng.random(60) < rate).astype(float)) for rate in rates]
        mean = interval_of_mean(intervals=of)
        held += mean.low <= rates.mean() <= mean.high
    assert holds(held / QUICK, simulations=QUICK)


@pytest.mark.parametrize("luck", [0.0, 0.05])
def test_seeds_that_benchmarks_share_are_covered(luck: float) -> None:
    """A seed that is lucky on one benchmark is so on all: an interval for independent benchmarks is then too narrow."""
    rng = np.random.default_rng(4)
    rates, held, held_apart = (0.3, 0.4, 0.5) * 2, 0, 0
    for _ in range(QUICK):
        shift = rng.normal(0.0, luck, 5)
        tables = [(rng.random((60, 5)) < rate + shift).astype(float) for rate in rates]
        shared = crossed_interval_of_mean(tables=tables)
        held += shared.low <= 0.4 <= shared.high
        apart = interval_of_mean(intervals=[crossed_interval(scores=table) for table in tables])
        held_apart += apart.low <= 0.4 <= apart.high
    assert held / QUICK >= 0.95 - error(0.95, QUICK)
    if luck:
        assert holds(held / QUICK, simulations=QUICK)
        assert held_apart / QUICK < 0.9
