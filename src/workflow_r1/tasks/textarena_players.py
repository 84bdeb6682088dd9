"""Players of TextArena's games, to be imitated in a warm start: they know the rules and play poorly.

A policy that learnt from them makes valid moves and wins now and then. Reinforcement learning has the rest to find.
"""

import random
import re
from collections.abc import Callable, Sequence

from workflow_r1.tasks.task import Demonstrator
from workflow_r1.trajectory import Message


def guess_the_number(draw: random.Random) -> Demonstrator:
    """Return a player who obeys the last hint and forgets those before it."""
    guessed: list[int] = []

    def play(messages: Sequence[Message]) -> str:
        rules, news = messages[0].content, messages[-1].content
        limits = re.search(r"between (\d+) and (\d+)", rules)
        assert limits is not None
        low, high = int(limits[1]), int(limits[2])
        thought = "start"
        if guessed:
            thought = "higher" if "higher" in news else "lower"
            low, high = (guessed[-1] + 1, high) if thought == "higher" else (low, guessed[-1] - 1)
        free = [number for number in range(low, high + 1) if number not in guessed]
        free = free or [number for number in range(int(limits[1]), int(limits[2]) + 1) if number not in guessed]
        guessed.append(draw.choice(free))
        return f"<think>{thought}</think><tool>Move: {guessed[-1]}</tool>"

    return play


def secretary(draw: random.Random) -> Demonstrator:
    """Return a player who names the tenths of the shown value and accepts it, or not, by chance."""

    def play(messages: Sequence[Message]) -> str:
        shown = re.findall(r"current value is \d\.(\d)", messages[-1].content)
        tenths = shown[-1] if shown else "0"
        move = "accept" if draw.random() < 0.35 else "continue"
        return f"<think>{tenths} tenths</think><tool>Move: {move}</tool>"

    return play


PLAYERS: dict[str, Callable[[random.Random], Demonstrator]] = {
    "GuessTheNumber": guess_the_number,
    "Secretary": secretary,
}
"""Players by the beginning of a game's id."""
