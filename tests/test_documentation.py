"""What the pages say of the code is compared with the code."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_page_of_the_configuration_is_the_one_that_its_script_writes():
    script = runpy.run_path(str(ROOT / "scripts" / "configuration_page.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["render"](), "run: python scripts/configuration_page.py"


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_file_map_and_the_folders_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|tests|docs|examples|benchmarks|scripts)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), f"{page} names {path}"


def test_the_map_of_the_readme_names_every_package():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
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
