"""``workflow-r1 export``."""

from collections.abc import Callable
from pathlib import Path

import pytest
from written_trajectories import written

from workflow_r1.data import save_questions
from workflow_r1.embedded import EmbeddedWorld
from workflow_r1.installation import install_command
from workflow_r1.trajectory import Question, StopReason
from workflow_r1.trajectory.index import append_indexed


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
    code, _, errors = call("export", "inspect", "e", "outcome=right")
    assert code == 2
    assert "an evaluation is exported for Inspect AI as a whole" in errors
    code, _, errors = call("export", "inspect", "nowhere")
    assert code == 2
    assert "expected a file of trajectories, found nothing at nowhere" in errors


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two steps: a right and a wrong trajectory of one question, a failure, and one of another question."""
    directory = tmp_path / "r"
    directory.mkdir()
    (directory / "config.toml").write_text('[llm]\nkind = "embedded"\n[prices]\ncurrency = "EUR"\n', encoding="utf-8")
    (directory / "environment.json").write_text('{"started": "2026-11-28T09:00:00+00:00", "simulation": true}', "utf-8")
    question = Question(id="q", text="Who made Jaws?", golden_answers=("Spielberg",), dataset="films")
    ask = ("Ask.", "AnswerGenerate: Who made Jaws?", "Answer: Spielberg")
    made = [
        written(question, ask, ("So.", "Spielberg"), golden=("Spielberg",), id="right", step=1),
        written(question, (None, "I cannot say"), ("So.", "Lucas"), golden=("Spielberg",), id="wrong", step=1),
        written(question, ("Ask.", "AnswerGenerate: Who?"), id="failed", step=1, error="down", stop_reason=StopReason.OPERATOR_FAILED),
        written("Who?", ("So.", "Ann"), golden=("Ann",), id="later", step=2),
    ]  # fmt: skip
    append_indexed(directory / "trajectories.jsonl.gz", made)
    return directory


def test_a_run_of_training_for_inspect(call: Callable, run: Path) -> None:
    log = pytest.importorskip("inspect_ai.log")
    code, output, errors = call("export", "inspect", "r")
    assert code == 0, errors
    assert "r/inspect/step-00001.eval: 3 samples\nr/inspect/step-00002.eval: 1 samples\n" in output
    read = log.read_eval_log("r/inspect/step-00001.eval")
    assert (read.eval.task, read.eval.tags, read.eval.created) == (
        "training step 1", ["simulation"], "2026-11-28T09:00:00+00:00",
    )  # fmt: skip
    assert [(sample.id, sample.epoch, sample.metadata["trajectory"]) for sample in read.samples] == [
        ("q", 1, "right"), ("q", 2, "wrong"), ("q", 3, "failed"),
    ]  # fmt: skip
    assert [sample.scores and sample.scores["reward"].value for sample in read.samples] == [1.0, -0.5, None]
    assert "down" in read.samples[2].error.message
    assert (read.results.total_samples, read.results.completed_samples) == (3, 2)
    assert {score.name: next(iter(score.metrics.values())).value for score in read.results.scores} == {
        "reward": 0.25, "exact_match": 0.5, "f1": 0.5,
    }  # fmt: skip
    before = (run / "inspect" / "step-00001.eval").read_bytes()
    call("export", "inspect", "r", "step=1")
    assert log.read_eval_log("r/inspect/step-00001.eval").samples == read.samples
    assert len((run / "inspect" / "step-00001.eval").read_bytes()) == len(before)
    assert call("export", "inspect", "r/trajectories.jsonl", "id=later", "--output", "one").returncode == 0
    assert len(log.read_eval_log("one/step-00002.eval").samples) == 1


def test_atif(call: Callable, run: Path) -> None:
    atif = pytest.importorskip("atif")
    code, output, errors = call("export", "atif", "r")
    assert (code, output) == (0, "r/atif.jsonl: 4 documents\n"), errors
    lines = (run / "atif.jsonl").read_text("utf-8").splitlines()
    documents = [atif.Trajectory.model_validate_json(line) for line in lines]
    assert [document.trajectory_id for document in documents] == ["right", "wrong", "failed", "later"]
    assert call("export", "atif", "r", "outcome=wrong", "--output", "w.jsonl").stdout == "w.jsonl: 1 documents\n"
    code, _, errors = call("export", "atif", "r", "--output", ".")
    assert (code, "--output: expected a file, found a folder at ." in errors) == (2, True)
    code, _, errors = call("export", "atif", "r", "step=9")
    assert (code, "found none that are selected" in errors) == (2, True)


def test_trackio(call: Callable, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    code, output, errors = call("export", "trackio", "r", "step=1", "--project", "films")
    assert code == 0, errors
    assert "3 traces in the project films" in output
    traces = {trace["metadata"]["trajectory"]: trace for trace in SQLiteStorage.get_traces("films", "r")}
    assert {name: trace["metadata"]["status"] for name, trace in traces.items()} == {
        "right": "ok", "wrong": "ok", "failed": "error",
    }  # fmt: skip
    assert [message["role"] for message in traces["right"]["messages"]] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("form", ["inspect", "atif", "trackio"])
def test_without_the_extra(call: Callable, run: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, errors = call("export", form, "r")
    assert code == 2
    assert install_command(form) in errors
