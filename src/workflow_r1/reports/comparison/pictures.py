"""The curves of arms beside each other: mean over seeds, and a band from the lowest to the highest seed."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.evaluation.figures import MEASURES
from workflow_r1.reports.comparison.arms import Arm
from workflow_r1.reports.comparison.figures import RunComparison
from workflow_r1.reports.curve import shorten, smooth
from workflow_r1.reports.drawing import COLOURS, INK, MUTED, Point, dress, opened_figure, read_together, save_figure
from workflow_r1.reports.run_record import Row, RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ARM_CHARS = 40
"""Longest name of an arm in the picture."""


def draw_curves(comparison: RunComparison, directory: Path) -> list[Path]:
    """Draw ``curves.png`` and ``curves.svg``, and return their paths.

    Three panels: the sampled figure that says how good a policy is, its held-out one, and turns per trajectory. Where steps of
    the arms hold different numbers of trajectories, the curves run over trajectories instead of steps.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    name, measure = MEASURES[comparison.measure], comparison.measure
    runs = [run for arm in comparison.arms for run in arm.runs]
    by_step = len({_size_of_step(run) for run in runs}) == 1
    x_label = "step" if by_step else "trajectories"
    with opened_figure(13.0, 4.2) as figure:
        training, held_out, turns = figure.subplots(1, 3)
        dress(training, f"{name}, sampled (moving average)", x_label)
        dress(held_out, f"Held-out {name}, greedy", x_label)
        dress(turns, "Turns per trajectory, sampled (moving average)", x_label)
        for arm, colour in zip(comparison.arms, itertools.cycle(COLOURS), strict=False):
            for axes, curves in (
                (training, [_sampled(run, f"rollout/{measure}", by_step=by_step) for run in arm.runs]),
                (held_out, [_held_out(run, f"evaluation/{measure}", by_step=by_step) for run in arm.runs]),
                (turns, [_sampled(run, "rollout/turns", by_step=by_step) for run in arm.runs]),
            ):
                _draw(axes, arm, curves, colour)
        turns.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)
        mark = " (a simulation)" if comparison.is_simulation else ""
        figure.suptitle(f"Runs beside each other{mark}", fontsize=12, fontweight="bold", color=INK, x=0.01, ha="left")
        if any(len(arm.runs) > 1 for arm in comparison.arms):
            note = "Lines are means over seeds; bands reach from the lowest to the highest seed."
            figure.supxlabel(note, fontsize=8, color=MUTED, x=0.01, ha="left")
        return save_figure(figure, directory / "curves")


def _sampled(run: RunRecord, key: str, *, by_step: bool) -> list[Point]:
    rows = [row for row in run.metrics if row.get(key) is not None]
    places = [_place(run, row, by_step=by_step) for row in rows]
    return [*zip(places, smooth([row[key] for row in rows]), strict=True)]


def _held_out(run: RunRecord, key: str, *, by_step: bool) -> list[Point]:
    return [(_place(run, row, by_step=by_step), row[key]) for row in run.evaluations if row.get(key) is not None]


def _size_of_step(run: RunRecord) -> tuple[int, int]:
    """Return the trajectories of a step, and the rounds of further ones that dynamic sampling may add."""
    training = run.config.training
    return training.questions_per_step * training.group_size, training.dynamic_sampling


def _place(run: RunRecord, row: Row, *, by_step: bool) -> float:
    if by_step:
        return float(row["step"])
    return float(sum(each["rollout/num_trajectories"] for each in run.metrics if each["step"] <= row["step"]))


def _draw(axes: "Axes", arm: Arm, curves: Sequence[Sequence[Point]], colour: str) -> None:
    places, values = read_together(curves)
    if not places:
        return
    marker = "o" if len(places) < 12 else ""
    means = [sum(of_place) / len(of_place) for of_place in values]
    label = f"{shorten(arm.name, MAX_ARM_CHARS)}{f' ({len(curves)} seeds)' if len(curves) > 1 else ''}"
    axes.plot(places, means, color=colour, linewidth=1.8, marker=marker, markersize=4, label=label)
    if len(curves) > 1:
        low, high = ([end(of_place) for of_place in values] for end in (min, max))
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
