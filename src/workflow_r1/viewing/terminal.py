"""A compact view of a run for a terminal."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workflow_r1.printable import printable
from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.source import Json

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {"right": "green", "wrong": "red", "failed": "dim"}
NUM_TRAJECTORIES = 8
"""Newest trajectories that are listed."""

_SHOWN = (
    ("rollout/exact_match", "right, sampled"),
    ("rollout/success", "success, sampled"),
    ("evaluation/exact_match", "right, greedy"),
    ("evaluation/success", "success, greedy"),
    ("rollout/reward", "reward"),
    ("rollout/turns", "turns"),
    ("rollout/malformed_rate", "malformed"),
    ("update/ratio_mean", "ratio"),
    ("update/entropy", "entropy"),
    ("time/step_seconds", "seconds per step"),
    ("rollout/cost", "cost per trajectory"),
)


def draw(reading: Reading) -> RenderableType:
    """Draw all runs below each other."""
    return Group(*(part for number in range(len(reading.sources)) for part in _draw(reading, number)))


def _draw(reading: Reading, number: int) -> list[RenderableType]:
    source, summary = reading.sources[number], reading.summary(number)
    metrics = summary["metrics"]
    num_steps = sum(step > 0 for step in metrics["step"])
    rows = source.all_rows()
    of = f" of {summary['num_steps']}" if isinstance(summary["num_steps"], int) else ""
    facts = [
        f"{num_steps}{of} steps" if num_steps else "",
        f"{len(rows):,} trajectories",
        "at work" if summary["live"] else "not at work",
    ]
    parts: list[RenderableType] = [
        Text(printable(summary["title"]), style="bold"),
        Text(", ".join(filter(None, facts)), style="dim"),
    ]
    if summary["simulation"]:
        parts.append(Text("a simulation: the embedded world"))
    parts += [Text(printable(problem), style="yellow") for problem in summary["problems"]]
    parts += [_alarm(alarm) for alarm in summary["alarms"][-5:]]
    if num_steps:
        parts.append(_figures(metrics))
    table = Table.grid(padding=(0, 1))
    for row in rows[-NUM_TRAJECTORIES:]:
        outcome = row.outcome or "not judged"
        table.add_row(
            Text("" if row.step is None else f"{row.step}", style="dim"),
            Text(outcome.replace("_", " "), style=_STYLES.get(outcome, "yellow")),
            Text(printable(row.question)[:60]),
            Text(printable(row.answer or "")[:24]),
            Text(printable(" > ".join(row.operators))[:60], style="dim"),
        )
    return [*parts, Text(""), table, Text("")]


def _alarm(alarm: Json) -> Text:
    return Text(f"step {alarm['step']}: {printable(str(alarm['message']))}", style="red")


def _figures(metrics: Json) -> Table:
    table = Table.grid(padding=(0, 2))
    for key, name in _SHOWN:
        values = [value for value in metrics["series"].get(key, ()) if value is not None]
        if values:
            table.add_row(
                name,
                Text(f"{values[0]:.3g}", style="dim"),
                Text(_sparks(values), style="cyan"),
                Text(f"{values[-1]:.3g}", style="bold"),
            )
    return table


def _sparks(values: Sequence[Any]) -> str:
    """A curve of at most 40 characters; each stands for the mean of its share of the values."""
    width = min(40, len(values))
    edges = [round(at * len(values) / width) for at in range(width + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    low, high = min(means), max(means)
    if low == high:
        return _BARS[0] * len(means)
    return "".join(_BARS[min(len(_BARS) - 1, int((mean - low) / (high - low) * len(_BARS)))] for mean in means)
