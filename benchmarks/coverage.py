"""Coverage of intervals, and share of tests that find a difference: one that does not exist, and a real one.

Questions, seeds and answers are drawn anew in every simulation, from a population whose true figure is known: a question
is answered right with probability ``mean + ease of the question + luck of the seed``, the two added parts having mean 0. Prints
the tables of ``docs/explanation/statistics.md``::

    python benchmarks/coverage.py [--simulations 2000]
"""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from workflow_r1.evaluation import statistics
from workflow_r1.evaluation.statistics import Interval, PairedTest, Scores
from workflow_r1.evaluation.student import t_quantile

CONFIDENCE = 0.95
LEVEL = 0.05
SEED = 0
NUM_DRAWS = 1000
"""Resamples and permutations of each simulation: fewer than the default, since the simulations average over them."""
PARTIAL = ((1.0, 2 / 3, 0.4), (0.6, 0.2, 0.2))
"""F1 of an answer that hits, and how often: on average 0.8133."""

IntervalOf = Callable[[Scores], Interval]
DifferenceOf = Callable[[Scores, Scores], Interval]
TestOf = Callable[[Scores, Scores], PairedTest]


@dataclass(frozen=True)
class Population:
    """Questions, seeds and answers to draw from."""

    mean: float = 0.35
    """Share of right answers over all questions and seeds."""
    ease: float = 0.25
    """Questions are as much easier as others are harder (uniform between minus and plus this)."""
    luck: float = 0.0
    """Standard deviation of the seeds (normal)."""
    partial: bool = False
    """Scores as F1 gives them, instead of 0 and 1."""

    def expected(self, probabilities: Scores | float) -> float:
        """Mean score at these probabilities of a right answer."""
        worth = float(np.dot(*PARTIAL)) if self.partial else 1.0
        return worth * float(np.mean(probabilities))

    def draw(self, rng: np.random.Generator, *, ease: Scores, luck: Scores) -> Scores:
        """Scores ``(questions, seeds)`` of questions ``ease`` under seeds ``luck``."""
        hits = (rng.random((len(ease), len(luck))) < self.probabilities(ease=ease, luck=luck)).astype(np.float64)
        return hits * rng.choice(PARTIAL[0], p=PARTIAL[1], size=hits.shape) if self.partial else hits

    def probabilities(self, *, ease: Scores, luck: Scores) -> Scores:
        """Probabilities of a right answer, ``(questions, seeds)``."""
        return np.clip(self.mean + ease[:, None] + luck, 0.0, 1.0)

    def draw_ease(self, rng: np.random.Generator, num: int) -> Scores:
        """Draw the ease of so many questions."""
        return rng.uniform(-self.ease, self.ease, size=num)

    def draw_luck(self, rng: np.random.Generator, num: int) -> Scores:
        """Draw the luck of so many seeds."""
        return rng.normal(0.0, self.luck, size=num)


def coverage(
    interval_of: IntervalOf,
    *,
    population: Population,
    num_questions: int,
    num_seeds: int = 1,
    over: str = "seeds and questions",
    simulations: int,
) -> float:
    """Share of simulations whose interval holds the true figure.

    Args:
        interval_of: the interval under test.
        population: the population to draw from.
        num_questions: per simulation.
        num_seeds: per simulation.
        over: dimensions of the true figure's mean: ``seeds and questions``, ``questions`` (of these seeds) or ``seeds`` (on these
            questions).
        simulations: number of simulations.
    """
    rng = np.random.default_rng([SEED, num_questions, num_seeds])
    held = 0
    for _ in range(simulations):
        ease, luck = population.draw_ease(rng, num_questions), population.draw_luck(rng, num_seeds)
        truth = population.expected(
            {
                "seeds and questions": population.mean,
                "questions": population.mean + float(luck.mean()),
                "seeds": population.mean + float(ease.mean()),
            }[over]
        )
        interval = interval_of(population.draw(rng, ease=ease, luck=luck))
        held += interval.low <= truth <= interval.high
    return held / simulations


def pairs(
    *, population: Population, gain: float, num_questions: int, num_seeds: int, simulations: int
) -> Iterable[tuple[Scores, Scores]]:
    """Draw two methods on the same questions, each with seeds of its own; the first better by ``gain`` on average."""
    rng = np.random.default_rng([SEED, num_questions, num_seeds])
    better = Population(
        mean=population.mean + gain, ease=population.ease, luck=population.luck, partial=population.partial
    )
    for _ in range(simulations):
        ease = population.draw_ease(rng, num_questions)
        yield (
            better.draw(rng, ease=ease, luck=better.draw_luck(rng, num_seeds)),
            population.draw(rng, ease=ease, luck=population.draw_luck(rng, num_seeds)),
        )


def difference_coverage(
    interval_of: DifferenceOf,
    *,
    population: Population,
    gain: float,
    num_questions: int,
    num_seeds: int = 1,
    simulations: int,
) -> float:
    """Share of simulations whose interval holds the true difference of two methods."""
    truth = population.expected(population.mean + gain) - population.expected(population.mean)
    drawn = pairs(
        population=population, gain=gain, num_questions=num_questions, num_seeds=num_seeds, simulations=simulations
    )
    intervals = [interval_of(first, second) for first, second in drawn]
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


def rejections(
    test_of: TestOf,
    *,
    population: Population,
    gain: float = 0.0,
    num_questions: int,
    num_seeds: int = 1,
    simulations: int,
) -> float:
    """Share of simulations in which a test finds a difference: its level where ``gain`` is 0, else its power."""
    drawn = pairs(
        population=population, gain=gain, num_questions=num_questions, num_seeds=num_seeds, simulations=simulations
    )
    return float(np.mean([test_of(first, second).p_value <= LEVEL for first, second in drawn]))


def family_errors(
    *,
    num_tests: int,
    num_false: int,
    correct: bool,
    simulations: int,
) -> float:
    """Share of simulations in which a family of McNemar tests against one method finds any difference that does not
    exist.

    Args:
        num_tests: methods that are compared with one more, on the same questions.
        num_false: number of them that are indeed better.
        correct: True corrects by Holm; False does not correct.
        simulations: number of simulations.
    """  # fmt: skip
    num_questions = 200
    rng = np.random.default_rng(SEED)
    population, better = Population(), Population(mean=0.55)
    one = np.zeros(1)
    errors = 0
    for _ in range(simulations):
        ease = population.draw_ease(rng, num_questions)
        reference = population.draw(rng, ease=ease, luck=one)
        p_values = [
            statistics.mcnemar_test(
                first=(better if index < num_false else population).draw(rng, ease=ease, luck=one), second=reference
            ).p_value
            for index in range(num_tests)
        ]
        decided = statistics.holm(p_values=p_values) if correct else np.array(p_values)
        errors += bool((decided[num_false:] <= LEVEL).any())
    return errors / simulations


# ------------------------------------------------------------------------ what the project could use instead, and does not


def percentile_bootstrap(scores: Scores) -> Interval:
    """Bootstrap over questions (Efron 1979), without the correction for skew."""
    means = scores.mean(axis=1)
    chosen = np.random.default_rng(0).integers(len(means), size=(NUM_DRAWS, len(means)))
    return _interval_of(scores, *_percentiles(means[chosen].mean(axis=1)))


def crossed_bootstrap(scores: Scores) -> Interval:
    """Bootstrap over seeds and, independently, over questions (Owen 2007, "The pigeonhole bootstrap"); percentiles.

    With few seeds it is too narrow: the spread of S seeds drawn with replacement is that of S/(S-1) times as many.
    """
    rng = np.random.default_rng(0)
    num_questions, num_seeds = scores.shape
    questions = rng.integers(num_questions, size=(NUM_DRAWS, num_questions))
    weights = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=NUM_DRAWS) / num_seeds
    by_seed = np.stack([column[questions].mean(axis=1) for column in scores.T], axis=1)
    return _interval_of(scores, *_percentiles((by_seed * weights).sum(axis=1)))


def t_over_seeds(scores: Scores) -> Interval:
    """Student's t interval over the means of the seeds: it says nothing about other questions."""
    means = scores.mean(axis=0)
    error = float(means.std(ddof=1)) / math.sqrt(len(means))
    half_width = t_quantile(confidence=CONFIDENCE, degrees=len(means) - 1) * error
    return _interval_of(scores, float(means.mean()) - half_width, float(means.mean()) + half_width)


def mid_p_test(first: Scores, second: Scores) -> PairedTest:
    """McNemar's test that counts the outcome itself by half (Fagerland et al. 2013), and may exceed its level slightly."""
    exact = statistics.mcnemar_test(first=first, second=second)
    wins, losses = exact.num_first_better, exact.num_second_better
    itself = math.exp(math.log(math.comb(wins + losses, wins)) - (wins + losses) * math.log(2))
    return exact.model_copy(update={"p_value": 1.0 if wins == losses else exact.p_value - itself})


def _percentiles(means: Scores) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _interval_of(scores: Scores, low: float, high: float) -> Interval:
    num_questions, num_seeds = scores.shape
    return Interval(
        estimate=float(scores.mean()), low=low, high=high, confidence=CONFIDENCE, method="an alternative",
        num_questions=num_questions, num_seeds=num_seeds,
    )  # fmt: skip


INTERVALS: dict[str, IntervalOf] = {
    "Wilson": lambda scores: statistics.rate_interval(scores=scores),
    "bootstrap, percentile": percentile_bootstrap,
    "bootstrap, BCa": lambda scores: statistics.bootstrap_interval(scores=scores, num_resamples=NUM_DRAWS),
    "bootstrap, seeds and questions": crossed_bootstrap,
    "t over seeds": t_over_seeds,
    "t over seeds and questions": lambda scores: statistics.crossed_interval(scores=scores),
}

DIFFERENCES: dict[str, DifferenceOf] = {
    "adjusted Wald, paired": lambda first, second: statistics.paired_rate_interval(first=first, second=second),
    "t over seeds and questions, paired": lambda first, second: statistics.crossed_difference_interval(
        first=first, second=second
    ),
}

TESTS: dict[str, TestOf] = {
    "McNemar, exact": lambda first, second: statistics.mcnemar_test(first=first, second=second),
    "McNemar, mid-p": mid_p_test,
    "permutation": lambda first, second: statistics.permutation_test(
        first=first, second=second, num_permutations=NUM_DRAWS
    ),
    "t over seeds and questions": lambda first, second: statistics.crossed_test(first=first, second=second),
}


def tables(*, simulations: int) -> Iterable[str]:
    """The tables of the documentation, in Markdown."""
    exact, f1 = Population(), Population(partial=True)
    rare = Population(mean=0.06, ease=0.05)
    rows = []
    for num in (20, 50, 500):
        for label, population, names in (
            ("exact match 0.35", exact, ("Wilson", "bootstrap, BCa")),
            ("exact match 0.06", rare, ("Wilson", "bootstrap, BCa")),
            ("F1 0.28", f1, ("bootstrap, percentile", "bootstrap, BCa", "t over seeds and questions")),
        ):
            rows += [
                [
                    name.replace("seeds and ", ""), label, str(num),
                    _share(coverage(INTERVALS[name], population=population, num_questions=num, simulations=simulations)),
                ]
                for name in names
            ]  # fmt: skip
    yield _table(
        "One seed: how often a 95% interval holds the figure of all questions",
        ["interval", "figure", "questions", "held"],
        rows,
    )

    for population, num_questions in (
        (Population(luck=0.03), 500),
        (Population(), 500),
        (Population(mean=0.06, ease=0.05, luck=0.01), 100),
    ):
        names = ["bootstrap, BCa", "bootstrap, seeds and questions", "t over seeds", "t over seeds and questions"]
        rows = [
            [
                name,
                *(
                    _share(coverage(INTERVALS[name], population=population, num_questions=num_questions, num_seeds=num, simulations=simulations))
                    for num in (2, 3, 5, 10)
                ),
            ]
            for name in names
        ]  # fmt: skip
        yield _table(
            f"Several seeds: how often a 95% interval holds the figure of all questions and seeds ({_describe(population)}; {num_questions} questions)",
            ["interval", "2 seeds", "3 seeds", "5 seeds", "10 seeds"], rows,
        )  # fmt: skip
    seeds = Population(luck=0.03)
    rows = [
        [name, over, *(
            _share(coverage(INTERVALS[name], population=seeds, num_questions=500, num_seeds=num, over=over, simulations=simulations))
            for num in (2, 3, 5, 10)
        )]
        for name, over in (("bootstrap, BCa", "questions"), ("t over seeds", "seeds"))
    ]  # fmt: skip
    yield _table(
        "Seeds that differ by 0.03, 500 questions: each interval against what it says it covers: these seeds on all questions; all seeds on these questions",
        ["interval", "figure over all", "2 seeds", "3 seeds", "5 seeds", "10 seeds"], rows,
    )  # fmt: skip

    rows = []
    for name, population, num, num_seeds in (
        ("adjusted Wald, paired", exact, 20, 1),
        ("adjusted Wald, paired", exact, 500, 1),
        ("adjusted Wald, paired", rare, 100, 1),
        ("t over seeds and questions, paired", f1, 20, 1),
        ("t over seeds and questions, paired", f1, 500, 1),
        ("t over seeds and questions, paired", seeds, 500, 3),
        ("t over seeds and questions, paired", seeds, 500, 5),
        ("t over seeds and questions, paired", exact, 500, 3),
    ):
        held = difference_coverage(
            DIFFERENCES[name], population=population, gain=0.05, num_questions=num, num_seeds=num_seeds, simulations=simulations
        )  # fmt: skip
        rows.append([name, _describe(population), str(num), str(num_seeds), _share(held)])
    yield _table(
        "How often a 95% interval of a difference holds the true one",
        ["interval", "figure", "questions", "seeds", "held"], rows,
    )  # fmt: skip

    rows = []
    for name, population, num, num_seeds in (
        ("McNemar, exact", exact, 50, 1),
        ("McNemar, exact", exact, 500, 1),
        ("McNemar, mid-p", exact, 50, 1),
        ("McNemar, mid-p", exact, 500, 1),
        ("permutation", f1, 50, 1),
        ("permutation", f1, 500, 1),
        ("permutation", exact, 500, 3),
        ("permutation", seeds, 500, 3),
        ("t over seeds and questions", exact, 500, 3),
        ("t over seeds and questions", seeds, 500, 3),
        ("t over seeds and questions", seeds, 500, 5),
    ):
        found = [
            rejections(TESTS[name], population=population, gain=gain, num_questions=num, num_seeds=num_seeds, simulations=simulations)
            for gain in (0.0, 0.05, 0.1)
        ]  # fmt: skip
        rows.append([name, _describe(population), str(num), str(num_seeds), *map(_share, found)])
    yield _table(
        "How often a test at the 5% level finds a difference of 0, 0.05 and 0.1 in the share of right answers",
        ["test", "figure", "questions", "seeds", "0", "0.05", "0.1"], rows,
    )  # fmt: skip

    rows = [
        [f"{num_tests} tests, {num_false} of them of a true difference"]
        + [
            _share(family_errors(num_tests=num_tests, num_false=num_false, correct=correct, simulations=simulations))
            for correct in (False, True)
        ]
        for num_tests, num_false in ((12, 0), (12, 6))
    ]
    yield _table(
        "How often a family of exact McNemar tests finds any difference that does not exist",
        ["family", "uncorrected", "Holm"], rows,
    )  # fmt: skip


def _describe(population: Population) -> str:
    seeds = f", seeds differ by {population.luck:g}" if population.luck else ""
    return f"{'F1' if population.partial else 'exact match'} {population.expected(population.mean):.2f}{seeds}"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000, help="of each line (default: 2000)")
    arguments = parser.parse_args()
    started = time.perf_counter()
    error = 2 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / arguments.simulations)
    for table in tables(simulations=arguments.simulations):
        print(f"{table}\n", flush=True)
    print(
        f"{arguments.simulations:,} simulations a line: at 0.95 or 0.05, two standard errors are {error:.3f}. "
        f"{time.perf_counter() - started:.0f} seconds."
    )


if __name__ == "__main__":
    main()
