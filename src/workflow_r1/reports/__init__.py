"""Reports of a run: its curve, its summary, its trackers. matplotlib, TensorBoard and W&B are imported where used."""

from workflow_r1.reports.curve import draw_curve
from workflow_r1.reports.run_record import RunRecord, read_run
from workflow_r1.reports.summary import write_summary
from workflow_r1.reports.trackers import Tracker, open_trackers

__all__ = ["RunRecord", "Tracker", "draw_curve", "open_trackers", "read_run", "write_summary"]
