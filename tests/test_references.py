import sys
from pathlib import Path

import pytest

from workflow_r1.errors import ConfigError
from workflow_r1.references import load_reference


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine_for_references.py").write_text(
        "num = 0\ndef find(query): return query\nclass Store: find = find\n"
    )
    (tmp_path / "broken_for_references.py").write_text("1 / 0\n")
    (tmp_path / "needy_for_references.py").write_text("import no_such_package\n")
    return tmp_path


def test_a_module_a_file_and_a_dotted_name(folder: Path) -> None:
    assert load_reference("json:dumps", key="k")([1]) == "[1]"
    assert load_reference("mine_for_references:find", key="k")("a") == "a"
    assert load_reference(f"{folder}/mine_for_references.py:Store.find", key="k")("a") == "a"


def test_a_file_is_imported_once_and_two_of_one_name_are_two(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "mine_for_references.py").write_text("def find(query): return 'other'\n")
    first = load_reference("mine_for_references.py:find", key="k")
    assert load_reference("./mine_for_references.py:find", key="k") is first
    assert load_reference("other/mine_for_references.py:find", key="k")("a") == "other"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("json", "k: expected module:name or path/file.py:name, received 'json'"),
        ("json:", "expected module:name"),
        (":dumps", "expected module:name"),
        ("json:dumps()", "expected module:name"),
        ("json:dump_s", "expected 'dump_s' in json, found no such name; did you mean 'dumps'?"),
        ("no_such_module:find", "found no module 'no_such_module'; install its package"),
        ("json.no_such:find", "found no module 'json.no_such'"),
        ("no/such.py:find", "expected a Python file, found nothing at no/such.py"),
    ],
)
def test_what_leads_nowhere(folder: Path, reference: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_reference(reference, key="k")
    assert message in str(raised.value)


@pytest.mark.parametrize("reference", ["broken_for_references:find", "broken_for_references.py:find"])
def test_what_fails_inside_is_not_hidden(folder: Path, reference: str) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load_reference(reference, key="k")


@pytest.mark.parametrize("reference", ["needy_for_references:find", "needy_for_references.py:find"])
def test_a_package_that_is_not_installed_is_named(folder: Path, reference: str) -> None:
    source = reference.removesuffix(":find")
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"k: expected to import {source}, but it needs 'no_such_package'"):
            load_reference(reference, key="k")
