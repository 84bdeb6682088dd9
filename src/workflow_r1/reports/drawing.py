"""What the pictures drawn with matplotlib have in common."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_r1.errors import MissingExtraError
from workflow_r1.installation import install_command
from workflow_r1.trajectory.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2430", "#6b7280", "#e5e7eb"


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
