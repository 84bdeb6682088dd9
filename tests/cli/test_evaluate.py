"""``workflow-r1 evaluate`` with several methods, benchmarks and seeds; killed and continued."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.evaluation.rows import iterate_rows
from workflow_r1.recording.run_lock import hold_run_directory
from workflow_r1.store.lock import held_alone

Call = Callable[..., tuple[int, str, str]]


def table(directory: Path) -> object:
    """All figures but the times."""
    comparison = json.loads((directory / "summary.json").read_text())
    for row in comparison["figures"]:
        del row["seconds"]
    comparison["frontiers"] = [each for each in comparison["frontiers"] if each["cost"] != "seconds"]
    return comparison


@pytest.fixture
def files(tmp_path: Path) -> str:
    """Two files of questions of the embedded world."""
    from workflow_r1.data import save_questions
    from workflow_r1.embedded import EmbeddedWorld

    questions = EmbeddedWorld(0).questions("evaluation", 12)
    save_questions(tmp_path / "one.jsonl", questions[:5])
    save_questions(tmp_path / "two.jsonl", questions[5:])
    return f"one={tmp_path / 'one.jsonl'},{tmp_path / 'two.jsonl'}"


def test_methods_by_benchmarks_by_seeds(call: Call, files: str) -> None:
    options = ("-m", "direct,cot", "-m", "ensemble", "-b", files, "--output", "e")
    code, output, errors = call("evaluate", *options, "--seeds", "0,1", "--repeats", "2", "--reference", "cot")
    assert code == 0, errors
    rows = list(iterate_rows("e/rows.jsonl"))
    assert Counter((row.method, row.benchmark) for row in rows) == {
        (method, benchmark): number * 4
        for method in ("direct", "cot", "ensemble")
        for benchmark, number in (("one", 5), ("two", 7))
    }
    assert Counter((row.seed, row.repeat) for row in rows) == dict.fromkeys([(0, 0), (0, 1), (1, 0), (1, 1)], 36)
    assert "method minus cot" in output
    assert {path.name for path in Path("e/report").iterdir()} >= {
        "report.md",
        "report.html",
        "report.csv",
        "report.json",
    }
    card = json.loads(Path("e/card.json").read_text())
    assert list(card["methods"]) == ["direct", "cot", "ensemble"]
    assert (card["seeds"], card["repeats"], card["is_simulation"]) == ([0, 1], 2, True)
    assert card["benchmarks"]["one"]["num_questions"] == 5
    assert card["methods"]["ensemble"]["operators"].keys() == {"MultiAnswerGenerate", "ScEnsemble"}


def test_another_seed_draws_other_samples_and_the_same_one_the_same(call: Call) -> None:
    def answers(seed: int, output: str) -> list[str]:
        assert call("evaluate", "-m", "ensemble", "--limit", "30", "--seed", str(seed), "--output", output)[0] == 0
        lines = Path(f"{output}/trajectories/ensemble/embedded.jsonl").read_text().splitlines()
        rows = {row["question"]["id"]: row["turns"][0]["calls"][0]["observation"] for row in map(json.loads, lines)}
        return [rows[key] for key in sorted(rows)]

    assert answers(1, "a") == answers(1, "b")
    assert answers(1, "c") != answers(2, "d")


def test_a_method_is_added_to_what_is_there(call: Call) -> None:
    assert call("evaluate", "-m", "direct", "--limit", "5", "--output", "e")[0] == 0
    code, output, errors = call("evaluate", "-m", "cot", "--limit", "5", "--output", "e")
    assert code == 0, errors
    assert "direct" in output
    assert len(list(iterate_rows("e/rows.jsonl"))) == 10
    # Nothing is left to do: it shows the table again and asks nothing.
    code, output, errors = call("evaluate", "-m", "cot,direct", "--limit", "5", "--output", "e")
    assert code == 0, errors
    assert "0 calls" in output or "5 calls" not in output
    assert len(list(iterate_rows("e/rows.jsonl"))) == 10


def test_policies_by_name(call: Call, tmp_path: Path) -> None:
    for seed, pool in (("0", "Search"), ("1", "Search"), ("2", "Review")):
        (tmp_path / f"run{seed}").mkdir()
        (tmp_path / f"run{seed}" / "config.toml").write_text(
            f"[environment]\noperators = ['{pool}']\nmax_response_tokens = 512\n"
        )
    options = ("-m", "policy+search,mine=run{seed}", "--limit", "2", "--output", "e")
    code, _, errors = call("evaluate", *options, "--seeds", "0")
    assert code == 0, errors
    card = json.loads(Path("e/card.json").read_text())
    assert "Search" in card["methods"]["policy+search"]["operators"]
    assert list(card["methods"]["mine"]["operators"]) == ["Search"]
    code, _, errors = call("evaluate", *options, "--seeds", "1")
    assert code == 0, errors
    assert list(json.loads(Path("e/card.json").read_text())["methods"]["mine"]["policies"]) == ["0", "1"]
    code, _, errors = call("evaluate", *options, "--seeds", "0,2")
    assert code == 2
    assert "expected the policies of mine to have one pool, found (Review) and (Search)" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-m", "cot,cot"), "every name once"),
        (("-m", "mine=nowhere"), "NAME=PATH"),
        (("-m", "ct"), "did you mean 'cot'?"),
        (("-b", "hotpot"), "did you mean 'hotpotqa'?"),
        (("-b", "nq"), "workflow-r1 data fetch nq"),
        (("--seeds", "0,0"), "every seed once"),
        (("--seeds", "one"), "whole numbers"),
        (("-m", "cot", "--reference", "direct"), "reference: expected one of the methods"),
    ],
)
def test_mistakes_leave_nothing(call: Call, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    code, _, errors = call("evaluate", "--limit", "2", *options)
    assert code == 2
    assert message in errors
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_that_was_killed_before_its_card_is_run_again(call: Call, files: str) -> None:
    directory = Path("e")
    directory.mkdir()
    (directory / "config.toml").write_text("name = 'x'\n")
    (directory / "environment.json").write_text("{}\n")
    code, _, errors = call("evaluate", "-m", "cot", "-b", files, "--output", "e")
    assert code == 0, errors
    assert len(list(iterate_rows("e/rows.jsonl"))) == 12


def test_a_taken_directory_is_refused_without_advice_that_the_command_lacks(call: Call, files: str) -> None:
    directory = Path("e")
    directory.mkdir()
    (directory / "notes.txt").write_text("mine")
    code, _, errors = call("evaluate", "-m", "cot", "-b", files, "--output", "e")
    assert code == 2
    assert "holds something" in errors and "--resume" not in errors


def test_summary_and_report_of_one_evaluation_agree_and_no_frontier_holds_an_oracle(call: Call, files: str) -> None:
    code, _, errors = call("evaluate", "-m", "cot,oracle-script", "-b", files, "--output", "e")
    assert code == 0, errors
    summary = json.loads(Path("e/summary.json").read_text())
    assert json.loads(Path("e/report/report.json").read_text())["comparison"] == summary
    assert {row["method"] for row in summary["figures"]} == {"cot", "oracle-script"}
    assert all(frontier["methods"] == ["cot"] for frontier in summary["frontiers"])
    # Alone it stands on none either.
    code, _, errors = call("evaluate", "-m", "oracle-script", "-b", files.split(",")[0], "--output", "alone")
    assert code == 0, errors
    assert all(
        frontier["methods"] == [] for frontier in json.loads(Path("alone/summary.json").read_text())["frontiers"]
    )


def test_accents_may_be_let_go(call: Call, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"id": "1", "question": "Who?", "golden_answers": ["\u00dcnknown"]}\n')
    for flags, matched in (((), 0.0), (("--unicode-normalise",), 1.0)):
        output = f"e{len(flags)}"
        assert call("evaluate", "-m", "direct", "-b", "q.jsonl", "--output", output, *flags)[0] == 0
        (row,) = iterate_rows(f"{output}/rows.jsonl")
        assert row.exact_match == matched


def test_an_evaluation_killed_before_its_card_is_continued(call: Call, tmp_path: Path) -> None:
    assert call("evaluate", "-m", "cot", "--limit", "2", "--output", "whole")[0] == 0
    (tmp_path / "e").mkdir()
    for name in ("config.toml", "environment.json"):
        (tmp_path / "e" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    (tmp_path / "e" / ".unfinished-0").write_text("half a card")
    code, _, errors = call("evaluate", "-m", "cot", "--limit", "2", "--output", "e")
    assert code == 0, errors
    assert table(tmp_path / "e") == table(tmp_path / "whole")
    assert not (tmp_path / "e" / ".unfinished-0").exists()


def test_what_another_process_is_at_work_on_is_refused(call: Call, tmp_path: Path) -> None:
    with hold_run_directory(tmp_path / "e"):
        (tmp_path / "e" / "config.toml").touch()
        code, _, errors = call("evaluate", "-m", "cot", "--limit", "2", "--output", "e")
        assert code == 2
        assert "is at work there" in errors and f"process {os.getpid()}" in errors
        assert {path.name for path in (tmp_path / "e").iterdir()} == {".lock", "config.toml"}
    with held_alone(tmp_path / ".t.jsonl.lock", place=tmp_path / "t.jsonl"):
        code, _, errors = call("rollout", "-m", "cot", "--limit", "2", "--output", "t.jsonl")
        assert code == 2
        assert "is at work there" in errors
    assert not (tmp_path / "t.jsonl").exists()


def test_kill_9_and_resume_is_as_if_nothing_had_happened(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "workflow_r1.cli", "evaluate", "-m", "direct,cot,ensemble", "--limit", "150", "--seeds", "0,1",
    ]  # fmt: skip
    rows = tmp_path / "killed" / "rows.jsonl"
    process = subprocess.Popen([*command, "--output", str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not rows.is_file() or rows.stat().st_size < 80_000):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    num_before = len(rows.read_text().splitlines())
    assert 0 < num_before < 900
    for directory in ("killed", "whole"):
        subprocess.run([*command, "--output", str(tmp_path / directory)], check=True, stdout=subprocess.DEVNULL)
    keys = Counter(
        (row.method, row.benchmark, row.question_id, row.seed, row.repeat)
        for row in iterate_rows(tmp_path / "killed" / "rows.jsonl")
    )
    assert len(keys) == 900
    assert set(keys.values()) == {1}
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
