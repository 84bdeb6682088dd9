import csv
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from workflow_r1.reports.evaluation import EvaluationReport, build_report, make_document, write_report
from workflow_r1.reports.evaluation.blocks import Grid
from workflow_r1.reports.evaluation.document import flatten
from workflow_r1.reports.evaluation.wording import show_p

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp\ud800"
HOSTILE = "=cmd|' /C calc'!A0 <script>alert(1)</script><img src=x onerror=alert(1)> | x ![p](http://evil.example/p.png)"


class Outline(HTMLParser):
    """Tags of a page, and the files that it would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def make(directory: Path, target: Path, **options: Any) -> tuple[EvaluationReport, list[str]]:
    report = build_report([directory], **options)
    names, missing = write_report(report, make_document(report), target)
    assert (missing is None) == ("frontier.png" in names) or not report.comparison.figures[0].num_answers
    return report, names


@pytest.fixture
def small(write: Any, logs: SimpleNamespace) -> Path:
    rows = [
        *logs.rows("policy", "nq", "1111110000"),
        *logs.rows("policy", "popqa", "1111100000"),
        *logs.rows("cot", "nq", "1000000000", calls=3),
        *logs.rows("cot", "popqa", "1111n0000f", calls=3),
    ]
    directory: Path = write(rows, trajectories=[("cot", "nq", logs.trajectory(rows[20]))])
    return directory


def test_markdown_is_what_it_was(small: Path, tmp_path: Path) -> None:
    """The golden report; its figures are derived in the tests of the statistics."""
    make(small, tmp_path)
    text = (tmp_path / "report.md").read_text()
    for line in (
        "# a small one",
        "| method | nq | popqa | mean over benchmarks |",
        "| policy | **0.600 \\[0.313, 0.832\\]** | **0.500 \\[0.237, 0.763\\]** | **0.550 \\[0.355, 0.725\\]** |",
        "| cot | 0.100 \\[0.018, 0.404\\] | 0.444 \\[0.189, 0.733\\]; 1 left out, 0.400 if wrong "
        "| 0.272 \\[0.138, 0.482\\]; 1 left out, 0.250 if wrong |",
        "| cot | nq | no difference found | -0.500 \\[-0.779, -0.055\\] | 0 | 5 | 10 | 0.062 | 0.12 | McNemar, exact |",
        "| cot | popqa | 4 (40.0%) | 4 (40.0%) | 1 (10.0%) | 0 | 0 | 1 (10.0%) |",
        "| policy | nq | 0.600 \\[0.313, 0.832\\] | 0.301 | 0.440 |",
        "| search.k | 5 |",
    ):
        assert line in text, line
    assert "![Accuracy and cost](frontier.svg)" in text
    assert "A simulation" not in text


def test_columns_hold_every_figure(small: Path, tmp_path: Path) -> None:
    report, _ = make(small, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    assert [(row["method"], row["benchmark"]) for row in rows] == [
        (row.method, row.benchmark) for row in report.comparison.figures
    ]
    cot = rows[0]
    assert (cot["exact_match"], cot["num_right"], cot["num_wrong"], cot["cost"], cot["reference"]) == (
        "0.1",
        "1",
        "9",
        "",
        "policy",
    )
    assert float(cot["difference"]) == -0.5
    assert float(cot["paper (DeepSeek V3.2)"]) == 0.332
    assert rows[1]["difference"] == ""


def test_json_is_the_record_itself(small: Path, tmp_path: Path) -> None:
    report, _ = make(small, tmp_path)
    assert EvaluationReport.model_validate(json.loads((tmp_path / "report.json").read_text())) == report


def test_two_reports_of_the_same_answers_are_equal(small: Path, tmp_path: Path) -> None:
    _, names = make(small, tmp_path / "one")
    rows = (small / "rows.jsonl").read_text().splitlines(keepends=True)
    (small / "rows.jsonl").write_text("".join(reversed(rows)))
    make(small, tmp_path / "other")
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_a_page_loads_and_runs_nothing(small: Path, tmp_path: Path) -> None:
    make(small, tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Outline()
    page.feed(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    assert [value for name, value in page.attributes if name == "href" and not str(value).startswith("#")] == []
    assert "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text
    assert text.count("<svg") == 2
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    named = [word for name, value in page.attributes if name == "aria-labelledby" for word in str(value).split()]
    assert set(named) <= set(ids)
    assert "prefers-color-scheme:dark" in text and "@media print" in text


def test_a_simulation_is_marked_in_every_form(write: Any, logs: SimpleNamespace, tmp_path: Path) -> None:
    directory = write(logs.rows("policy", "nq", "10"), card=logs.CARD | {"is_simulation": True})
    _, names = make(directory, tmp_path)
    for name in names:
        content = (tmp_path / name).read_bytes()
        if name == "report.csv":
            assert b"policy,nq,True" in content
        elif name != "frontier.png":
            assert b"simulation" in content.lower(), name


# --------------------------------------------------------------------------------------------------------- hostile texts


@pytest.fixture
def hostile(write: Any, logs: SimpleNamespace) -> Path:
    name, benchmark = HOSTILE, "+bench|\n# mark"
    rows = [*logs.rows(name, benchmark, "10nf"), *logs.rows("@plain", benchmark, "0101")]
    card = logs.CARD | {
        "title": HOSTILE + ESCAPES.removesuffix("\ud800"),
        "llm": {HOSTILE: {"<b>": [ESCAPES.removesuffix("\ud800"), 1]}},
    }
    directory: Path = write(rows, card=card)
    from workflow_r1.evaluation.harness import EvaluationLog
    from workflow_r1.trajectory import append_trajectories

    path = EvaluationLog(directory).trajectories_path(name, benchmark)
    path.parent.mkdir(parents=True)
    append_trajectories(
        path,
        [
            logs.trajectory(row, text=HOSTILE + ESCAPES, kind=f"{HOSTILE}{row.question_id}", operators=[HOSTILE])
            for row in rows[:4]
        ],
    )
    return directory


def test_hostile_texts_stay_texts(hostile: Path, tmp_path: Path) -> None:
    _, names = make(hostile, tmp_path, reference="@plain")
    assert {"report.md", "report.html", "report.csv", "report.json", "frontier.svg"} <= set(names)
    for name in set(names) - {"frontier.png"}:
        text = (tmp_path / name).read_bytes().decode()
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), name
    page = Outline()
    page.feed((tmp_path / "report.html").read_text())
    assert not {"script", "img", "b"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    markdown = (tmp_path / "report.md").read_text()
    assert "<script" not in re.sub(r"\\<", "", markdown)
    assert "![p]" not in markdown
    assert not [line for line in markdown.splitlines() if line.startswith("# mark")]
    # Every row of a table has as many cells as its header, whatever bars stand in a name.
    for table in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    ElementTree.parse(tmp_path / "frontier.svg")


def test_no_cell_is_a_formula(hostile: Path, tmp_path: Path) -> None:
    make(hostile, tmp_path, reference="@plain")
    rows = list(csv.reader(io.StringIO((tmp_path / "report.csv").read_text())))
    texts = [cell for row in rows for cell in row if not re.fullmatch(r"-?[\d.e-]+", cell)]
    assert {cell[:2] for cell in texts if "plain" in cell} == {"'@"}
    assert not [cell for cell in texts if cell.startswith(("=", "+", "-", "@", "|", "%"))]


# ----------------------------------------------------------------------------------------------------------- small parts


def test_without_matplotlib_all_but_the_png_is_written(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(small, tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = build_report([small])
    names, missing = write_report(report, make_document(report), tmp_path)
    assert "frontier.svg" in names and "frontier.png" not in names
    assert not (tmp_path / "frontier.png").exists()
    assert "frontier.svg shows the same" in str(missing)


def test_nothing_scored_makes_a_report_without_a_picture(write: Any, logs: SimpleNamespace, tmp_path: Path) -> None:
    _, names = make(write(logs.rows("policy", "nq", "fff")), tmp_path)
    assert "frontier.svg" not in names
    assert "3 (100.0%)" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("letters", ["1", "0", "10"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_smallest_evaluations_have_a_report(
    write: Any, logs: SimpleNamespace, tmp_path: Path, letters: str, seeds: int
) -> None:
    rows = [
        row
        for method in ("policy", "cot")
        for seed in range(seeds)
        for row in logs.rows(method, "nq", letters, seed=seed)
    ]
    make(write(rows), tmp_path)


def test_cards_are_flattened_whatever_they_hold() -> None:
    card = {"a": {"b": [1, None, True], "c": {}}, "d": [{"e": 2}, {"f": []}], "g": "text"}
    assert list(flatten(card)) == [
        ("a.b", "1, -, yes"), ("a.c", "-"), ("d.1.e", "2"), ("d.2.f", "-"), ("g", "text"),
    ]  # fmt: skip


def test_a_p_value_is_never_nought() -> None:
    assert (show_p(0.0), show_p(0.00099), show_p(0.04999), show_p(1.0)) == ("< 0.0001", "0.00099", "0.05", "1")


def test_oracles_are_ceilings_and_win_nothing(write: Any, logs: SimpleNamespace, tmp_path: Path) -> None:
    rows = [
        *logs.rows("oracle-choice", "nq", "1111"),
        *logs.rows("policy", "nq", "1100"),
        *logs.rows("cot", "nq", "1000"),
    ]
    report = build_report([write(rows)])
    assert report.ceilings == ("oracle-choice",)
    assert all("oracle-choice" not in frontier.methods for frontier in report.comparison.frontiers)
    grid = next(block for block in make_document(report).sections[1].blocks if isinstance(block, Grid))
    assert [grid.rows[row][0] for row, _ in grid.best] == ["policy"]


def test_what_only_an_uncorrected_test_finds_is_said_to_be_that(write: Any, logs: SimpleNamespace) -> None:
    rows = [
        row
        for benchmark, others in (("nq", "000000"), ("popqa", "111111"))
        for row in (*logs.rows("policy", benchmark, "111111"), *logs.rows("cot", benchmark, others))
    ]
    section = next(
        each for each in make_document(build_report([write(rows)])).sections if each.title.startswith("Compared")
    )
    # McNemar on six questions that all went one way: p = 2 / 64, and twice that among two tests.
    (words,) = section.blocks[0].texts  # type: ignore[union-attr]
    assert words.startswith("cot: no difference found on all 2 benchmarks (")
    assert words.endswith("; a single uncorrected test would find one on nq).")
