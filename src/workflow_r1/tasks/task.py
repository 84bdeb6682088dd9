"""The task seam: everything that a multi-turn task gives, and nothing about how it is trained.

A task is one class. It lists its instances and opens an episode for each; an episode says its prompt, acts on the
policy's actions one at a time, and says when it is over. Rollouts, training, evaluation and the servers see nothing
else of it.

    class HotOrCold(Task):
        name = "hot-or-cold"
        actions = {"Guess": "a whole number from 1 to 20"}

        def instances(self, split, num): ...
        def open(self, instance, services): return Game(secret=instance.metadata["secret"])

Question answering is the first implementation. Its instances are the questions, and its environment is older than this
seam; see ``docs/explanation/tasks.md``.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from workflow_r1.errors import DataError
from workflow_r1.operators import OperatorServices
from workflow_r1.operators.operator import Need
from workflow_r1.trajectory import Message, Question, TaskReward, Trajectory

Split = Literal["train", "evaluation"]
"""Use of instances: ``train`` to learn from, ``evaluation`` held out."""

SPLITS: tuple[Split, ...] = ("train", "evaluation")
"""Both of them."""

ActionFormat = Literal["tags", "json", "text"]
"""Form in which the policy writes an action.

``tags``: our grammar, ``<think>...</think><tool>Name: input</tool>`` or ``<answer>...</answer>``.
``json``: a tool call in the model's own tool format, ``{"name": ..., "arguments": {...}}``.
``text``: everything after the thought, as it stands.
"""


Demonstrator = Callable[[Sequence[Message]], str]
"""Maps the messages so far (the prompt, then turns and observations) to the text of the next turn."""


class TaskSettings(BaseModel, extra="forbid", frozen=True):
    """Settings of a task, from its table ``[tasks.NAME]``; subclass it to have some."""


@dataclass(frozen=True, slots=True)
class Action:
    """One action of the policy, read from its turn."""

    name: str
    """Name of the action, one of the task's ``actions``; ``answer`` where the policy wrote an answer. In the format
    ``text`` it is the task's only action, or empty."""
    input: str
    """Text of the action: what stands behind the colon, in the answer, or in the whole reply; JSON arguments as text."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of a tool call in the format ``json``; empty otherwise."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An episode's reply to one action."""

    observation: str = ""
    """Text for the policy; it is neutralised and cut like an operator's. Not read where ``done`` is True."""
    done: bool = False
    """True where the episode is over."""
    reward: float | None = None
    """Reward of this turn, where the task gives one by turn or at the end; a finite number."""
    success: bool | None = None
    """At the end: the policy reached the goal. None where the task does not say."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """At the end: named figures of the outcome, each finite."""
    valid: bool = True
    """False where the action was refused: the policy's mistake, from which it learns."""


class Episode(ABC):
    """One trajectory's share of a task: single-use, with a state of its own.

    Every method may be a coroutine function instead; one that is not runs on a thread, one call at a time. A failing *service* raises ``workflow_r1.errors.ServiceError``,
    which ends the trajectory and is never scored. Any other exception is a programming error and names its file and line.
    """

    @abstractmethod
    def start(self) -> str | Sequence[Message] | Awaitable[str | Sequence[Message]]:
        """Return the prompt: a text or messages.

        A text is neutralised and becomes the user's message, with instructions how to act behind it unless
        ``environment.prompt_style`` is ``brief``. Messages are taken as they are: neutralise in them what comes from
        outside (``workflow_r1.prompts.neutralise``).
        """

    @abstractmethod
    def act(self, action: Action) -> Reply | Awaitable[Reply]:
        """Act on one action of the policy."""

    def close(self) -> Awaitable[None] | None:
        """Give back what the episode holds. Called once, on every way out."""
        return None


class Task(ABC):
    """A multi-turn task."""

    name: ClassVar[str]
    """Name of the task, and of its table ``[tasks.NAME]``."""
    Settings: ClassVar[type[TaskSettings]] = TaskSettings
    """Type of its settings."""
    actions: ClassVar[Mapping[str, str]] = {}
    """The actions by name, each with one line on its input: ``with`` is written before it in instructions. Without any,
    every name is an action. An ``<answer>`` is an action only where ``answer`` is among them."""
    action_format: ClassVar[ActionFormat] = "tags"
    """Form of an action."""
    is_simulation: ClassVar[bool] = False
    """True where its figures say nothing about the world outside."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    """Services of the configuration (``llm``, ``search``) without which it cannot work."""

    says_success = True
    """True where each episode that ends says whether it succeeded. A task without such a thing sets it to False, as an
    attribute or a property, and its reward is all that is shown."""
    counts_turn_rewards = True
    """True where the total of ``score`` contains the turns' rewards, as the default's does."""
    unfinished_reward = 0.0
    """Reward added to a trajectory that a budget ended before its episode: where a bad end costs something, let stalling
    cost no less. An attribute or a property."""

    def __init__(self, settings: TaskSettings) -> None:
        """Take the settings, which are checked already."""
        self.settings = settings

    @abstractmethod
    def instances(self, split: Split, num: int | None) -> Sequence[Question]:
        """Return the instances of a split, in an order that never changes.

        Args:
            split: their use; the two share no instance.
            num: at most so many; None for all (a task without an end of them chooses a number).

        Returns:
            Instances with unique ids. ``text`` says the instance in a line, for people; ``metadata`` holds what the
            episode needs, e.g. its seed; ``golden_answers`` stays empty where the episode itself knows the outcome.
        """

    @abstractmethod
    def open(self, instance: Question, services: OperatorServices) -> Episode | Awaitable[Episode]:
        """Return a fresh episode of an instance.

        Args:
            instance: the instance.
            services: LLM and search of the configuration, for a task that uses them.
        """

    def demonstrator(self, instance: Question, seed: int) -> Demonstrator | None:
        """Return somebody to imitate in the warm start; None where the task has nobody.

        One that plays poorly leaves something to learn: it is to show the form of the turns, and the choices there are.

        Args:
            instance: the instance that it will act on.
            seed: all its choices derive from it.
        """
        return None

    def asked(self, text: str) -> Question:
        """Return the instance that a person asks for: ``ask`` and ``serve`` hand over what was typed.

        By default the text is the id of an instance. A task that can be played on any text makes an instance of it.

        Raises:
            DataError: there is no such instance.
        """
        for split in SPLITS:
            for instance in self.instances(split, None):
                if instance.id == text:
                    return instance
        raise DataError(f"the task {self.name}: expected the id of an instance, received {text!r}")

    def score(self, trajectory: Trajectory) -> TaskReward:
        """Return the reward of a trajectory that the policy brought to its end.

        By default its total is the sum of the turns' rewards, with ``unfinished_reward`` where a budget ended it; success
        and parts are those of the episode's end, and a trajectory that a budget ended has failed.
        """
        ending = trajectory.ending
        if ending is None:
            success = False if self.says_success else None
            return TaskReward(total=trajectory.turn_rewards + self.unfinished_reward, success=success)
        return TaskReward(total=trajectory.turn_rewards, success=ending.success, parts=ending.parts)
