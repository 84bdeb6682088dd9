"""The page's programs: whole, and none besides them."""

import base64
import hashlib
import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

from workflow_r1.viewing.page import MODULES, VENDORED, content_policy, write_page

PAGES = Path(str(files("workflow_r1.viewing"))) / "pages"
_TOP = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
_IMPORT = re.compile(r'^import \{ ([^}]*) \} from "\./(\w+\.js)";$', re.MULTILINE)


def test_every_module_is_in_the_page_after_those_that_it_imports() -> None:
    assert {path.name for path in PAGES.glob("*.js")} == set(MODULES)
    for at, name in enumerate(MODULES):
        text = (PAGES / name).read_text()
        assert text.count("\nimport ") + text.startswith("import ") == len(_IMPORT.findall(text))
        for names, other in _IMPORT.findall(text):
            assert other in MODULES[:at], f"{name} imports {other}, which comes later"
            there = set(
                re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", (PAGES / other).read_text(), re.M)
            )
            assert set(names.split(", ")) <= there, f"{name} imports what {other} does not have"


def test_a_name_stands_for_one_thing_in_all_modules() -> None:
    names = Counter(name for module in MODULES for name in _TOP.findall((PAGES / module).read_text()))
    assert [name for name, num in names.items() if num > 1] == []


def test_the_policy_allows_the_programs_of_the_page_and_no_other() -> None:
    page = write_page("x")
    programs = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(programs) == len(VENDORED) + 1
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in programs]
    policy = content_policy(served=True)
    assert f"script-src {' '.join(hashes)};" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "connect-src 'self'" in policy
    assert "connect-src 'none'" in content_policy(served=False)


def test_no_program_makes_html_or_programs_of_texts() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc|setTimeout\([\"'`]"
    for path in PAGES.rglob("*.js"):
        assert not re.search(sinks, path.read_text()), path.name


def test_nothing_is_fetched_from_elsewhere() -> None:
    page = write_page("x", {"state": []})
    addresses = {address for address in re.findall(r"https?://[^\s\"'`)<>]+", page) if "github.com" not in address}
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:link|script|img|iframe)[^>]+(?:src|href)=\"(?!data:,)", page)


def test_data_cannot_end_their_own_place() -> None:
    data = {"text": "</script><script>alert(1)</script><!--", "half": "\ud800"}
    page = write_page('"><b>', data)
    assert page.count("</script>") == len(VENDORED) + 2
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1]) == data
    assert "<title>&quot;>&lt;b></title>" in page
    page.encode("utf-8")


def test_vendored_programs_stand_beside_their_licences() -> None:
    described = json.loads((PAGES / "vendored" / "vendored.json").read_text())
    for package, each in described.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", each["version"])
        licence = (PAGES / "vendored" / each["licence_file"]).read_text()
        assert "Permission is hereby granted" in licence, package
        for name, digest in each["sha256"].items():
            assert hashlib.sha256((PAGES / "vendored" / name).read_bytes()).hexdigest() == digest
    assert {name for each in described.values() for name in each["sha256"]} == {*VENDORED, "uPlot.min.css"}
