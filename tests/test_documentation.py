"""Comparison of the pages with the code."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_page_of_the_configuration_is_the_one_that_its_script_writes():
    script = runpy.run_path(str(ROOT / "scripts" / "configuration_page.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["render"](), "run: python scripts/configuration_page.py"


def test_every_meaning_on_the_page_of_the_configuration_reads_as_a_phrase():
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    meanings = re.findall(r"^\| `\w+` \|.*\| ([^|]+) \|$", page, flags=re.MULTILINE)
    assert len(meanings) > 100
    assert not [meaning for meaning in meanings if meaning.startswith("Of ") or " told" in meaning]


def test_every_deviation_in_the_code_is_listed_and_every_listed_one_is_in_the_code():
    package = ROOT / "src" / "workflow_r1"
    marked = {
        (path.relative_to(package).as_posix(), text.strip())
        for path in package.rglob("*.py")
        for text in re.findall(r"# Deviation: (.*)", path.read_text(encoding="utf-8"))
    }
    page = (ROOT / "docs" / "explanation" / "deviations.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \| (.*?) \|", page, flags=re.MULTILINE))
    assert marked == listed
    assert len(marked) > 4


def without_code(text: str) -> str:
    return re.sub(r"^( *)(`{3,}).*?^\1\2$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The ids that GitHub and the site give to the headings of a page."""
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        made.add(slug if slug not in made else next(s for n in range(1, 99) if (s := f"{slug}-{n}") not in made))
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"`[^`\n]+`", "`", without_code(page.read_text(encoding="utf-8")))
    for link in re.findall(r"\]\(([^)]+)\)", text):
        target, _, anchor = link.partition("#")
        if not target.startswith("https://"):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.relative_to(ROOT)} links to {target}"
            if anchor:
                assert anchor in anchors(file), f"{page.relative_to(ROOT)} links to {link}"


def test_pages_that_the_code_names_exist():
    for folder in ("src", "tests", "scripts", "examples", "configs", "benchmarks"):
        for path in (path for ending in ("py", "toml") for path in (ROOT / folder).rglob(f"*.{ending}")):
            for name in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
                assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)} names {name}"


def test_anchors_are_those_of_github(tmp_path):
    (tmp_path / "page.md").write_text(
        "# `[llm.roles]`\n## It *stops*, and goes on\n## Size\n```\n# no heading\n```\n## Size\n"
    )
    assert anchors(tmp_path / "page.md") == {"llmroles", "it-stops-and-goes-on", "size", "size-1"}


def test_every_page_has_its_place_in_the_site():
    """Each page stands in a list of `docs/index.md`, or of the page of decisions, which takes its whole folder."""
    lists = "\n".join(
        re.findall(r"```{toctree}\n(.*?)```", (ROOT / "docs/index.md").read_text(encoding="utf-8"), re.DOTALL)
    )
    listed = set(re.findall(r"^(?:.*<)?([\w-]+/[\w-]+)>?$", lists, flags=re.MULTILINE))
    pages = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in (ROOT / "docs").glob("*/*.md")}
    assert listed == {page for page in pages if not page.startswith("decisions/")} | {"decisions/README"}
    decisions = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert {f"decisions/{name}" for name in re.findall(r"\((\S+)\.md\)", decisions)} == {
        page for page in pages if page.startswith("decisions/") and page != "decisions/README"
    }


def test_the_table_of_the_log_has_a_row_for_each_entry_in_eight_words():
    page = ROOT / "docs" / "dev" / "log.md"
    rows = re.findall(r"^\| .+ \| \[.+\]\(#(.+)\) \| (.+) \|$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {anchor for anchor, _ in rows} == anchors(page) - {"log"}
    assert all(len(outcome.replace("✗", "").split()) <= 8 for _, outcome in rows)


def test_the_readme_can_be_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_file_map_and_the_folders_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|tests|docs|examples|benchmarks|scripts)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), f"{page} names {path}"


def test_the_file_map_names_every_package():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in (ROOT / "src" / "workflow_r1").glob("*/__init__.py")]
    for name in packages:
        assert re.search(rf"^  {name}/", text, flags=re.MULTILINE), f"the file map leaves out {name}/"


def test_the_operator_of_the_readme_works():
    import asyncio

    from workflow_r1.operators import OperatorServices

    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    names: dict = {}
    exec(code, names)
    result = asyncio.run(names["count_words"]("one two", OperatorServices()))
    assert result.observation == "2 words"


def test_the_commands_of_the_pages_exist():
    from workflow_r1.cli import app

    known = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    known |= {group.name or group.typer_instance.info.name for group in app.registered_groups}
    for page in PAGES:
        for name in re.findall(r"workflow-r1 ([a-z]+(?:-[a-z]+)*)", page.read_text(encoding="utf-8")):
            assert name in known, f"{page.name} mentions `workflow-r1 {name}`"


def test_the_make_targets_of_the_pages_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for page in (*PAGES, ROOT / ".ci" / "run"):
        for name in re.findall(r"^\s*make ([a-z-]+)|`make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert (name[0] or name[1]) in targets, f"{page.name} mentions `make {name[0] or name[1]}`"


def test_the_table_of_benchmarks_is_that_of_the_code():
    from workflow_r1.data import BENCHMARKS

    page = (ROOT / "docs" / "how-to" / "benchmarks.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|$", page, re.MULTILINE)}
    assert list(rows) == list(BENCHMARKS)
    for name, (evaluated, questions, others, licence, citation) in rows.items():
        benchmark = BENCHMARKS[name]
        assert evaluated.strip() == (benchmark.evaluated or "")
        assert (licence.strip(), citation.strip()) == (benchmark.licence, benchmark.citation)
        numbers = dict(re.findall(r"(\w+) ([\d,]+)", others)) | (
            {evaluated.strip(): questions.strip()} if evaluated.strip() else {}
        )
        assert numbers == {split: f"{file.questions:,}" for split, file in benchmark.splits.items()}
