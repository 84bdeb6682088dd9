"""Two or more runs beside each other: ``arms`` (what is compared), ``figures`` (differences), ``document`` and ``pictures``."""

from workflow_r1.reports.comparison.document import make_document
from workflow_r1.reports.comparison.figures import RunComparison, compare_runs
from workflow_r1.reports.comparison.pictures import draw_curves

__all__ = ["RunComparison", "compare_runs", "draw_curves", "make_document"]
