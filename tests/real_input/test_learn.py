"""The long run on real questions: what it does without data, and the figures that it reports."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from workflow_r1.trajectory import OperatorCall, Question, StopReason, Trajectory, Turn

SCRIPTS = Path(__file__).parents[2] / "scripts" / "real_input"


@pytest.fixture
def learn(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = ("learn", "stages", "model")
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


def test_rounds_take_the_questions_in_turn(learn: ModuleType) -> None:
    questions = [Question(id=str(number), text="?", golden_answers=("x",)) for number in range(5)]
    rounds = [[each.id for each in learn.batch_of(questions, number, 2)] for number in range(3)]
    assert rounds == [["0", "1"], ["2", "3"], ["4", "0"]]
    assert len(learn.batch_of(questions, 0, 64)) == 5
