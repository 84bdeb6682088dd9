"""The files of a report, all of one record."""

import json
from pathlib import Path

from workflow_r1.errors import MissingExtraError
from workflow_r1.reports.evaluation.blocks import Document, Pictures
from workflow_r1.reports.evaluation.columns import write_columns
from workflow_r1.reports.evaluation.markdown import write_markdown
from workflow_r1.reports.evaluation.page import write_page
from workflow_r1.reports.evaluation.pictures import write_png, write_svg
from workflow_r1.reports.evaluation.record import EvaluationReport
from workflow_r1.trajectory.storage import write_atomically

SVG, PNG = "frontier.svg", "frontier.png"


def write_report(
    report: EvaluationReport, document: Document, directory: Path
) -> tuple[list[str], MissingExtraError | None]:
    """Write ``report.md``, ``.html``, ``.csv``, ``.json`` and the frontier's pictures.

    Args:
        report: the figures.
        document: the same in words and tables.
        directory: made where it is missing; files of an earlier report there are replaced or removed.

    Returns:
        Names of the files that were written, and why the PNG is not among them, where matplotlib is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, str | bytes] = {}
    missing: MissingExtraError | None = None
    panels = [
        panel
        for section in document.sections
        for block in section.blocks
        if isinstance(block, Pictures)
        for panel in block.panels
    ]
    if panels:
        caption = f"{document.title}: accuracy and cost{' (a simulation)' if report.is_simulation else ''}"
        pictures[SVG] = write_svg(panels, caption=caption)
        try:
            pictures[PNG] = write_png(panels, caption=caption)
        except MissingExtraError as error:
            missing = error
    files: dict[str, str | bytes] = {
        "report.md": write_markdown(document, pictures=list(pictures)),
        "report.html": write_page(document),
        "report.csv": write_columns(report),
        # Escaped: a control character of a terminal stays a text in it, too.
        "report.json": json.dumps(report.model_dump(mode="json"), ensure_ascii=True, indent=2) + "\n",
        **pictures,
    }
    for name, content in files.items():
        write_atomically(directory / name, content)
    for name in {SVG, PNG} - pictures.keys():
        (directory / name).unlink(missing_ok=True)
    return list(files), missing
