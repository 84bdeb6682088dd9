import os
import shutil
import stat
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workflow_r1.errors import UserError
from workflow_r1.recording.atomic import atomic_directory, remove_unfinished
from workflow_r1.trajectory.storage import write_atomically


def test_the_old_directory_is_deleted_once_the_new_one_stands_there(tmp_path, monkeypatch):
    """Deleting gigabytes takes a while: a process that is killed meanwhile has left neither."""
    target = tmp_path / "policy"
    with atomic_directory(target) as temporary:
        (temporary / "file").write_text("old")
    delete, seen = shutil.rmtree, []

    def watched(path, **options):
        seen.append((target / "file").read_text() if target.exists() else "nothing")
        delete(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    with atomic_directory(target) as temporary:
        (temporary / "file").write_text("new")
    assert set(seen) == {"new"} and [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_a_directory_that_cannot_take_its_place_leaves_the_old_one_there(tmp_path, monkeypatch):
    target = tmp_path / "policy"
    with atomic_directory(target) as temporary:
        (temporary / "file").write_text("old")
    rename = Path.rename

    def failing(path, to):
        if path.parent == tmp_path and path.name != "policy":
            raise OSError("not now")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="not now"), atomic_directory(target) as temporary:
        (temporary / "file").write_text("new")
    assert (target / "file").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_an_atomic_directory_replaces_or_leaves(tmp_path):
    target = tmp_path / "policy"
    with atomic_directory(target) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(RuntimeError), atomic_directory(target) as temporary:
        (temporary / "a").write_text("2")
        raise RuntimeError
    assert (target / "a").read_text() == "1"
    with atomic_directory(target) as temporary:
        (temporary / "b").write_text("3")
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    assert [path.name for path in target.iterdir()] == ["b"]


@pytest.mark.parametrize(("umask", "file_mode", "directory_mode"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_who_may_read_follows_the_umask(tmp_path, umask, file_mode, directory_mode):
    """Libraries differ: safetensors lets nobody but the owner read what it writes."""
    before = os.umask(umask)
    try:
        with atomic_directory(tmp_path / "policy") as temporary:
            save_file({"a": torch.zeros(1)}, temporary / "model.safetensors")
            (temporary / "adapters").mkdir()
            save_file({"a": torch.zeros(1)}, temporary / "adapters" / "a.safetensors")
        write_atomically(tmp_path / "small.json", "{}")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "policy": directory_mode,
        "adapters": directory_mode,
        "model.safetensors": file_mode,
        "a.safetensors": file_mode,
        "small.json": file_mode,
    }


@pytest.mark.parametrize("hides", ["the cause", "everything"])
def test_a_full_disk_is_seen_behind_what_a_library_raises(tmp_path, monkeypatch, hides):
    """torch closes the file that it could not write, and raises what that gives: of two positions, none of the disk."""

    def write():
        try:
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        except RuntimeError as error:
            closing = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 470")
            raise closing from (error if hides == "the cause" else None)

    if hides == "everything":
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 4096))
    with pytest.raises(UserError, match="disk is full") as caught, atomic_directory(tmp_path / "step") as temporary:
        (temporary / "a").write_text("1")
        write()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_error_with_room_left_is_raised_as_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="unexpected pos"), atomic_directory(tmp_path / "step"):
        raise RuntimeError("unexpected pos 576 vs 470")


def test_what_killed_processes_left_is_removed_everywhere_below(tmp_path):
    (tmp_path / "checkpoints" / ".unfinished-a" / "deep").mkdir(parents=True)
    (tmp_path / ".unfinished-b").write_text("half")
    (tmp_path / "checkpoints" / "step-000001").mkdir()
    (tmp_path / "metrics.jsonl").write_text("{}")
    remove_unfinished(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {
        "checkpoints",
        "checkpoints/step-000001",
        "metrics.jsonl",
    }
