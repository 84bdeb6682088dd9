"""The example runs as a reader would run it, on fewer questions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from workflow_r1.embedded import policy_directory

EXAMPLE = Path(__file__).parents[2] / "examples" / "whole_path.py"


@pytest.mark.skipif(not policy_directory().is_dir(), reason="the embedded policy is not in this checkout")
def test_the_example_shows_every_stage():
    sizes = ("--questions", "2", "--group-size", "4", "--held-out", "4")
    done = subprocess.run([sys.executable, str(EXAMPLE), *sizes], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    stages = re.findall(r"^ ?(\d+) (\w+)", done.stdout, flags=re.MULTILINE)
    assert [name for _, name in stages] == [
        "question", "prompt", "rollout", "trajectory", "packed", "reward", "advantage", "ratio", "loss", "update",
        "evaluation",
    ]  # fmt: skip
    difference = re.search(r"differ by (\S+) nats", done.stdout)
    assert difference is not None
    assert float(difference[1]) < 1e-3
    assert "Loading" not in done.stdout


def test_the_example_stays_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 200
