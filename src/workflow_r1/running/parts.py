"""The parts that a whole configuration names: each is built from its own sections."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.environment import Environment
    from workflow_r1.trajectory import Question


def train_questions(config: "RunConfig") -> "list[Question]":
    """The questions that a run trains on.

    Raises:
        ConfigError: files are asked for and none is named.
        DataError: the file is missing, empty or malformed.
    """
    from workflow_r1.assembly.questions import build_train_questions

    return build_train_questions(config.data, world_seed=config.embedded.seed)


def held_out_questions(config: "RunConfig", num: int | None = None) -> "list[Question]":
    """The first ``num`` held-out questions (default: as many as ``training.evaluation_questions``).

    Raises:
        ConfigError: files are asked for and none is named.
        DataError: the file is missing, empty or malformed.
    """
    from workflow_r1.assembly.questions import build_evaluation_questions

    num = config.training.evaluation_questions if num is None else num
    return build_evaluation_questions(config.data, num, world_seed=config.embedded.seed)


def open_environments(
    config: "RunConfig", *, special_tokens: Sequence[str] = ()
) -> "Callable[[Question], Environment]":
    """Open the services and return what makes a fresh environment for each trajectory.

    Args:
        config: pool, limits and services.
        special_tokens: of the policy's tokenizer, neutralised in outside text.

    Raises:
        ConfigError: the pool names an operator that does not exist, or a service is not configured.
        DataError: the corpus or index is missing or malformed.
        StoreError: the store of calls cannot be used.
    """
    from workflow_r1.assembly.environments import build_environment_factory
    from workflow_r1.assembly.operators import build_operators
    from workflow_r1.assembly.services import build_services

    operators = build_operators(config.pool)
    services = build_services(config.services, config.pool, operators=operators)
    return build_environment_factory(
        config.environment, operators=operators, services=services, special_tokens=special_tokens
    )
