import io

import pytest
from rich.console import Console

from workflow_r1.recording.alarms import Alarm, AlarmEnded
from workflow_r1.recording.events import (
    AlarmOver,
    AlarmRaised,
    RunStarted,
    ServicesBooked,
    WarmstartProgress,
    Warned,
)
from workflow_r1.running.display import PlainLines, TrainingBoard

MALFORMED = Alarm("malformed", 7, "60% of the trajectories are malformed", "look at them")
OVER = AlarmOver(AlarmEnded("malformed", 9))


def shown(board, *, width=200):
    console = Console(file=io.StringIO(), width=width)
    console.print(board)
    return console.file.getvalue()


@pytest.fixture
def board():
    board = TrainingBoard("a run", "runs/a", clock=lambda: 0.0)
    board.receive(RunStarted(0, 24, 100, 100))
    return board


def test_an_alarm_stays_on_the_board_until_it_is_over(board):
    board.receive(AlarmRaised(MALFORMED))
    for number in range(5):
        board.receive(Warned(f"number {number}"))
    assert "alarm since step 7: 60% of the trajectories are malformed; look at them" in shown(board)
    board.receive(OVER)
    assert "alarm since" not in shown(board)
    assert "alarm over at step 9: malformed trajectories" in shown(board)


def test_plain_lines_say_when_an_alarm_begins_and_ends(board):
    console = Console(file=io.StringIO(), width=200)
    lines = PlainLines(console, board)
    lines.receive(AlarmRaised(MALFORMED))
    lines.receive(OVER)
    assert console.file.getvalue().splitlines() == [
        "alarm at step 7: 60% of the trajectories are malformed; look at them",
        "alarm over at step 9: malformed trajectories",
    ]


@pytest.mark.parametrize(("unreported", "tokens"), [(0, "70+20 tokens"), (1, "tokens unknown")])
def test_tokens_that_a_service_did_not_count_are_unknown_on_the_board(board, unreported, tokens):
    figures = {"calls": 3, "stored_calls": 0, "prompt_tokens": 70, "completion_tokens": 20, "paid": None}
    row = {f"total/{name}": value for name, value in (figures | {"unreported_calls": unreported}).items()}
    board.receive(ServicesBooked(1, "training", row, "3 calls"))
    assert f"3 LLM calls, {tokens}, unknown paid" in shown(board)


def test_plain_lines_of_a_slow_warm_start_come_twice_a_minute_at_most_and_of_a_fast_one_every_twenty_steps(board):
    console = Console(file=io.StringIO(), width=200)
    now = 0.0
    lines = PlainLines(console, board, clock=lambda: now)
    for step in range(1, 41):
        now += 20.0 if step <= 6 else 0.1
        lines.receive(WarmstartProgress(step, 41, {"warmstart/loss": 1.0}))
    spoken = [int(line.split()[1].split("/")[0]) for line in console.file.getvalue().splitlines()]
    assert spoken == [1, 3, 5, 20, 40]
