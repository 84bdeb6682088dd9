"""Stage 10: the scores of a policy on questions that it was not trained on, and those of fixed workflows on the same.

``methods`` holds the fixed workflows. ``evaluation.comparison`` compares methods by their recorded answers
(``evaluation.rows``, ``evaluation.answers``) with the intervals and tests of ``evaluation.statistics``.
"""

from workflow_r1.evaluation.evaluate import EvaluationResult, evaluate
from workflow_r1.evaluation.figures import Figures, Proportion, compute_figures, wilson_interval
from workflow_r1.trajectory.outcome import question_class

__all__ = [
    "EvaluationResult",
    "Figures",
    "Proportion",
    "compute_figures",
    "evaluate",
    "question_class",
    "wilson_interval",
]
