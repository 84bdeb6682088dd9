"""The report of a study: its runs read, its contrasts tested, one table, and the pictures."""

from workflow_r1.reports.study.build import build_study
from workflow_r1.reports.study.record import StudyReport
from workflow_r1.reports.study.runs import RunOfStudy, read_run_figures
from workflow_r1.reports.study.table import write_table

__all__ = ["RunOfStudy", "StudyReport", "build_study", "read_run_figures", "write_table"]
