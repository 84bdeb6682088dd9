"""Panels written as SVG, which needs nothing, and as PNG, which needs matplotlib."""

import io
import warnings
from collections.abc import Sequence
from html import escape
from typing import Any

from workflow_r1.errors import MissingExtraError
from workflow_r1.installation import install_command
from workflow_r1.printable import printable
from workflow_r1.reports.evaluation.frontier import SIZES, Dot, Line, LineKind, Panel, Text

GAP, CAPTION = 12.0, 30.0
"""Gap between panels, and height of the caption above them, in px."""

COLOURS = {
    "paper": "#ffffff", "ink": "#1f2430", "muted": "#5b6472", "grid": "#e5e7eb", "bar": "#9aa3b2", "accent": "#1d4ed8",
}  # fmt: skip
DARK = {
    "paper": "#14171c", "ink": "#e6e8ec", "muted": "#a3acba", "grid": "#2b313b", "bar": "#6b7585", "accent": "#7aa2ff",
}  # fmt: skip
"""Names under which a page has to define the colours, where panels stand in it."""

_LINES: dict[LineKind, tuple[str, float]] = {
    "axis": ("muted", 1.0), "grid": ("grid", 1.0), "bar": ("bar", 1.3), "frontier": ("accent", 1.8), "leader": ("muted", 0.8),
}  # fmt: skip
"""Colour and width."""

_TEXT_COLOURS = {"title": "ink", "tick": "muted", "axis": "muted", "name": "ink", "strong": "accent"}
_NAMES = ("name", "strong")
_FONT = "system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"


def variables(colours: dict[str, str]) -> str:
    """Return colours as CSS custom properties."""
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


def panel_svg(panel: Panel, *, number: int, place: str = "") -> str:
    """Return a panel as an ``svg`` element whose colours are the custom properties of :data:`COLOURS`.

    Args:
        panel: the panel to draw.
        number: a number that no other panel of the page has.
        place: attributes ``x``, ``y``, ``width`` and ``height`` where it stands inside another picture.
    """
    drawn = "".join(_element(mark) for mark in panel.marks)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {panel.width:g} {panel.height:g}" role="img" {place} '
        f'aria-labelledby="panel-{number}-title panel-{number}-words" font-family="{_FONT}">'
        f'<title id="panel-{number}-title">{_text(panel.title)}</title>'
        f'<desc id="panel-{number}-words">{_text(panel.description)}</desc>{drawn}</svg>'
    )


def write_svg(panels: Sequence[Panel], *, caption: str) -> str:
    """Return panels side by side as one SVG file, in light or dark as the viewer asks.

    Args:
        panels: at least one.
        caption: stands above them.
    """
    width, height, places = _arrange(panels)
    drawn = "".join(
        panel_svg(panel, number=number, place=f'x="{x:g}" y="{y:g}" width="{panel.width:g}" height="{panel.height:g}"')
        for number, (panel, (x, y)) in enumerate(zip(panels, places, strict=True))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">'
        f"<style>:root{{{variables(COLOURS)}}}@media (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}</style>"
        f'<rect width="100%" height="100%" style="fill:var(--paper)"/>'
        f'<text x="16" y="20" font-size="12" style="fill:var(--muted)" font-family="{_FONT}">{_text(caption)}</text>{drawn}</svg>\n'
    )


def write_png(panels: Sequence[Panel], *, caption: str) -> bytes:
    """Return the same as PNG.

    Args:
        panels: at least one.
        caption: stands above them.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(
            f"frontier.png needs matplotlib, which is not installed; frontier.svg shows the same. Run: {install_command('train')}"
        ) from None
    width, height, places = _arrange(panels)
    with matplotlib.rc_context({"font.family": "sans-serif", "svg.hashsalt": "workflow-r1"}), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), facecolor=COLOURS["paper"])
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        _draw(axes, Text(16, 20, caption, "axis"), 0, 0)
        for panel, (x, y) in zip(panels, places, strict=True):
            for order, mark in enumerate(panel.marks):
                _draw(axes, mark, x, y, order=order)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144)  # 2 px for each px of a panel
    return buffer.getvalue()


def _arrange(panels: Sequence[Panel]) -> tuple[float, float, list[tuple[float, float]]]:
    """Width and height of the whole, and the upper left corner of each panel."""
    columns = 1 if len(panels) == 1 else 2
    wide, high = max(panel.width for panel in panels), max(panel.height for panel in panels)
    places = [
        (GAP + (number % columns) * (wide + GAP), CAPTION + (number // columns) * (high + GAP))
        for number in range(len(panels))
    ]
    return GAP + columns * (wide + GAP), CAPTION + -(-len(panels) // columns) * (high + GAP), places


def _element(mark: Line | Dot | Text) -> str:
    if isinstance(mark, Line):
        colour, width = _LINES[mark.kind]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
        return f'<polyline points="{points}" fill="none" stroke-width="{width:g}" style="stroke:var(--{colour})"/>'
    if isinstance(mark, Dot):
        colours = ("accent", "accent") if mark.filled else ("paper", "ink")
        fill, stroke = colours
        return (
            f'<circle cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="4" stroke-width="1.5" '
            f'style="fill:var(--{fill});stroke:var(--{stroke})"/>'
        )
    turned = "" if mark.upright else f' transform="rotate(-90 {mark.x:.1f} {mark.y:.1f})"'
    weight = ' font-weight="600"' if mark.kind in ("title", "strong") else ""
    # A line under a name does not strike it through.
    halo = (
        "stroke:var(--paper);stroke-width:3px;stroke-linejoin:round;paint-order:stroke;" if mark.kind in _NAMES else ""
    )
    return (
        f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" font-size="{SIZES[mark.kind]:g}" text-anchor="{mark.anchor}"{weight}{turned} '
        f'style="{halo}fill:var(--{_TEXT_COLOURS[mark.kind]})">{_text(mark.text)}</text>'
    )


def _draw(axes: Any, mark: Line | Dot | Text, x: float, y: float, *, order: int = 0) -> None:
    """Draw one mark of a panel whose corner is at x and y, with matplotlib."""
    if isinstance(mark, Line):
        colour, width = _LINES[mark.kind]
        across, down = zip(*mark.points, strict=True)
        axes.plot(
            [x + each for each in across],
            [y + each for each in down],
            color=COLOURS[colour],
            linewidth=width,
            zorder=order,
        )
    elif isinstance(mark, Dot):
        fill, stroke = ("accent", "accent") if mark.filled else ("paper", "ink")
        axes.plot(
            [x + mark.x], [y + mark.y], "o", markersize=8, color=COLOURS[fill], markeredgecolor=COLOURS[stroke],
            markeredgewidth=1.5, zorder=order,
        )  # fmt: skip
    else:
        from matplotlib.patheffects import withStroke

        axes.text(
            x + mark.x, y + mark.y, printable(mark.text), fontsize=SIZES[mark.kind], color=COLOURS[_TEXT_COLOURS[mark.kind]],
            fontweight="bold" if mark.kind in ("title", "strong") else "normal", zorder=order, parse_math=False,
            ha={"start": "left", "middle": "center", "end": "right"}[mark.anchor], va="baseline",
            rotation=0 if mark.upright else 90, rotation_mode="anchor",
            path_effects=[withStroke(linewidth=3, foreground=COLOURS["paper"])] if mark.kind in _NAMES else None,
        )  # fmt: skip


def _text(text: str) -> str:
    return escape(" ".join(printable(text).split()))
