"""``workflow-r1 store``."""

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workflow_r1.store import CallDatabase, StoredCall


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "store" / "calls.sqlite3"
    database = CallDatabase(path)
    for number, model in enumerate(("small", "small", "large")):
        database.put(
            StoredCall(str(number), "llm", model, f'{{"question":{number}}}', '{"text":"Z\\u00fcrich"}', 1000.0),
            replace=False,
        )
    database.close()
    return path


def test_show(call: Callable, filled: Path) -> None:
    code, output, errors = call("store", "show")
    assert code == 0, errors
    assert "3 calls in" in output
    lines = {line.split("│")[2].strip(): line for line in output.splitlines() if line.startswith("│")}
    assert lines["small"].split("│")[3].strip() == "2"
    assert lines["large"].split("│")[3].strip() == "1"


def test_clear_one_model_the_old_and_all(call: Callable, filled: Path) -> None:
    assert call("store", "clear", "--yes", "--model", "small").stdout == "2 calls deleted\n"
    assert call("store", "clear", "--yes", "--older-than", "1e6").stdout == "0 calls deleted\n"
    assert call("store", "clear", filled, "--yes", "--older-than", "1").stdout == "1 calls deleted\n"


def test_clear_asks_first(call: Callable, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.confirm", lambda text, abort: (_ for _ in ()).throw(SystemExit(text)))
    with pytest.raises(ValueError, match="Delete all calls"):
        call("store", "clear")
    assert "3 calls in" in call("store", "show").stdout


def test_export(call: Callable, filled: Path, tmp_path: Path) -> None:
    assert call("store", "export", "--output", "calls.jsonl").stdout == "3 calls in calls.jsonl\n"
    rows = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [(row["model"], row["request"], row["reply"]) for row in rows][2] == (
        "large",
        {"question": 2},
        {"text": "Zürich"},
    )
    code, _, errors = call("store", "export", "--output", "calls.jsonl")
    assert code == 2
    assert "exists" in errors


def test_nothing_there(call: Callable) -> None:
    code, _, errors = call("store", "show")
    assert code == 2
    assert "found nothing at store/calls.sqlite3" in errors


def test_export_makes_the_directory_and_leaves_no_part_behind(
    call: Callable, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("store", "export", "--output", "new/calls.jsonl").returncode == 0
    rows = CallDatabase.rows

    def full(database: CallDatabase) -> Iterator[StoredCall]:
        yield next(iter(rows(database)))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CallDatabase, "rows", full)
    code, _, errors = call("store", "export", "--output", "new/again.jsonl")
    assert code == 1
    assert "the disk is full" in errors
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["calls.jsonl"]
