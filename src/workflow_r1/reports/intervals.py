"""Intervals in tables."""

from workflow_r1.evaluation.statistics import Interval


def show_interval(interval: Interval | None, *, sign: bool = False) -> str:
    """An estimate with its interval, or a dash."""
    if interval is None:
        return "-"
    form = "+.3f" if sign else ".3f"
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
