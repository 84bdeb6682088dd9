"""The long run on real questions: what it does without data, and the figures that it reports."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from workflow_r1.config import load_run_config
from workflow_r1.data import load_questions
from workflow_r1.errors import UserError
from workflow_r1.trajectory import OperatorCall, Question, StopReason, Trajectory, Turn

SCRIPTS = Path(__file__).parents[2] / "scripts" / "real_input"


@pytest.fixture
def learn(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = ("learn", "rival", "stages", "model", "answers")
    for name in names:
        sys.modules.pop(name, None)
    import learn

    yield learn
    for name in names:
        sys.modules.pop(name, None)


def test_skips_where_there_is_no_data(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "learn.py"), "--directory", str(tmp_path / "run")],
        env={**os.environ, "WORKFLOW_R1_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("skipped: no ") and "WORKFLOW_R1_DATA" in done.stdout
    assert not (tmp_path / "run").exists()


def made(id: str, number: int, answer: str, shown: str, *, stop: StopReason = StopReason.ANSWERED) -> Trajectory:
    call = OperatorCall(operator="Search", input="q", observation=shown, valid=True)
    search = Turn(index=1, text="<think>so</think><tool>Search: q</tool>", well_formed=True, calls=(call,))
    last = Turn(index=2, text=f"<think>so</think><answer>{answer}</answer>", well_formed=True)
    question = Question(id=id, text="?", golden_answers=("Paris",))
    return Trajectory(
        id=f"{id}-{number}", group_id=id, question=question, turns=(search, last), answer=answer, stop_reason=stop
    )


def test_figures_average_the_answers_of_a_question_first(learn: ModuleType) -> None:
    """Three answers to one question weigh as much as one to another; what the infrastructure failed is left out."""
    rows = [
        made("a", 0, "Paris", "[1] It is Paris."),
        made("a", 1, "Rome", "[1] It is Paris."),
        made("a", 2, "Rome", "[1] Rome."),
        made("b", 0, "Rome", "[1] Nothing."),
        made("c", 0, "Paris", "[1] Paris", stop=StopReason.OPERATOR_FAILED),
    ]
    figures = learn.figures_of(rows)
    assert figures["questions"] == 2
    assert figures["right"] == {"a": pytest.approx(1 / 3), "b": 0}
    assert figures["exact_match"] == figures["f1"] == pytest.approx(1 / 6)
    assert figures["pass"] == 0.5
    assert figures["shown"] == pytest.approx(1 / 3)
    assert figures["calls"] == 1


def test_held_out_questions_are_those_after_the_ones_that_settings_were_chosen_on(
    learn: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "DATA", tmp_path)
    (tmp_path / "eval").mkdir()
    for name in learn.BENCHMARKS:
        rows = [
            {"id": f"{name}-{number}", "question": "?", "golden_answers": ["x"], "dataset": name, "split": "test"}
            for number in range(6)
        ]
        (tmp_path / "eval" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    long = (tmp_path / "eval" / "hotpotqa.jsonl").read_text()
    (tmp_path / "eval" / "hotpotqa.jsonl").write_text(long + long.replace("hotpotqa-", "hotpotqa-1"))
    with pytest.raises(UserError, match=r"nq.*skip fewer"):
        learn.hold_out(tmp_path, skip=6, num=3)
    learn.hold_out(tmp_path, skip=2, num=3)
    asked = [each.id for each in load_questions(learn.held_out(tmp_path, "nq"))]
    assert asked == ["nq-2", "nq-3", "nq-4"]
    learn.hold_out(tmp_path, skip=2, num=3)

    for skip, num in ((1, 3), (2, 2)):
        with pytest.raises(UserError, match="holds other questions"):
            learn.hold_out(tmp_path, skip=skip, num=num)


@pytest.mark.parametrize("option", ["--skip-questions=-1", "--questions=0", "--repeats=many", "--steps=0"])
def test_a_count_below_the_least_is_refused_by_its_option(
    learn: ModuleType, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, value = option.split("=")
    monkeypatch.setattr(sys, "argv", ["learn.py", option])
    with pytest.raises(SystemExit) as stopped:
        learn.main()
    assert stopped.value.code == 2
    assert f"{name}: expected a whole number of at least" in (said := capsys.readouterr().err) and value in said


def test_rounds_take_the_questions_in_turn(learn: ModuleType) -> None:
    questions = [Question(id=str(number), text="?", golden_answers=("x",)) for number in range(5)]
    import rival

    rounds = [[each.id for each in rival.batch_of(questions, number, 2)] for number in range(3)]
    assert rounds == [["0", "1"], ["2", "3"], ["4", "0"]]
    assert len(rival.batch_of(questions, 0, 64)) == 5


HOLDER = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import stages
with stages.held_in_turn(pathlib.Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_arms_started_at_once_take_turns_at_what_they_share(
    learn: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second waits and says for whom; neither loses what the other wrote."""
    import stages

    monkeypatch.setattr(stages, "PATIENCE_SECONDS", 0.05)
    command = [sys.executable, "-c", HOLDER, str(SCRIPTS), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        timer = threading.Timer(0.5, lambda: holder.communicate("\n"))
        timer.start()
        with stages.held_in_turn(tmp_path):
            said = capsys.readouterr().out
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        timer.join()
    assert said.startswith("waiting: expected to be alone in") and f"process {holder.pid} " in said
    assert said.count("waiting") == 1


def test_seconds_add_up_and_memory_is_the_most_so_far(learn: ModuleType, tmp_path: Path) -> None:
    import stages

    (tmp_path / "seconds.json").write_text(
        '{"train": {"wall": 100.0, "cpu": 50.0}, "model": {"wall": 1.0, "cpu": 1.0}}'
    )
    with stages.timed(tmp_path, "train"):
        stages.finish([sys.executable, "-c", "held = bytearray(300 << 20)"])
    spent = json.loads((tmp_path / "seconds.json").read_text())
    assert spent["model"] == {"wall": 1.0, "cpu": 1.0}
    assert 100 <= spent["train"]["wall"] < 200 and 50 <= spent["train"]["cpu"] < 100
    assert 0.29 < spent["train"]["peak_gb"] < 16
    with stages.timed(tmp_path, "train"):
        pass
    assert json.loads((tmp_path / "seconds.json").read_text())["train"]["peak_gb"] >= spent["train"]["peak_gb"]


def test_sft_takes_no_budget_from_a_training_that_has_not_ended(learn: ModuleType, tmp_path: Path) -> None:
    import rival

    trained = tmp_path / "gsspo-seed0"
    trained.mkdir()
    (trained / "seconds.json").write_text('{"train": {"wall": 9.0, "cpu": 9.0}}')
    with pytest.raises(UserError, match=r"expected a trained policy in .*gsspo-seed0"):
        rival.budget_of_gsspo(tmp_path, 0)
    (trained / "train" / "policy").mkdir(parents=True)
    assert rival.budget_of_gsspo(tmp_path, 0) == 9.0


def test_a_processor_slow_at_bfloat16_takes_float32_and_a_directory_keeps_its_precision(
    learn: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_run_config(learn.PRESET)
    slowdown = 1.0
    monkeypatch.setattr("workflow_r1.policy.precision.bfloat16_slowdown", lambda: slowdown)
    assert learn.quick_precision(tmp_path, config, []) == []
    slowdown = 45.0
    assert learn.quick_precision(tmp_path, config, ["optimiser.precision=bfloat16"]) == []
    assert capsys.readouterr().out == ""
    assert learn.quick_precision(tmp_path, config, []) == ["optimiser.precision=float32"]
    assert "this directory takes float32" in capsys.readouterr().out
    adapters = load_run_config(learn.PRESET, ["optimiser.lora.rank=4", "optimiser.lora.base_precision=bfloat16"])
    both = ["optimiser.precision=float32", "optimiser.lora.base_precision=float32"]
    assert learn.quick_precision(tmp_path, adapters, []) == both
    (tmp_path / "warmstart").mkdir()
    (tmp_path / "warmstart" / "config.toml").write_text('optimiser.precision = "bfloat16"\n')
    assert learn.quick_precision(tmp_path, config, []) == ["optimiser.precision=bfloat16"]


@pytest.mark.parametrize(("written", "place"), [(None, "--output"), ("", "--output"), ("seed = 0\n", "--resume")])
def test_a_run_that_ended_before_its_first_checkpoint_is_resumed(
    learn: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, place: str
) -> None:
    import stages

    if written is not None:
        (tmp_path / "config.toml").write_text(written)
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(stages, "command", lambda *arguments: commands.append(arguments))
    stages.train("warmstart", "smollm2-real", tmp_path, ["seed=1"])
    assert [place in command for command in commands] == [True]
    assert str(tmp_path) in commands[0] and commands[0][-2:] == ("-o", "seed=1")
