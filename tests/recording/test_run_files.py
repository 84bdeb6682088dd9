import errno
import json
import os

import pytest

from workflow_r1.errors import CheckpointError, UserError
from workflow_r1.recording.run_files import METRICS, RunFiles


def test_files_are_cut_back_to_the_checkpoint(tmp_path):
    files = RunFiles(tmp_path / "run", resume=False)
    files.append(METRICS, {"step": 1, "b": float("nan"), "a": 0.1})
    lengths = files.lengths()
    files.append(METRICS, {"step": 2})
    files.cut_back(lengths)
    assert (tmp_path / "run" / METRICS).read_text() == '{"a": 0.1, "b": null, "step": 1}\n'
    files.cut_back({})
    assert (tmp_path / "run" / METRICS).read_text() == ""
    with pytest.raises(CheckpointError, match="put the file back"):
        files.cut_back(lengths)


def test_a_damaged_line_of_the_record_is_named_when_a_run_is_resumed(tmp_path, caplog):
    files = RunFiles(tmp_path, resume=False)
    for step in (1, 2, 3):
        files.append(METRICS, {"step": step})
    lengths = files.lengths()
    path = tmp_path / METRICS
    with path.open("a") as file:
        file.write("\n")  # A blank line is no damage.
    files.cut_back(files.lengths())
    assert not caplog.records
    path.write_bytes(path.read_bytes().replace(b'{"step": 2}', b'{"st\xffp": 2}'))
    files.cut_back(lengths)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}:2: expected one JSON object per line, found other text: put the line back from a copy"
    ]


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    files = RunFiles(tmp_path, resume=False)
    files.append(METRICS, {"step": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        files.append(METRICS, {"step": 2})
    assert [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()] == [{"step": 1}]


def test_a_run_is_not_overwritten(tmp_path):
    RunFiles(tmp_path, resume=False).append(METRICS, {"step": 1})
    with pytest.raises(UserError, match="already holds a run"):
        RunFiles(tmp_path, resume=False)
    RunFiles(tmp_path, resume=True)
