"""The seam of a method: what it may call, and how its policy is made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow_r1.config.methods import MethodsConfig
from workflow_r1.environment import Environment, EnvironmentConfig
from workflow_r1.operators import Operator, OperatorServices
from workflow_r1.rollout.policy import Policy
from workflow_r1.trajectory import Question

SEARCH = "Search"
"""Operator that a method with search has in its pool."""

WITH_SEARCH = "+search"
"""Ends the name of a method that has ``Search`` in its pool."""


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What a method is made from."""

    services: OperatorServices
    """The LLM and the search, metered and limited like those of any policy."""
    operators: Mapping[str, Operator]
    """What its environment lets it call."""
    make_environment: Callable[[Question], Environment]
    """A fresh environment for each trajectory."""
    settings: MethodsConfig
    """Of all methods."""
    questions: Sequence[Question] = ()
    """What will be asked. Only an oracle may look at golden answers."""
    train_questions: Callable[[], Sequence[Question]] = tuple
    """Reads the questions to learn from, where a method does."""
    llm_is_simulated: bool = False
    """Whether the LLM is the embedded world's expert, which can do nothing but carry out operators."""
    seed: int = 0
    """All that the method draws derives from it."""
    world_seed: int = 0
    """Of the embedded world, for a method that knows it."""
    directory: Path | None = None
    """Where a method that searches keeps what it found, and goes on from; None where nothing is kept."""
    concurrency: int = 32
    """Trajectories that are live at once while it searches."""
    notify: Callable[[str], None] = field(default=lambda line: None)
    """Told how far a search is, a line at a time."""


@dataclass(frozen=True, slots=True)
class Method:
    """Something that answers questions, by its name."""

    name: str
    """As it stands in tables and files."""
    summary: str
    """What it does, in one line."""
    make_policy: Callable[[MethodContext], Policy]
    """Makes what acts. Raises ``ConfigError`` where something that it needs is missing."""
    operators: Mapping[str, Operator] = field(default_factory=dict)
    """What it may call whatever the configuration's pool is."""
    takes_pool: bool = False
    """Whether it may also call the configuration's pool, ``Search`` left out."""
    prepare: Callable[[MethodContext], Awaitable[None]] | None = None
    """Searches or learns, before ``make_policy``, and keeps the result in the context's directory; what a run before this
    one has done of it is not done again."""
    only_embedded: bool = False
    """Whether it knows no world but the embedded one."""
    section: str = ""
    """Name of its settings among ``methods``, where it is not its own."""

    @property
    def settings_name(self) -> str:
        """Name of its settings among ``methods``; there are none where it has no settings."""
        return self.section or self.name.removesuffix(WITH_SEARCH).replace("-", "_")

    @property
    def searches(self) -> bool:
        """Whether it may search."""
        return SEARCH in self.operators

    def pool(self, configured: Mapping[str, Operator]) -> Mapping[str, Operator]:
        """What it may call.

        Args:
            configured: the configuration's pool.
        """
        shared = {name: each for name, each in configured.items() if name != SEARCH} if self.takes_pool else {}
        return {**shared, **self.operators}


def method_environment(operators: Mapping[str, Operator]) -> EnvironmentConfig:
    """Limits in which a fixed workflow never runs out, and the prompt that it reads.

    Args:
        operators: the pool.
    """
    return EnvironmentConfig(
        operators=tuple(operators),
        prompt_style="brief",
        max_operator_calls=64,
        max_turns=64,
        max_observation_chars=65536,
        max_turn_observation_chars=64 * 65536,
    )
