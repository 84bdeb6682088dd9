"""The record of a study: ``study.json``."""

from typing import Literal

from workflow_r1.config.study import StudyConfig
from workflow_r1.evaluation.statistics import Interval
from workflow_r1.trajectory.records import Record

Verdict = Literal["more", "less", "none"]
"""The first arm reaches more, or less, or nothing can be told."""


class RunFigures(Record):
    """Figures of one run."""

    world: str
    arm: str
    seed: int
    """Seed of the study: what the arms of one seed share; the arm that is run again trains under another one."""
    measure: str
    """Name of the result, such as ``sampled exact match``."""
    result: float
    """Mean of the last evaluations."""
    greedy: float | None
    """The same of greedy answers; None where the result itself is greedy, or the reward."""
    area: float
    """Mean height of the curve over the trajectories."""
    collapsed: bool
    """True where the result is below the study's share of the best evaluation."""
    minutes_to_threshold: float | None
    """Minutes of training up to the first evaluation at the threshold; None where none reached it."""
    trajectories_to_threshold: int | None
    """Trajectories up to there."""
    pass_all: float | None
    """Share of questions of which every sampled answer succeeds, over the last evaluations."""
    flip_rate: float | None
    """Probability that one of two sampled answers succeeds and the other does not."""
    minutes: float
    """Minutes of training, evaluations left out."""
    curve: tuple[tuple[int, float], ...]
    """Trajectories so far, and the figure of the evaluation there."""
    update: dict[str, float]
    """Quantities of the updates: means over the steps, but the smallest of ``_min`` and the largest of ``_max``."""
    revision: str | None
    """Commit that trained it."""


class Cell(Record):
    """One arm in one world."""

    world: str
    arm: str
    tuned: float | None
    """Value of the tuned setting; None where nothing is tuned."""
    at_edge: bool
    """True where that is the first or last value that was tried: a better one may lie beyond."""
    num_seeds: int
    result: Interval
    greedy: Interval | None
    area: Interval
    num_collapsed: int
    num_reached: int
    """Runs that reached the threshold."""
    minutes_to_threshold: float | None
    """Median of the runs that reached it."""
    trajectories_to_threshold: float | None
    """Median of the runs that reached it."""
    pass_all: float | None
    flip_rate: float | None
    update: dict[str, float]
    """Means over the runs."""


class Contrast(Record):
    """Two arms of one world, compared seed by seed."""

    world: str
    first: str
    second: str
    result: Interval
    """First minus second."""
    area: Interval
    """The same of the area under the curve."""
    p_value: float
    """Of the result, uncorrected."""
    p_holm: float
    """Corrected for all contrasts that the study declares."""
    verdict: Verdict
    """``none`` where the corrected p-value is above .05 or the difference lies inside the noise floor."""


class Noise(Record):
    """What a world lets the study see."""

    world: str
    floor: Interval | None
    """Difference between an arm and itself under other seeds; None without such an arm."""
    smallest: float | None
    """Smallest difference that is found with a power of 80%; None with fewer than two seeds."""
    num_seeds: int
    """Seeds of the contrasts that it holds for: the fewest."""


class TunedValue(Record):
    """A value that was tried for an arm."""

    arm: str
    value: float
    area: float
    """Mean over the seeds of the tuning."""
    num_seeds: int


class StudyReport(Record):
    """Everything that a study found."""

    schema_version: Literal[1] = 1
    study: StudyConfig
    """The study as it was declared."""
    measure: str
    """Name of the result."""
    revisions: tuple[str, ...]
    """Commits of the runs."""
    version: str
    """Version of this package."""
    num_runs: int
    """Runs that are finished."""
    num_planned: int
    """Runs that were declared."""
    stopped_after: int | None
    """Seeds after which the stop rule ended the study; None where it did not."""
    simulation: bool
    """True where the runs used any part of the embedded world."""
    noise: tuple[Noise, ...]
    contrasts: tuple[Contrast, ...]
    cells: tuple[Cell, ...]
    tuning: tuple[TunedValue, ...]
    runs: tuple[RunFigures, ...]
