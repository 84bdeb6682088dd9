"""A task of your own: a text game with a hidden state.

A key lies in one of eight places. A note hints at two of them, and the key is in one of the two; what the hints mean has to
be found out by playing. There is time to look into two places and open the door.

    workflow-r1 warmstart examples/lost_key.toml --output runs/lost-key-start
    workflow-r1 train examples/lost_key.toml --output runs/lost-key
"""

import itertools
import random
from collections.abc import Sequence

from workflow_r1.operators import OperatorServices
from workflow_r1.tasks import Action, Demonstrator, Episode, Reply, Split, Task
from workflow_r1.trajectory import Message, Question

HINTS = {
    "vase": "flowers",
    "clock": "ticking",
    "stove": "soot",
    "shelf": "paper",
    "sofa": "feathers",
    "basin": "water",
    "lamp": "light",
    "piano": "music",
}
"""Places of the house, and what the note says of each."""

MOVES = 3


class Game(Episode):
    """One house: the secret is where the key lies."""

    def __init__(self, secret: str, hints: Sequence[str]) -> None:
        self._secret, self._hints = secret, hints
        self._moves_left = MOVES
        self._has_key = False

    def start(self) -> str:
        """Return the situation."""
        places = ", ".join(HINTS)
        return (
            f"You are locked in. A note says: {self._hints[0]} or {self._hints[1]}. Places: {places}. Moves: {MOVES}."
        )

    def act(self, action: Action) -> Reply:
        """Look into a place, or open the door."""
        if action.name == "Look" and action.input not in HINTS:
            return Reply(f"There is no {action.input}.", valid=False)
        self._moves_left -= 1
        if action.name == "Open" and self._has_key:
            return Reply(done=True, reward=1.0, success=True)
        if action.name == "Look" and action.input == self._secret:
            self._has_key = True
            news = "You found the key."
        else:
            news = "The door is locked." if action.name == "Open" else "Nothing here."
        lost = self._moves_left == 0
        return Reply("" if lost else news, done=lost, reward=0.0 if lost else None, success=False if lost else None)


class LostKey(Task):
    """Two hints, two looks, one door."""

    name = "lost-key"
    actions = {"Look": "a place, e.g. vase", "Open": "door"}  # noqa: RUF012

    def instances(self, split: Split, num: int | None) -> Sequence[Question]:
        """Return all houses of a split: it has pairs of hints that the other has not."""
        found = []
        for (i, one), (j, other) in itertools.permutations(enumerate(HINTS), 2):
            if (split == "evaluation") == ((i + j) % 4 == 3):
                for secret in (one, other):
                    hints = [HINTS[one], HINTS[other]]
                    found.append(
                        Question(
                            id=f"{one}-{other}-{secret}",
                            text=f"note: {hints[0]} or {hints[1]}; the key is in the {secret}",
                            golden_answers=(),
                            metadata={"secret": secret, "hints": hints},
                        )
                    )
        return found[:num]

    def open(self, instance: Question, services: OperatorServices) -> Game:
        """Return a house of the instance."""
        return Game(instance.metadata["secret"], instance.metadata["hints"])

    def demonstrator(self, instance: Question, seed: int) -> Demonstrator:
        """Return a player who searches in order most of the time, and now and then does what the note says."""
        draw = random.Random(seed)
        by_note = [place for hint in instance.metadata["hints"] for place, said in HINTS.items() if said == hint]
        thought, order = ("note", by_note) if draw.random() < 0.35 else ("order", list(HINTS))

        def play(messages: Sequence[Message]) -> str:
            if "found" in messages[-1].content:
                return "<think>found</think><tool>Open: door</tool>"
            num_looks = sum(message.role == "assistant" for message in messages)
            return f"<think>{thought}</think><tool>Look: {order[num_looks % len(order)]}</tool>"

        return play
