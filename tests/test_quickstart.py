"""The embedded default as a stranger runs it, in processes of its own: it learns, and it repeats exactly."""

import subprocess
import sys
from pathlib import Path

import pytest
from run_rows import rows

pytest.importorskip("torch")
pytest.importorskip("transformers")

from workflow_r1.embedded import policy_directory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not policy_directory().is_dir(), reason="the embedded policy is not in this checkout"),
]

SMALL = ("training.steps=2", "training.questions_per_step=4", "training.evaluation_questions=20")


def train(directory: Path, *overrides: str) -> None:
    options = [part for override in overrides for part in ("-o", override)]
    command = [sys.executable, "-m", "workflow_r1.cli", "train", "--output", str(directory), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2400)
    assert done.returncode == 0, done.stderr


def test_the_quickstart_learns_on_entities_it_has_never_seen(tmp_path):
    train(tmp_path / "run")
    evaluations = rows(tmp_path / "run", "evaluations.jsonl")
    first, last = evaluations[0], evaluations[-1]
    assert first["evaluation/num_questions"] >= 400
    assert last["evaluation/exact_match_low"] > first["evaluation/exact_match_high"]
    for key in first:
        if key.startswith("evaluation/class/") and key.endswith("/exact_match"):
            assert last[f"{key}_high"] >= first[f"{key}_low"], f"{key} got worse"


def test_one_seed_gives_one_run_and_another_seed_another(tmp_path):
    train(tmp_path / "one", *SMALL)
    train(tmp_path / "same", *SMALL)
    train(tmp_path / "other", *SMALL, "seed=1")
    assert rows(tmp_path / "one", "metrics.jsonl") == rows(tmp_path / "same", "metrics.jsonl")
    assert rows(tmp_path / "one", "metrics.jsonl") != rows(tmp_path / "other", "metrics.jsonl")
