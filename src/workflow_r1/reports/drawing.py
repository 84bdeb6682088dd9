"""Figures drawn with matplotlib: opened, dressed in the house's looks, and saved."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workflow_r1.errors import MissingExtraError
from workflow_r1.installation import install_command
from workflow_r1.trajectory.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
"""A place and a value there."""

INK, MUTED, GRID = "#1f2430", "#6b7280", "#e5e7eb"

COLOURS = ("#2563eb", "#ea7317", "#2a9d8f", "#c1121f", "#7f5af0", "#b08968", "#457b9d", "#8ab17d", "#495057", "#d4a017")
"""One colour for each arm, in their order."""


@contextmanager
def opened_figure(width: float, height: float) -> "Iterator[Figure]":
    """Open a figure of so many inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(
            f"the picture needs matplotlib, which is not installed; run: {install_command('train')}"
        ) from None
    settings: Any = {
        "font.size": 9,
        "svg.hashsalt": "workflow-r1",
        "svg.fonttype": "path",
        "axes.unicode_minus": True,
        # A name is not a formula: a stranger's might be no valid one.
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure


def save_figure(figure: "Figure", stem: Path) -> list[Path]:
    """Write ``STEM.png`` and ``STEM.svg``, and return their paths."""
    kinds: dict[str, Any] = {".png": {"dpi": 160}, ".svg": {"metadata": {"Date": None}}}
    paths = []
    for suffix, options in kinds.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix.removeprefix("."), **options)
        paths.append(stem.with_name(stem.name + suffix))
        write_atomically(paths[-1], buffer.getvalue())
    return paths


def read_together(curves: Sequence[Sequence[Point]]) -> tuple[list[float], list[list[float]]]:
    """Read curves at every place of any of them, by straight lines between their points, so far as all of them reach.

    Runs that count different numbers of trajectories have points at different places: a mean of those that happen to share a
    place would jump from one run to another.

    Args:
        curves: points of each in rising order.

    Returns:
        The places, and the values of all curves at each of them; none without curves, or where a curve has no point.
    """
    if not curves or not all(curves):
        return [], []
    first, last = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    places = sorted({place for curve in curves for place, _ in curve if first <= place <= last})
    columns = [
        np.interp(places, [place for place, _ in curve], [value for _, value in curve]).tolist() for curve in curves
    ]
    return places, [list(row) for row in zip(*columns, strict=True)]


def dress(axes: "Axes", title: str, x_label: str, y_label: str = "") -> None:
    """Give axes their title and labels, and the house's looks."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x_label, color=MUTED)
    axes.set_ylabel(y_label, color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, length=3)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
