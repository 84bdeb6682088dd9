"""Operators of other people: in files, in modules, by entry point."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workflow_r1.errors import ConfigError
from workflow_r1.operators import OPERATORS, OperatorServices, find_operators

WORD_COUNT = """\
from workflow_r1.operators import OPERATORS, operator

theirs = OPERATORS["Review"]


@operator(purpose="Counts the words of a text.")
async def word_count(text: str) -> str:
    return f"{len(text.split())} words"
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write files below an empty directory that modules are imported from, and forget those modules afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write_files(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path = path if path.suffix or "/METADATA" in str(path) else path.with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    yield write_files
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(folder: Path, **entries: str) -> None:
    """A distribution as pip leaves it: its metadata names its entry points."""
    info = folder / "their_operators-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-operators\nVersion: 1.2\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[workflow_r1.operators]\n{lines}")


def test_a_file_gives_its_own_operators(write) -> None:
    file = str(write(mine=WORD_COUNT) / "mine.py")
    found = find_operators([file]).operators
    assert list(found) == [*OPERATORS, "WordCount"]
    assert found["WordCount"].origin == f"plugin {file}"
    assert found["WordCount"].operator.place == f"{file}:6"
    assert found["Review"].origin == "built-in"
    assert asyncio.run(found["WordCount"].operator("a b", OperatorServices())).observation == "2 words"
    assert find_operators([file]).operators["WordCount"].operator is found["WordCount"].operator


def test_a_module_gives_its_own_operators(write) -> None:
    write(my_package____init__="", my_package__words=WORD_COUNT)
    found = find_operators(["my_package.words"]).operators
    assert found["WordCount"].origin == "plugin my_package.words"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\ny = unknown\n", 2, "NameError: name 'unknown' is not defined"),
        ("\n\ndef broken(:\n", 3, "SyntaxError"),
        ("import absent_package\n", 1, "ModuleNotFoundError: No module named 'absent_package'"),
        ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
        (WORD_COUNT.replace("text: str", "text: dict"), 6, "TypeError: operator function 'word_count'"),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_with_its_line(write, text: str, line: int, message: str) -> None:
    file = write(mine=text) / "mine.py"
    for _ in range(2):
        with pytest.raises(ConfigError) as refused:
            find_operators([str(file)])
        assert f"{file}:{line}: " in str(refused.value)
        assert message in str(refused.value)
        assert "mend it" in str(refused.value)


def test_a_module_that_cannot_be_imported_is_told_with_its_line(write) -> None:
    folder = write(their_module="import json\nimport absent_package\n")
    with pytest.raises(ConfigError, match=r"their_module.py:2: .*absent_package"):
        find_operators(["their_module"])
    with pytest.raises(ConfigError, match=r"found no module 'thier_module'.*PYTHONPATH"):
        find_operators(["thier_module"])
    with pytest.raises(ConfigError, match="found nothing at"):
        find_operators([str(folder / "absent.py")])
    with pytest.raises(ConfigError, match="found a directory"):
        find_operators([f"{folder}/"])


def test_a_file_without_operators_is_told_how_to_make_one(write) -> None:
    file = str(write(mine="async def word_count(text: str) -> str: ...\n") / "mine.py")
    with pytest.raises(ConfigError, match=r"expected at least one operator in .*mine.py, found none; decorate"):
        find_operators([file])


def test_a_name_that_is_taken_is_refused_with_both_places(write) -> None:
    folder = write(mine=WORD_COUNT, yours=WORD_COUNT, pool=WORD_COUNT.replace("def word_count", "def search"))
    with pytest.raises(ConfigError) as refused:
        find_operators([str(folder / "mine.py"), str(folder / "yours.py")])
    assert f"named WordCount, found two, at {folder}/mine.py:6 and at {folder}/yours.py:6; rename" in str(refused.value)
    with pytest.raises(ConfigError, match=r"named Search, found two, at .*operators/pool.py:\d+ and at"):
        find_operators([str(folder / "pool.py")])


def test_entry_points_name_an_operator_or_a_module_of_them(write) -> None:
    folder = write(their_words=WORD_COUNT, their_more=WORD_COUNT.replace("word_count", "letter_count"))
    install(folder, words="their_words:word_count", more="their_more")
    found = find_operators()
    assert found.problems == ()
    assert found.operators["WordCount"].origin == "entry point words of their-operators 1.2"
    assert found.operators["LetterCount"].origin == "entry point more of their-operators 1.2"


def test_entry_points_are_imported_only_where_a_name_is_missing(write) -> None:
    folder = write(their_words=WORD_COUNT)
    install(folder, words="their_words:word_count")
    assert "WordCount" not in find_operators(names=["Search"]).operators
    assert "their_words" not in sys.modules
    assert "WordCount" in find_operators(names=["Search", "WordCount"]).operators


def test_a_broken_entry_point_is_told_and_stops_nothing(write) -> None:
    folder = write(their_words=WORD_COUNT, their_search=WORD_COUNT.replace("word_count", "search"), broken="1 / 0\n")
    install(folder, a="broken", b="their_words:theirs.purpose", c="their_search", d="their_words", e="absent:x")
    found = find_operators()
    assert found.operators["WordCount"].origin.startswith("entry point d")
    assert found.operators["Search"].operator is OPERATORS["Search"]
    texts = "\n".join(found.problems)
    assert f"entry point a of their-operators 1.2 (broken): {folder}/broken.py:1" in texts
    assert "ZeroDivisionError" in texts
    assert "expected an operator or a module of operators, received str" in texts
    assert "one operator named Search, found two" in texts
    assert "No module named 'absent'" in texts
    assert len(found.problems) == 4


def test_a_file_that_two_threads_ask_for_is_whole_in_both(write) -> None:
    file = str(write(mine="import time\ntime.sleep(0.2)\n" + WORD_COUNT) / "mine.py")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: find_operators([file]).operators["WordCount"].operator, range(2))
    assert first is second
