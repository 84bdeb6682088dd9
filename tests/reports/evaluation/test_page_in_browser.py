"""The page in a real browser: Chromium, where this machine has it."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workflow_r1.reports.evaluation import build_report, make_document
from workflow_r1.reports.evaluation.page import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

PHONE, DESKTOP = 390, 1280
METHODS = (
    "policy", "direct", "cot", "self-consistency", "medprompt", "medprompt-knn", "react", "expert-workflow", "random",
    "oracle-choice", "aflow", "maas", "direct+search", "cot+search",
)  # fmt: skip
HOSTILE = "<script>parent.fired=1</script><img src=http://evil.example/x onerror=parent.fired=1><b>x</b>"

MEASURE = """
const measured = [];
for (const frame of document.querySelectorAll('iframe')) {
  const page = frame.contentDocument, root = page.documentElement;
  const names = [...page.querySelectorAll('svg')].map(svg =>
    [...svg.querySelectorAll('text[style*="paint-order"]')].map(text => {
      const box = text.getBoundingClientRect();
      return [box.left, box.top, box.right, box.bottom];
    }));
  measured.push({
    width: root.scrollWidth, room: root.clientWidth, height: root.scrollHeight, names,
    paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    loaded: frame.contentWindow.performance.getEntriesByType('resource').length,
    elements: page.querySelectorAll('script, img, main b').length,
    regions: [...page.querySelectorAll('[role=region]')].every(each => each.tabIndex === 0),
    names_of_pictures: [...page.querySelectorAll('svg')].map(svg => page.getElementById(svg.getAttribute('aria-labelledby').split(' ')[0]).textContent),
  });
}
document.body.textContent = 'MEASURED' + JSON.stringify({fired: window.fired ?? 0, measured}) + 'END';
"""


def measure(page: str, folder: Path, *options: str) -> dict[str, Any]:
    """Show a page in frames as wide as a phone and a desktop, and measure it from outside."""
    frames = "".join(
        f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(page)}"></iframe>'
        for width in (PHONE, DESKTOP)
    )
    outer = folder / "outer.html"
    outer.write_text(f"<!DOCTYPE html><body>{frames}<script>window.onload = () => {{{MEASURE}}}</script></body>")
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000", *options, "--dump-dom", outer.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r"MEASURED(.*)END", done.stdout, flags=re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


def overlaps(boxes: list[list[float]]) -> int:
    return sum(
        one[0] < other[2] and other[0] < one[2] and one[1] < other[3] - 2 and other[1] < one[3] - 2
        for number, one in enumerate(boxes)
        for other in boxes[:number]
    )


def test_a_page_fits_every_screen_loads_nothing_and_its_names_are_readable(
    write: Any, logs: SimpleNamespace, tmp_path: Path
) -> None:
    rows = []
    for number, method in enumerate((*METHODS, HOSTILE)):
        for benchmark in ("nq", "popqa"):
            letters = (
                "".join("1" if (place * 7 + number * 5) % 20 < 5 + number % 6 else "0" for place in range(60)) + "nmbf"
            )
            rows += logs.rows(method, benchmark, letters, calls=1 + number * number // 4)
    found = [(METHODS[0], "nq", logs.trajectory(row, text=HOSTILE, operators=[HOSTILE])) for row in rows[:64]]
    page = write_page(make_document(build_report([write(rows, trajectories=found)])))
    result = measure(page, tmp_path)
    assert result["fired"] == 0
    for measured, width in zip(result["measured"], (PHONE, DESKTOP), strict=True):
        assert measured["width"] == measured["room"] <= width, "the page is wider than the screen"
        assert measured["height"] > 2000
        assert (measured["loaded"], measured["elements"], measured["regions"]) == (0, 0, True)
        assert measured["names_of_pictures"] == ["nq", "popqa"]
        assert [len(names) for names in measured["names"]] == [15, 15]
        assert [overlaps(names) for names in measured["names"]] == [0, 0]
        assert measured["paper"] == "rgb(255, 255, 255)"


def test_a_page_is_dark_where_the_reader_asks_for_it(write: Any, logs: SimpleNamespace, tmp_path: Path) -> None:
    page = write_page(make_document(build_report([write(logs.rows("policy", "nq", "10"))])))
    result = measure(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert {measured["paper"] for measured in result["measured"]} == {"rgb(20, 23, 28)"}
