"""The curve of a run as PNG and SVG: whether it learns, how fast, and by which operators."""

import itertools
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.evaluation.figures import MEASURES, Measure
from workflow_r1.printable import printable
from workflow_r1.recording.metrics import headline_of
from workflow_r1.reports.drawing import INK, MUTED, dress, opened_figure, save_figure
from workflow_r1.reports.run_record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE = "#2563eb", "#ea7317"
OPERATOR_COLOURS = {
    "Search": "#2a9d8f",
    "AnswerGenerate": "#e9c46a",
    "MultiAnswerGenerate": "#f4a261",
    "ScEnsemble": "#e76f51",
    "Custom": "#8ab17d",
    "PromptOptimizer": "#9d8df1",
    "Review": "#457b9d",
    "Revise": "#a8dadc",
    "(invalid)": "#c1121f",
}
"""One colour per operator in every figure, so that figures can be compared."""
SPARE_COLOURS = ("#b08968", "#7f5539", "#adb5bd", "#495057")
"""Colours for operators that a user added."""

CALLS, PARTS = "rollout/calls/", "rollout/part/"

MAX_RUN_CHARS, MAX_OPERATOR_CHARS = 60, 28
"""Longest name of a run directory, and of an operator, in a picture: a longer one would leave the curves no room."""


def draw_curve(run: RunRecord) -> list[Path]:
    """Draw ``curve.png`` and ``curve.svg`` into the run directory and return their paths.

    Three panels: reward and exact match by step; held-out exact match with its 95% interval by minutes of training;
    operator calls per question by step.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with opened_figure(12.0, 4.2) as figure:
        training, held_out, mix = figure.subplots(1, 3)
        _draw_training(training, run)
        _draw_held_out(held_out, run)
        _draw_operator_mix(mix, run)
        figure.suptitle(run.title, fontsize=12, fontweight="bold", color=INK, x=0.01, ha="left")
        figure.text(0.99, 0.98, _name_and_date(run), color=MUTED, ha="right", va="top")
        figure.supxlabel(_how_answers_are_drawn(run), fontsize=8, color=MUTED, x=0.01, ha="left")
        return save_figure(figure, run.directory / "curve")


def _name_and_date(run: RunRecord) -> str:
    """Return the name of the run directory, the beginning of the run, and its length."""
    name = shorten(run.directory.resolve().name, MAX_RUN_CHARS)
    try:
        started = datetime.fromisoformat(run.environment["started"])
        begun = [f"begun on {started.day} {started:%B %Y}"]
    except (KeyError, TypeError, ValueError):
        begun = []
    return ", ".join([name, *begun, f"{run.metrics[-1]['step']} of {run.config.training.steps} steps"])


def shorten(name: str, limit: int) -> str:
    """Return a name in one line of at most so many characters."""
    name = " ".join(printable(name).split())
    return name if len(name) <= limit else f"{name[: limit - 3]}..."


def _how_answers_are_drawn(run: RunRecord) -> str:
    """Explain why training and held-out figures of one policy differ."""
    sampled = f"Sampled: each token is drawn at temperature {run.config.sampling.temperature:g}, on training questions."
    if not run.evaluations:
        return sampled
    return (
        f"{sampled}  Greedy: each token is the likeliest one, on questions that are never trained on.  One policy may score "
        "differently by the two."
    )


def _draw_training(axes: "Axes", run: RunRecord) -> None:
    from matplotlib.ticker import MaxNLocator

    dress(axes, f"Training, sampled ({_trajectories_of_a_step(run)} a step)", "step", "mean over trajectories")
    measure: Measure = headline_of(run.metrics[-1], "rollout")
    drawn: dict[Measure, str] = {"reward": ORANGE, measure: BLUE}
    for name, colour in drawn.items():
        label = MEASURES[name]
        steps, values = run.series(f"rollout/{name}")
        axes.plot(steps, values, color=colour, alpha=0.35, linestyle="", marker="o", markersize=3)
        axes.plot(
            steps, smooth(values), color=colour, linewidth=2.0, label=label, marker="o" if len(steps) == 1 else ""
        )
    for key, colour in zip(run.keys(PARTS), itertools.cycle(SPARE_COLOURS), strict=False):
        steps, values = run.series(key)
        axes.plot(steps, smooth(values), color=colour, linewidth=1.2, linestyle="--", label=key.removeprefix(PARTS))
    if len(run.metrics) > 1:
        axes.plot([], [], color=MUTED, alpha=0.6, linestyle="", marker="o", markersize=3, label="single steps")
        axes.plot([], [], color=MUTED, linewidth=2.0, label="moving average")
    axes.legend(frameon=False, loc="best", labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _trajectories_of_a_step(run: RunRecord) -> str:
    training = run.config.training
    number = run.metrics[-1].get("rollout/num_trajectories") or training.questions_per_step * training.group_size
    return f"{number:g} trajectories"


def _draw_held_out(axes: "Axes", run: RunRecord) -> None:
    measure = headline_of(run.evaluations[-1], "evaluation") if run.evaluations else "exact_match"
    name = MEASURES[measure]
    rows = [row for row in run.evaluations if row.get(f"evaluation/{measure}") is not None]
    number = rows[-1].get("evaluation/num_questions") if rows else None
    dress(
        axes,
        f"Held-out {name}, greedy ({number} questions)" if number else f"Held-out {name}: not evaluated",
        "minutes of training",
        name if measure == "reward" else f"{name}, 95% interval",
    )
    if measure != "reward":
        axes.set_ylim(0, 1.1)  # Room for a figure above the interval of a rate of 1.
        axes.set_yticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    if not rows:
        return
    minutes = [run.minutes_at(row["step"]) for row in rows]
    rates = [row[f"evaluation/{measure}"] for row in rows]
    # A reward has no interval here.
    low = [rate - row.get(f"evaluation/{measure}_low", rate) for rate, row in zip(rates, rows, strict=True)]
    high = [row.get(f"evaluation/{measure}_high", rate) - rate for rate, row in zip(rates, rows, strict=True)]
    axes.errorbar(minutes, rates, yerr=[low, high], color=BLUE, linewidth=2, marker="o", markersize=4, capsize=3)
    for index in {0, len(rows) - 1}:
        is_below = label_is_below(rates, index)
        axes.annotate(
            f"{rates[index]:.2f}",
            (minutes[index], rates[index] - low[index] if is_below else rates[index] + high[index]),
            textcoords="offset points",
            xytext=(0, -4 if is_below else 4),
            ha="left" if index == 0 else "right",
            va="top" if is_below else "bottom",
            color=INK,
            fontweight="bold",
        )
    by_step = axes.secondary_xaxis("top")
    by_step.set_xticks(minutes, [f"step {row['step']}" if row is rows[0] else f"{row['step']}" for row in rows])
    by_step.tick_params(colors=MUTED, length=2, labelsize=7)
    by_step.spines["top"].set_visible(False)
    axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=10, color=INK, pad=16)


def label_is_below(values: list[float], index: int) -> bool:
    """Return True where the label of an end of a curve stands below it: on the side that the curve does not take."""
    neighbour = 1 if index == 0 else index - 1
    return neighbour < len(values) and values[neighbour] > values[index]


def _draw_operator_mix(axes: "Axes", run: RunRecord) -> None:
    from matplotlib.ticker import MaxNLocator

    dress(axes, "Operator mix, sampled (moving average)", "step", "calls per question")
    named: list[tuple[str, list[float]]] = []
    steps = [row["step"] for row in run.metrics]
    for key in run.keys(CALLS):
        values = [row.get(key) or 0.0 for row in run.metrics]
        if any(values):
            named.append((key.removeprefix(CALLS), smooth(values)))
    if not named:
        return
    order = list(OPERATOR_COLOURS)
    named.sort(key=lambda entry: order.index(entry[0]) if entry[0] in order else len(order))
    spare = iter(SPARE_COLOURS * len(named))
    colours = [OPERATOR_COLOURS.get(name) or next(spare) for name, _ in named]
    if len(steps) == 1:
        bottom = 0.0
        for (name, values), colour in zip(named, colours, strict=True):
            axes.bar(steps, values, bottom=bottom, color=colour, width=0.4, label=name)
            bottom += values[0]
    else:
        axes.stackplot(steps, *[values for _, values in named], colors=colours, labels=[name for name, _ in named])
    handles, labels = axes.get_legend_handles_labels()
    # The legend reads from the top, as the stack does.
    labels = [shorten(name, MAX_OPERATOR_CHARS) for name in labels]
    axes.legend(handles[::-1], labels[::-1], frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)
    axes.margins(x=0.0 if len(steps) > 1 else 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def smooth(values: list[float]) -> list[float]:
    """Exponential moving average, corrected for its start: the first value is not counted for several."""
    weight = 0.6
    smoothed, total, mass = [], 0.0, 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        mass = weight * mass + (1 - weight)
        smoothed.append(total / mass)
    return smoothed
