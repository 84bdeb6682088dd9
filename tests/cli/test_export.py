"""``workflow-r1 export``."""

from collections.abc import Callable

import pytest

from workflow_r1.data import save_questions
from workflow_r1.embedded import EmbeddedWorld
from workflow_r1.installation import install_command


def test_export_for_inspect(call: Callable) -> None:
    log = pytest.importorskip("inspect_ai.log")
    save_questions("q.jsonl", EmbeddedWorld(0).questions("evaluation", 3))
    code, _, errors = call("evaluate", "-m", "cot,ensemble", "-b", "few=q.jsonl", "--output", "e")
    assert code == 0, errors
    for _ in range(2):
        code, output, errors = call("export", "inspect", "e")
        assert code == 0, errors
        assert "e/inspect/cot_few.eval: 3 samples\ne/inspect/ensemble_few.eval: 3 samples\n" in output
        assert "inspect view --log-dir e/inspect" in output
    read = log.read_eval_log("e/inspect/cot_few.eval")
    assert (len(read.samples), read.eval.model, read.eval.tags) == (3, "simulated expert", ["simulation"])
    assert call("export", "inspect", "e", "--output", "there").returncode == 0
    assert log.list_eval_logs("there")

    code, _, errors = call("export", "inspect", "e", "--output", "q.jsonl")
    assert code == 2
    assert "--output: expected a directory, found a file at q.jsonl" in errors
    code, _, errors = call("export", "inspect", "nowhere")
    assert code == 2
    assert "expected the directory of an evaluation, found no card.json in nowhere" in errors


def test_without_the_extra(call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, errors = call("export", "inspect", "e")
    assert code == 2
    assert install_command("inspect") in errors
