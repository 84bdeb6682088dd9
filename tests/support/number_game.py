"""A small task of the kind that a user writes: a whole number is to be guessed."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from workflow_r1.operators import OperatorServices
from workflow_r1.tasks import Action, Episode, Reply, Split, Task, TaskSettings
from workflow_r1.trajectory import Question


class Settings(TaskSettings):
    """Settings of the game."""

    highest: int = 5
    """The numbers go from 1 to this one."""


class Game(Episode):
    """One secret number."""

    def __init__(self, secret: int, highest: int) -> None:
        self.secret, self.highest = secret, highest
        self.closed = 0

    def start(self) -> str:
        """Say what is to be guessed."""
        return f"A number from 1 to {self.highest}."

    def act(self, action: Action) -> Reply:
        """Compare a guess."""
        if not action.input.isdecimal():
            return Reply("Write a whole number.", valid=False)
        if int(action.input) == self.secret:
            return Reply("Right.", done=True, reward=1.0, success=True, parts={"secret": self.secret})
        return Reply("higher" if int(action.input) < self.secret else "lower", reward=-0.1)

    def close(self) -> None:
        """Count how often it is closed."""
        self.closed += 1


class GuessTheNumber(Task):
    """The task: each instance has a secret of its own."""

    name = "guess"
    Settings = Settings
    actions: ClassVar = {"Guess": "a whole number"}

    settings: Settings

    def instances(self, split: Split, num: int | None) -> Sequence[Question]:
        """Return instances whose secrets go round."""
        return [
            Question(
                id=f"{split}-{number}",
                text=f"{split} {number}",
                golden_answers=(),
                metadata={"secret": number % self.settings.highest + 1, "split": split},
            )
            for number in range(16 if num is None else num)
        ]

    def open(self, instance: Question, services: OperatorServices) -> Episode:
        """Return a game with the instance's secret."""
        return Game(instance.metadata["secret"], self.settings.highest)


def task_of(act: Callable[[Action], Any], start: Callable[[], Any] = lambda: "Go.", **attributes: Any) -> Task:
    """Return a task with one instance, whose episode acts by a function."""

    class Stub(Episode):
        def start(self) -> Any:
            return start()

        def act(self, action: Action) -> Any:
            return act(action)

    class OneMove(Task):
        name = "one-move"
        actions: ClassVar = {"Move": "anything"}

        def instances(self, split: Split, num: int | None) -> Sequence[Question]:
            return [Question(id=f"{split}-0", text="one", golden_answers=())]

        def open(self, instance: Question, services: OperatorServices) -> Episode:
            return Stub()

    return type("OneMove", (OneMove,), attributes)(TaskSettings())
