"""Places that cannot be written are refused before anything is asked."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.errors import UserError
from workflow_r1.running.saving import check_can_append

ASK = ("ask", "Who directed Jaws?", "-m", "direct")


def test_a_place_that_can_be_written_stays_untouched(tmp_path: Path) -> None:
    check_can_append(tmp_path / "new" / "deep" / "file.jsonl", option="--save")
    (tmp_path / "file.jsonl").write_text("x")
    check_can_append(tmp_path / "file.jsonl", option="--save")
    assert [path.name for path in tmp_path.iterdir()] == ["file.jsonl"]


def test_a_directory_a_file_as_directory_and_a_forbidden_place_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"--save: .* is a directory"):
        check_can_append(tmp_path, option="--save")
    with pytest.raises(UserError, match=r"file does not allow it"):
        check_can_append(tmp_path / "file" / "below.jsonl", option="--save")
    # Whoever runs the tests as root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"--output: .* does not allow it; choose another"):
        check_can_append(tmp_path / "new" / "file.jsonl", option="--output")


@pytest.mark.parametrize(
    "command",
    [
        (*ASK, "--save", "."),
        ("serve", "-m", "direct", "--port", "0", "--save", "."),
        ("rollout", "-m", "direct", "--limit", "1", "--output", "file/below.jsonl"),
    ],
)
def test_commands_refuse_at_once(command: tuple[str, ...], call: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, output, errors = call(*command)
    assert code == 2
    assert command[-2] in errors
    assert output == ""


def test_a_file_system_that_is_read_only_is_a_message(call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, errors = call("evaluate", "-m", "direct", "--limit", "1", "--output", "away")
    assert code == 2
    assert errors == "error: cannot use away: Read-only file system; choose another place\n"
