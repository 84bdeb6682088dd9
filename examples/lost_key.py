"""A task of your own: a text game with a hidden state.

A key lies in one of eight places, and a note hints at it. What the hint means has to be found out by playing. There is
time to look into two places and open the door.

    workflow-r1 warmstart examples/lost_key.toml --output runs/lost-key-start
    workflow-r1 train examples/lost_key.toml --output runs/lost-key
"""

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

    def __init__(self, secret: str, places: Sequence[str]) -> None:
        self._secret, self._places = secret, places
        self._moves_left = MOVES
        self._has_key = False

    async def start(self) -> str:
        """Return the situation."""
        return f"A note says {HINTS[self._secret]}. Places: {', '.join(self._places)}. Moves: {MOVES}."

    async def act(self, action: Action) -> Reply:
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
    """A hint, two looks, one door."""

    name = "lost-key"
    actions = {"Look": "a place, e.g. vase", "Open": "door"}  # noqa: RUF012

    def instances(self, split: Split, num: int | None) -> Sequence[Question]:
        """Return houses, whose places stand in an order that the other split never has."""
        draw = random.Random(0)
        found = []
        while len(found) < (num or 1000):
            places = draw.sample(list(HINTS), k=len(HINTS))
            # The two splits share no order: these three places decide where one belongs.
            if (split == "evaluation") == (places.index("vase") > places.index("clock") > places.index("stove")):
                secret = draw.choice(places)
                found.append(
                    Question(
                        id=f"{split}-{len(found)}",
                        text=f"the key is in the {secret}; places: {', '.join(places)}",
                        golden_answers=(),
                        metadata={"secret": secret, "places": places},
                    )
                )
        return found

    async def open(self, instance: Question, services: OperatorServices) -> Game:
        """Return a house of the instance."""
        return Game(instance.metadata["secret"], instance.metadata["places"])

    def demonstrator(self, instance: Question, seed: int) -> Demonstrator:
        """Return a player who guesses in most games, and now and then does what the note says."""
        draw = random.Random(seed)
        reads = draw.random() < 0.35

        def play(messages: Sequence[Message]) -> str:
            if "found" in messages[-1].content:
                return "<think>found</think><tool>Open: door</tool>"
            if reads:
                return f"<think>note says {HINTS[instance.metadata['secret']]}</think><tool>Look: {instance.metadata['secret']}</tool>"
            return f"<think>guess</think><tool>Look: {draw.choice(instance.metadata['places'])}</tool>"

        return play
