"""Make the pictures of the viewer in the documentation, from a real run in a real browser.

    python scripts/viewer_pictures.py RUN [--id TRAJECTORY] [--chromium /usr/bin/chromium]

Needs requirements/pages.txt. ``docs/watch.png`` is the trajectory with the most calls of the last step that is right, unless
another one is named; ``docs/atlas.png`` shows the run's workflows at its start, middle and end.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from workflow_r1.viewing.export import export_page
from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.source import Source

DOCS = Path(__file__).parents[1] / "docs"
TRAJECTORY, ATLAS = DOCS / "watch.png", DOCS / "atlas.png"


def main() -> None:
    """Take the picture."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--id")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    given = parser.parse_args()
    source = Source(given.run)
    right = [row for row in source.all_rows() if row.outcome == "right"]
    chosen = given.id or max(right, key=lambda row: (row.step or 0, len(set(row.operators)), len(row.operators))).id
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "page.html"
        export_page(Reading([source]), page_file)
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 700}, color_scheme="light")
        page.goto(f"{page_file.as_uri()}#/list/0?id={chosen}")
        page.wait_for_selector(".flow")
        page.screenshot(path=TRAJECTORY)
        page = browser.new_page(viewport={"width": 1600, "height": 900}, color_scheme="light")
        page.goto(f"{page_file.as_uri()}#/run/0")
        page.locator(".atlas").screenshot(path=ATLAS)
        browser.close()
    for picture in (TRAJECTORY, ATLAS):
        print(f"{picture}: {picture.stat().st_size / 1e3:.0f} kB")
    print(f"trajectory: {chosen}")


if __name__ == "__main__":
    main()
