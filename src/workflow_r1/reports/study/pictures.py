"""The pictures of a study: learning curves with bands over seeds, and a forest of the contrasts."""

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.evaluation.statistics import Interval, seed_interval
from workflow_r1.reports.drawing import COLOURS, INK, MUTED, dress, opened_figure, read_together, save_figure
from workflow_r1.reports.study.record import StudyReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STROKES = ("solid", "dashed", "dotted", "dashdot")
"""Strokes of the lines: the second serves when all colours are taken, and so on."""

PANEL, LINE = 4.0, 0.32
"""Inches: width of a world's curves, and height of a contrast."""


def draw_curves(report: StudyReport, directory: Path) -> list[Path]:
    """Draw ``curves.png`` and ``curves.svg``: each world's arms, mean and 95% band over seeds.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    worlds = list(report.study.worlds)
    with opened_figure(3.0 + PANEL * len(worlds), 4.2) as figure:
        panels = figure.subplots(1, len(worlds), squeeze=False, sharey=True)[0]
        for axes, world in zip(panels, worlds, strict=True):
            dress(axes, world if len(worlds) > 1 else report.study.name, "trajectories", report.measure)
            for arm, (stroke, colour) in styles_of(report).items():
                _draw_arm(axes, report, world, arm, colour, stroke)
        # The last world may have no run yet, and the others some.
        lines = {arm: line for axes in panels for line, arm in zip(*axes.get_legend_handles_labels(), strict=True)}
        panels[-1].legend(
            [*lines.values()], [*lines], frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK
        )
        return save_figure(figure, directory / "curves")


def styles_of(report: StudyReport) -> dict[str, tuple[str, str]]:
    """Return the stroke and the colour of each arm that has runs; no two are alike up to 40 arms."""
    with_runs = {run.arm for run in report.runs}
    arms = [arm for arm in report.study.arms_and_again if arm in with_runs]
    return dict(zip(arms, itertools.cycle(itertools.product(STROKES, COLOURS)), strict=False))


def _draw_arm(axes: "Axes", report: StudyReport, world: str, arm: str, colour: str, stroke: str) -> None:
    places, values = read_together([run.curve for run in report.runs if (run.world, run.arm) == (world, arm)])
    if not places:
        return
    intervals = [seed_interval(values=of_place) for of_place in values]
    means = [interval.estimate for interval in intervals]
    axes.plot(places, means, color=colour, linestyle=stroke, linewidth=1.8, label=arm)
    if all(math.isfinite(interval.high) for interval in intervals):
        low, high = ([getattr(interval, end) for interval in intervals] for end in ("low", "high"))
        axes.fill_between(places, low, high, color=colour, alpha=0.12, linewidth=0)


def draw_forest(report: StudyReport, directory: Path) -> list[Path]:
    """Draw ``forest.png`` and ``forest.svg``: every contrast with its interval, and the noise floor in grey; nothing
    without contrasts.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    several = len(report.study.worlds) > 1
    rows: list[tuple[str, Interval, bool]] = []
    for noise in report.noise:
        prefix = f"{noise.world}: " if several else ""
        if noise.floor is not None:
            rows.append((f"{prefix}{report.study.again} under other seeds", noise.floor, False))
        rows += [
            (f"{prefix}{each.first} minus {each.second}", each.result, each.verdict != "none")
            for each in report.contrasts
            if each.world == noise.world
        ]
    rows = [row for row in rows if math.isfinite(row[1].high)]
    if not rows:
        return []
    with opened_figure(8.0, 1.2 + LINE * len(rows)) as figure:
        axes = figure.subplots()
        dress(axes, report.study.name, f"difference in {report.measure}, 95%")
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        for place, (_, interval, is_found) in enumerate(rows):
            half = interval.high - interval.estimate
            axes.errorbar(
                interval.estimate,
                place,
                xerr=half,
                fmt="o",
                markersize=5,
                capsize=3,
                color=COLOURS[0] if is_found else MUTED,
            )
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        return save_figure(figure, directory / "forest")
