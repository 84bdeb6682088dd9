"""The worth of a difference between two figures: intervals, paired tests, correction, and the accuracy-cost frontier.

Scores are an array ``(questions,)``, or ``(questions, seeds)`` where a method was run under several seeds, each of
which answered every question; a question that was repeated under one seed enters with its mean. Their unit is the
figure's own (0 to 1 for exact match and F1). ``docs/explanation/statistics.md`` says what each interval covers, and how
often it does so in simulations. Every function is deterministic; those that draw take a seed.
"""

from workflow_r1.evaluation.statistics.frontier import pareto_frontier
from workflow_r1.evaluation.statistics.intervals import (
    Interval,
    bootstrap_interval,
    crossed_difference_interval,
    crossed_interval,
    crossed_interval_of_mean,
    interval_of_mean,
    paired_rate_interval,
    rate_interval,
)
from workflow_r1.evaluation.statistics.paired import (
    PairedTest,
    crossed_test,
    holm,
    mcnemar_test,
    permutation_test,
)
from workflow_r1.evaluation.statistics.scores import Scores
from workflow_r1.evaluation.statistics.seeds import pooled_spread, seed_interval, seed_p_value, smallest_difference

__all__ = [
    "Interval",
    "PairedTest",
    "Scores",
    "bootstrap_interval",
    "crossed_difference_interval",
    "crossed_interval",
    "crossed_interval_of_mean",
    "crossed_test",
    "holm",
    "interval_of_mean",
    "mcnemar_test",
    "paired_rate_interval",
    "pareto_frontier",
    "permutation_test",
    "pooled_spread",
    "rate_interval",
    "seed_interval",
    "seed_p_value",
    "smallest_difference",
]
