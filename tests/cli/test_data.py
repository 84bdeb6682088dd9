"""``workflow-r1 data``."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.data import load_questions

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write(path: Path, *rows: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(number: int, **rest: object) -> dict:
    return {"id": f"test_{number}", "question": f"Question {number}?", "golden_answers": [str(number)]} | rest


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that every download gives."""
    path = write(tmp_path / "published" / "test.jsonl", *(row(number) for number in range(125)))
    monkeypatch.setattr("workflow_r1.data.hub._download", lambda repository, name, revision: (path, COMMIT))
    return path


def test_list(call: Callable, tmp_path: Path) -> None:
    write(tmp_path / "data" / "eval" / "nq.jsonl", row(1), row(2))
    code, output, errors = call("data", "list")
    assert code == 0, errors
    lines: dict[str, str] = {}
    for line in filter(None, map(str.strip, output.splitlines())):
        # Where the table is too wide, its columns follow in parts, each with the names of the rows.
        name = line.split()[0]
        lines[name] = f"{lines.get(name, '')}  {line}"
    assert "test" in lines["nq"]
    assert "3,610" in lines["nq"]
    assert "2 in data/eval/nq.jsonl" in lines["nq"]
    assert "10,000 of 169,615" in lines["nq_hotpotqa"]
    assert lines["musique"].rstrip().endswith("-")


def test_fetch_then_check(call: Callable, published: Path) -> None:
    code, output, errors = call("data", "fetch", "bamboogle")
    assert code == 0, errors
    assert "125 questions in data/eval/bamboogle.jsonl" in output
    assert f"commit {COMMIT}" in output
    assert "licence MIT; cite Press et al. 2023" in output
    assert json.loads(Path("data/eval/bamboogle.source.json").read_text())["num_questions"] == 125
    assert "data/eval/bamboogle.jsonl is here (fingerprint " in call("data", "fetch", "bamboogle").stdout

    output = call("data", "check", "data/eval/bamboogle.jsonl").stdout
    assert f"as fetched from RUC-NLPIR/FlashRAG_datasets at {COMMIT}" in output
    assert "no question comes twice" in output

    path = Path("data/eval/bamboogle.jsonl")
    path.write_text(path.read_text().replace("Question 3?", "Question 3!?"))
    for command in (("check", str(path)), ("fetch", "bamboogle")):
        code, _, errors = call("data", *command)
        assert code == 2
        assert "as fetched, found 125 others" in errors
    assert call("data", "fetch", "bamboogle", "--force").returncode == 0
    assert call("data", "check", str(path)).returncode == 0


def test_fetch_refuses_what_it_does_not_know(call: Callable) -> None:
    for arguments, message in (
        ((), "expected the name of a benchmark or `all`: nq,"),
        (("hotpot",), "did you mean 'hotpotqa'?"),
        (("popqa", "--split", "train"), "popqa: expected a split among test, received 'train'"),
    ):
        code, _, errors = call("data", "fetch", *arguments)
        assert code == 2
        assert message in errors


def test_offline_is_no_mistake_of_the_user(call: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    code, _, errors = call("data", "fetch", "nq")
    assert code == 1
    assert "/datasets/RUC-NLPIR/FlashRAG_datasets/resolve/main/nq/test.jsonl elsewhere" in errors
    assert "Traceback" not in errors


def test_convert_a_file_of_ones_own(call: Callable, tmp_path: Path) -> None:
    own = [{"ask": {"text": f"Q {number}?"}, "target": str(number)} for number in range(10)]
    write(tmp_path / "own.jsonl", *own)
    columns = ("--column", "question=ask.text", "--column", "golden_answers=target")
    code, output, errors = call("data", "convert", "own.jsonl", *columns, "--output", "out/own.jsonl", "--split", "dev")
    assert code == 0, errors
    assert "10 questions in out/own.jsonl, fingerprint " in output
    assert {(each.dataset, each.split) for each in load_questions("out/own.jsonl")} == {("own", "dev")}
    # pandas: DataFrame({"x": range(10)}).sample(n=4, random_state=42)
    call("data", "convert", "out/own.jsonl", "--draw", "4", "--output", "drawn.jsonl")
    assert [each.text for each in load_questions("drawn.jsonl")] == ["Q 8?", "Q 1?", "Q 5?", "Q 0?"]

    for arguments, message in (
        (("own.jsonl", "--output", "drawn.jsonl"), "expected a new file, but drawn.jsonl exists"),
        (("own.jsonl", "--output", "new.jsonl"), "own.jsonl:1: expected a column 'question'"),
        (("own.jsonl", "--output", "new.jsonl", "--column", "ask=q"), "--column: expected FIELD=COLUMN with a field among id,"),
        (("own.jsonl", "--output", "new.jsonl", "--column", "question=q"), "own.jsonl:1: expected a column 'q', found ask, target"),
        (("own.jsonl", "--output", "new.jsonl", "--format", "xml"), "--format: expected one of auto, jsonl"),
        (("out/own.jsonl", "--output", "new.jsonl", "--draw", "11"), "at least 11 questions to draw from, found 10"),
    ):  # fmt: skip
        code, _, errors = call("data", "convert", *arguments)
        assert code == 2, arguments
        assert message in errors
        assert not Path("new.jsonl").exists()


def test_convert_mixes_datasets(call: Callable, tmp_path: Path) -> None:
    for name in ("nq", "popqa"):
        write(tmp_path / name / "test.jsonl", row(0), row(1))
    assert call("data", "convert", "nq/test.jsonl", "popqa/test.jsonl", "--output", "mix.jsonl").returncode == 0
    ids = [each.id for each in load_questions("mix.jsonl")]
    assert ids == ["nq/test_0", "nq/test_1", "popqa/test_0", "popqa/test_1"]


def test_check_reports_duplicates_overlaps_and_empty_answers(call: Callable, tmp_path: Path) -> None:
    train = [row(0), row(1), row(2, question="question 1")]
    write(tmp_path / "train" / "nq.jsonl", *(each | {"dataset": "nq", "split": "train"} for each in train))
    write(tmp_path / "test.jsonl", row(7), row(8, question="QUESTION 0"), row(9, golden_answers=["A", "x"]))
    files = ("train/nq.jsonl", "test.jsonl")
    code, output, errors = call("data", "check", *files)
    assert code == 0, errors
    assert "train/nq.jsonl: 3 of nq, train (published: 79,168;" in output
    assert "train/nq.jsonl: 1 repeated questions, e.g. test_1; test_2" in output
    assert "test.jsonl: 1 questions have a golden answer that normalises to nothing" in output
    assert "train/nq.jsonl and test.jsonl share 1 questions, e.g. test_0 = test_8" in output
    assert "no question comes twice" not in output
    code, _, errors = call("data", "check", "--strict", *files)
    assert code == 2
    assert "found 2 of the above" in errors
    clean = ("convert", "train/nq.jsonl", "--without", "test.jsonl", "--output")
    assert "2 questions in clean.jsonl" in call("data", *clean, "clean.jsonl").stdout
    assert "share" not in call("data", "check", "clean.jsonl", "test.jsonl").stdout
    code, _, errors = call("data", *clean, "none.jsonl", "--without", "train/nq.jsonl")
    assert code == 2
    assert "expected at least one question that is not in the files of --without, found none" in errors


def test_the_configuration_maps_columns(call: Callable, tmp_path: Path) -> None:
    write(tmp_path / "own.txt", {"ask": "Q?", "target": "A"})
    config = tmp_path / "own.toml"
    config.write_text(
        '[data]\nsource = "files"\nevaluation = "own.txt"\nformat = "jsonl"\n'
        'columns = {question = "ask", golden_answers = "target"}\n'
    )
    from workflow_r1.config import load_run_config
    from workflow_r1.running.parts import held_out_questions

    (question,) = held_out_questions(load_run_config(config))
    assert (question.text, question.golden_answers) == ("Q?", ("A",))
    (question,) = held_out_questions(load_run_config(config, ["data.columns.id=ask"]))
    assert question.id == "Q?"
    config.write_text('[data]\ncolumns = {answer = "target"}\n')
    code, _, errors = call("evaluate", str(config))
    assert code == 2
    assert "data.columns" in errors
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)


def test_identical_rows_are_dropped_on_demand(call: Callable, tmp_path: Path) -> None:
    repeated = write(tmp_path / "repeated.jsonl", row(1), row(2), row(1), row(2))
    code, _, errors = call("data", "convert", str(repeated), "--output", "new.jsonl")
    assert code == 2
    assert "--drop-duplicates` leaves out rows that say the same (2 of the 2 repeated ids)" in errors
    assert "repeated.jsonl:4: expected ids that differ, found 'test_2' again" in errors
    again = write(tmp_path / "again.jsonl", row(2), row(3))
    code, output, errors = call(
        "data", "convert", str(repeated), str(again), "--dataset", "d", "--drop-duplicates", "--output", "new.jsonl"
    )
    assert code == 0, errors
    assert "3 questions in new.jsonl" in output
    assert [question.id for question in load_questions("new.jsonl")] == ["test_1", "test_2", "test_3"]


def test_answers_that_look_like_lists_are_named(call: Callable, tmp_path: Path) -> None:
    write(tmp_path / "q.jsonl", {"id": "a", "question": "Which range?", "answer": "[1.95, 3.58]"})
    output = call("data", "check", "q.jsonl").stdout
    assert "1 questions have a golden answer that looks like a list and is compared as text: a;" in output


def test_evaluate_and_its_card_say_what_is_done_with_emptied_answers(
    call: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "q.jsonl", row(1, golden_answers=["A"]), row(2))
    code, _, errors = call("evaluate", "-m", "direct", "--questions", "q.jsonl", "--output", "e")
    assert code == 0, errors
    note = "1 questions have a golden answer that normalises to nothing (such as A or ---); it is compared as it stands"
    assert note in caplog.text
    (described,) = json.loads(Path("e/card.json").read_text())["benchmarks"].values()
    assert described["emptied_answers"].startswith(note)
    write(tmp_path / "plain.jsonl", row(2))
    assert call("evaluate", "-m", "direct", "--questions", "plain.jsonl", "--output", "f")[0] == 0
    (described,) = json.loads(Path("f/card.json").read_text())["benchmarks"].values()
    assert "emptied_answers" not in described


def test_training_questions_with_emptied_answers_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from workflow_r1.config import load_run_config
    from workflow_r1.running.parts import train_questions

    file = write(tmp_path / "q.jsonl", row(1, golden_answers=["---"]), row(2, golden_answers=["A", "x"]), row(3))
    config = load_run_config(None, ["data.source=files", f"data.train={file}"])
    assert len(train_questions(config)) == 3
    assert "data.train: 2 questions have a golden answer that normalises to nothing" in caplog.text
    caplog.clear()
    assert len(train_questions(load_run_config(None, ["data.source=files", f"data.train={file}", "data.limit=1"]))) == 1
    assert "data.train: 1 questions" in caplog.text
