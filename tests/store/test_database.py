"""The file of the store: its contents, and a damaged one."""

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow_r1.errors import StoreError
from workflow_r1.store import CallDatabase, StoredCall, database


def make_call(number: int, reply: str | None = None, **changes: object) -> StoredCall:
    values = {
        "key": f"{number:064x}",
        "service": "llm",
        "model": "m",
        "request": f'"request {number}"',
        "reply": reply if reply is not None else f'"reply {number} {"x" * 500}"',
        "stored_at": float(number),
    }
    return StoredCall(**{**values, **changes})  # type: ignore[arg-type]


def fill(path: Path, num: int) -> None:
    opened = CallDatabase(path)
    for number in range(num):
        opened.put(make_call(number), replace=False)
    opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "calls.sqlite3"


@pytest.fixture
def opened(path: Path) -> Iterator[CallDatabase]:
    with_closing = CallDatabase(path)
    yield with_closing
    with_closing.close()


def set_aside(path: Path) -> list[Path]:
    return sorted(found for found in path.parent.glob("*.damaged-*") if not found.name.endswith(("-wal", "-shm")))


def test_what_is_put_is_got_in_this_and_in_another_opening(opened: CallDatabase, path: Path) -> None:
    assert opened.get(make_call(1).key) is None
    assert opened.put(make_call(1), replace=False) == make_call(1).reply
    assert opened.get(make_call(1).key) == make_call(1).reply
    other = CallDatabase(path, read_only=True)
    assert other.get(make_call(1).key) == make_call(1).reply
    other.close()


def test_the_first_to_store_wins_unless_it_is_to_be_replaced(opened: CallDatabase) -> None:
    opened.put(make_call(1, '"first"'), replace=False)
    assert opened.put(make_call(1, '"second"'), replace=False) == '"first"'
    assert opened.put(make_call(1, '"third"'), replace=True) == '"third"'
    assert opened.get(make_call(1).key) == '"third"'


def test_the_log_beside_it_makes_commits_visible_to_others(opened: CallDatabase, path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_sizes_rows_and_deleting(opened: CallDatabase, path: Path) -> None:
    for number in range(4):
        opened.put(make_call(number, "12345", model="ab"[number % 2], request="123"), replace=False)
    opened.put(make_call(9, "1234567", service="search", model="s", request="123"), replace=False)
    assert opened.sizes() == [("llm", "a", 2, 16), ("llm", "b", 2, 16), ("search", "s", 1, 10)]
    assert [row.stored_at for row in opened.rows()] == [0.0, 1.0, 2.0, 3.0, 9.0]
    assert opened.delete(model="a", stored_before=2.0) == 1
    assert opened.delete(stored_before=2.0) == 1
    assert opened.delete(model="b") == 1
    assert opened.delete() == 2
    assert opened.sizes() == []


def test_deleting_gives_the_room_back(path: Path) -> None:
    fill(path, 500)
    full = path.stat().st_size
    opened = CallDatabase(path)
    opened.delete()
    opened.close()
    assert path.stat().st_size < full / 10


def test_nothing_to_replay(path: Path) -> None:
    with pytest.raises(StoreError, match=r"found nothing at .*calls.sqlite3; record one first"):
        CallDatabase(path, read_only=True)
    assert not path.parent.exists()


@pytest.mark.parametrize("content", [b"", b"name = 'run'\n" * 200])
def test_an_empty_file_is_a_store_and_text_is_set_aside(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    opened = CallDatabase(path)
    opened.put(make_call(1), replace=False)
    assert opened.get(make_call(1).key) == make_call(1).reply
    opened.close()
    assert [aside.read_bytes() for aside in set_aside(path)] == ([content] if content else [])
    assert ("is damaged (file is not a database); it is set aside" in caplog.text) == bool(content)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="found another program's SQLite database"):
        CallDatabase(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change", ["PRAGMA user_version = 9", "ALTER TABLE calls RENAME COLUMN reply TO answer", "DROP TABLE calls"]
)
def test_another_version_is_set_aside(path: Path, change: str, caplog: pytest.LogCaptureFixture) -> None:
    fill(path, 3)
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.commit()
    connection.close()
    opened = CallDatabase(path)
    assert opened.get(make_call(1).key) is None
    opened.put(make_call(1), replace=False)
    opened.close()
    assert len(set_aside(path)) == 1
    assert "set aside" in caplog.text


def test_a_truncated_file_is_set_aside_and_what_is_left_is_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path, 400)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 6 // 10 // 4096 * 4096)
    opened = CallDatabase(path)
    kept = [number for number in range(400) if opened.get(make_call(number).key) == make_call(number).reply]
    opened.close()
    assert 100 < len(kept) < 400
    assert f"begins with the {len(kept)} calls" in caplog.text
    assert len(set_aside(path)) == 1


def spoil_pages_of_rows(path: Path) -> None:
    """Overwrite the page in the middle of the file that holds rows, leaving header and schema as they are."""
    content = bytearray(path.read_bytes())
    pages = [page for page in range(2, len(content) // 4096) if b"reply" in content[page * 4096 : (page + 1) * 4096]]
    middle = pages[len(pages) // 2]
    content[middle * 4096 : (middle + 1) * 4096] = b"\xa5" * 4096
    path.write_bytes(content)


def test_a_damaged_page_is_met_in_use_set_aside_and_the_rest_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path, 400)
    spoil_pages_of_rows(path)
    opened = CallDatabase(path)
    assert not set_aside(path), "opening reads the first pages alone"
    kept = [number for number in range(400) if opened.get(make_call(number).key) == make_call(number).reply]
    assert 380 < len(kept) < 400
    assert f"begins with the {len(kept)} calls" in caplog.text
    lost = next(number for number in range(400) if number not in kept)
    assert opened.put(make_call(lost), replace=False) == make_call(lost).reply
    assert opened.get(make_call(lost).key) == make_call(lost).reply
    opened.close()
    assert len(set_aside(path)) == 1


def test_writing_meets_damage_too(path: Path) -> None:
    fill(path, 400)
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : (page + 1) * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    opened = CallDatabase(path)
    assert opened.put(make_call(7), replace=False) == make_call(7).reply
    assert opened.get(make_call(7).key) == make_call(7).reply
    opened.close()


def test_a_reply_that_changed_on_the_disk_is_damage(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path, 3)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"reply 1 ", b"reply 7 "))
    opened = CallDatabase(path)
    assert opened.get(make_call(1).key) is None
    assert opened.get(make_call(2).key) == make_call(2).reply
    opened.close()
    assert "differs from what was stored" in caplog.text


def test_a_replay_leaves_a_damaged_store_as_it_is(path: Path) -> None:
    fill(path, 400)
    spoil_pages_of_rows(path)
    before = path.read_bytes()
    opened = CallDatabase(path, read_only=True)
    with pytest.raises(StoreError, match="open it once with"):
        for number in range(400):
            opened.get(make_call(number).key)
    opened.close()
    assert path.read_bytes() == before
    assert not set_aside(path)


def test_two_that_meet_the_same_damage_set_it_aside_once(path: Path) -> None:
    """The second may not rename what the first has just made."""
    fill(path, 10)
    path.write_bytes(b"no database" * 100)
    first = CallDatabase(path)
    first.put(make_call(3), replace=False)
    second = CallDatabase(path)
    assert second.get(make_call(3).key) == make_call(3).reply
    second.close()
    first.close()
    assert len(set_aside(path)) == 1


def test_a_damaged_store_that_others_have_open_is_not_renamed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 400)
    spoil_pages_of_rows(path)
    first, second = CallDatabase(path), CallDatabase(path)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with pytest.raises(StoreError, match="other processes have it open"):
        for number in range(400):
            first.get(make_call(number).key)
    first.close()
    assert not set_aside(path)
    assert [second.get(make_call(number).key) is not None for number in range(400)].count(True) > 380
    second.close()
    assert len(set_aside(path)) == 1


def test_a_directory_or_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "calls.sqlite3").mkdir()
    with pytest.raises(StoreError, match=r"can be opened at .*calls.sqlite3, which failed: unable to open"):
        CallDatabase(tmp_path / "calls.sqlite3")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Set store\.path"):
        CallDatabase(tmp_path / "file" / "calls.sqlite3")


def test_a_store_on_a_disk_that_is_only_read(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 3)
    connect = sqlite3.connect

    def refuse_files_beside(target: object, **options: object) -> sqlite3.Connection:
        if "mode=ro" in str(target):
            return connect(f"file:{tmp_path / 'absent'}?mode=ro", uri=True)
        return connect(target, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", refuse_files_beside)
    copied = tmp_path / "copied.sqlite3"
    shutil.copy(path, copied)
    opened = CallDatabase(copied, read_only=True)
    assert opened.get(make_call(1).key) == make_call(1).reply
    with pytest.raises(sqlite3.OperationalError, match="reading alone"):
        opened.put(make_call(9), replace=False)
    opened.close()


def test_no_warning_without_damage(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fill(path, 3)
        fill(path, 3)
    assert not caplog.records
