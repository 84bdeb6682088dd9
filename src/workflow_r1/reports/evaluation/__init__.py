"""The report of an evaluation: one record (``record``), built once (``build``), written in every form (``files``).

rows, trajectories, searches, card -> EvaluationReport -> Document -> report.md, report.html, frontier.svg, frontier.png
                                                       -> report.csv, report.json
"""

from workflow_r1.reports.evaluation.build import build_report
from workflow_r1.reports.evaluation.document import make_document
from workflow_r1.reports.evaluation.files import write_report
from workflow_r1.reports.evaluation.record import EvaluationReport
from workflow_r1.reports.evaluation.sources import is_evaluation

__all__ = ["EvaluationReport", "build_report", "is_evaluation", "make_document", "write_report"]
