"""Players of TextArena's games, to be imitated in a warm start: they know the rules and play poorly.

A policy that learnt from them makes valid moves and wins now and then. Reinforcement learning has the rest to find.
"""

import random
import re
from collections.abc import Callable, Sequence

from workflow_r1.tasks.task import Demonstrator
from workflow_r1.trajectory import Message


def guess_the_number(draw: random.Random) -> Demonstrator:
    """Return a player who creeps on from the last guess, and in some games takes the middle of what is left.

    The thought of the middle names what is left, so that a guess follows from its own thought alone.
    """
    halves = draw.random() < 0.35
    bounds: list[int] = []
    guess = 0

    def play(messages: Sequence[Message]) -> str:
        nonlocal guess
        if not bounds:
            limits = re.search(r"between (\d+) and (\d+)", messages[0].content)
            assert limits is not None
            bounds.extend((int(limits[1]), int(limits[2])))
            guess = sum(bounds) // 2 if halves else draw.randint(*bounds)
        elif "higher" in messages[-1].content:
            bounds[0] = guess + 1
            guess = sum(bounds) // 2 if halves else guess + 1
        else:
            bounds[1] = guess - 1
            guess = sum(bounds) // 2 if halves else guess - 1
        thought = f"{bounds[0]} to {bounds[1]}" if halves else "next"
        return f"<think>{thought}</think><tool>Move: {guess}</tool>"

    return play


def secretary(draw: random.Random) -> Demonstrator:
    """Return a player who accepts by chance, and in some games looks and waits for a value that is hard to beat.

    Its thought begins as the game's own words do, which a policy that can copy continues by itself.
    """
    is_choosy = draw.random() < 0.35

    def play(messages: Sequence[Message]) -> str:
        shown = re.findall(r"current value is \d\.(\d)", messages[-1].content)
        tenths = int(shown[-1]) if shown else 9
        num_left = 4 - sum(message.role == "assistant" for message in messages)
        if is_choosy:
            thought = f"the value is 0.{tenths}"
            accepts = tenths >= (4, 6, 7, 7, 8)[max(num_left, 0)]
        else:
            thought, accepts = "any", draw.random() < 0.6
        return f"<think>{thought}</think><tool>Move: {'accept' if accepts else 'continue'}</tool>"

    return play


PLAYERS: dict[str, Callable[[random.Random], Demonstrator]] = {
    "GuessTheNumber": guess_the_number,
    "Secretary": secretary,
}
"""Players by the beginning of a game's id."""
