"""The seam of a method: its operators, and the maker of its policy."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow_r1.config.methods import MethodsConfig
from workflow_r1.embedded.config import EmbeddedConfig
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.operators import Operator, OperatorServices
from workflow_r1.rollout.policy import Policy
from workflow_r1.trajectory import Question

SEARCH = "Search"
"""Operator that a method with search has in its pool."""

WITH_SEARCH = "+search"
"""Ends the name of a method that has ``Search`` in its pool."""

MAX_CALLS = 4096
"""Calls, and turns, of a fixed workflow: more than the settings of any method allow, so that only one without an end gets there."""


@dataclass(frozen=True, slots=True)
class MethodContext:
    """Parts from which a method is made."""

    services: OperatorServices
    """The LLM and the search, metered and limited like those of any policy."""
    operators: Mapping[str, Operator]
    """Operators of its environment."""
    make_environment: Callable[[Question], QuestionEnvironment]
    """A fresh environment for each trajectory."""
    settings: MethodsConfig
    """Settings of all methods."""
    questions: Sequence[Question] = ()
    """Questions of the evaluation. Only an oracle may look at golden answers."""
    train_questions: Callable[[], Sequence[Question]] = tuple
    """Reads the questions to learn from, where a method does."""
    llm_is_simulated: bool = False
    """True where the LLM is the embedded world's expert, which can only carry out operators."""
    seed: int = 0
    """Seed of all the method's draws."""
    world: EmbeddedConfig = field(default_factory=EmbeddedConfig)
    """The embedded world, for a method that knows it."""
    directory: Path | None = None
    """Directory in which a method that searches keeps its findings, and from which it continues; None where nothing is kept."""
    concurrency: int = 32
    """Trajectories that are live at once while it searches."""
    notify: Callable[[str], None] = field(default=lambda line: None)
    """Called with each line of a search's progress."""


@dataclass(frozen=True, slots=True)
class Method:
    """Something that answers questions, by its name."""

    name: str
    """Name in tables and files."""
    summary: str
    """Its work, in one line."""
    make_policy: Callable[[MethodContext], Policy]
    """Maker of the policy. Raises ``ConfigError`` where something that it needs is missing."""
    operators: Mapping[str, Operator] = field(default_factory=dict)
    """Operators that it may call with any pool of the configuration."""
    takes_pool: bool = False
    """True where it may also call the configuration's pool, without ``Search``."""
    prepare: Callable[[MethodContext], Awaitable[None]] | None = None
    """Searches or learns, before ``make_policy``, and keeps the result in the context's directory; it continues the
    work of an earlier run.
    """
    only_embedded: bool = False
    """True where it knows no world but the embedded one."""
    section: str = ""
    """Name of its settings among ``methods``, where it is not its own."""

    @property
    def settings_name(self) -> str:
        """Name of its settings among ``methods``; empty where it has no settings."""
        return self.section or self.name.removesuffix(WITH_SEARCH).replace("-", "_")

    @property
    def searches(self) -> bool:
        """True where it may search."""
        return SEARCH in self.operators

    def pool(self, configured: Mapping[str, Operator]) -> Mapping[str, Operator]:
        """Return the operators that it may call.

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
        max_operator_calls=MAX_CALLS,
        max_turns=MAX_CALLS,
        max_observation_chars=65536,
        max_turn_observation_chars=64 * 65536,
    )
