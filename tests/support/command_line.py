import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from workflow_r1.cli import main


class Called(NamedTuple):
    """Result of one call of the command line."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Call the command line in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str | Path) -> Called:
        monkeypatch.setattr(sys, "argv", ["workflow-r1", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        captured = capsys.readouterr()
        return Called(int(leaving.value.code or 0), captured.out, captured.err)

    return run
