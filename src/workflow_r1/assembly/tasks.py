"""The task of a run: its instances, the environments of its trajectories, and its score."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

from workflow_r1.assembly.environments import build_environment_factory
from workflow_r1.assembly.operators import check_pool
from workflow_r1.config.run import QUESTIONS
from workflow_r1.config.sections import TaskChoice
from workflow_r1.environment import Environment, EnvironmentConfig
from workflow_r1.errors import ConfigError
from workflow_r1.operators import Operator, OperatorServices
from workflow_r1.operators.operator import Need
from workflow_r1.rewards import RewardConfig, Score, Scorer, score_trajectory
from workflow_r1.tasks import Task, TaskEnvironment
from workflow_r1.tasks.calling import blame, judge
from workflow_r1.tasks.finding import make_task
from workflow_r1.trajectory import Question, ScoredTrajectory, TaskReward, Trajectory


def build_task(choice: TaskChoice) -> Task | None:
    """Return the task of a configuration, made once in each process; None for questions with golden answers.

    Raises:
        ConfigError: there is no such task, or its settings are wrong.
        MissingExtraError: it needs a package that is not installed.
    """
    if choice.name == QUESTIONS:
        if choice.settings:
            name = next(iter(choice.settings))
            raise ConfigError(
                f'tasks.{name}: expected no settings with task = "{QUESTIONS}"; set task, or leave them out'
            )
        return None
    return _make(choice.name, json.dumps(choice.settings, default=str, sort_keys=True))


@lru_cache(maxsize=4)
def _make(name: str, settings: str) -> Task:
    return make_task(name, json.loads(settings))


def needs_of(task: Task | None) -> frozenset[Need]:
    """Return the services that a task itself uses, besides those of its operators."""
    return frozenset() if task is None else frozenset(task.needs)


def build_environments(
    task: Task | None,
    config: EnvironmentConfig,
    *,
    operators: Mapping[str, Operator],
    services: OperatorServices,
    special_tokens: Sequence[str] = (),
) -> Callable[[Question], Environment]:
    """Return a function that makes a fresh environment for each trajectory. All of them share the services.

    Args:
        task: the task; None for questions with golden answers.
        config: pool and limits.
        operators: where the names of the pool are looked up.
        services: services that operators and task use.
        special_tokens: special tokens of the policy's tokenizer, neutralised in outside text.

    Raises:
        ConfigError: the pool cannot be used.
    """
    if task is None:
        return build_environment_factory(config, operators=operators, services=services, special_tokens=special_tokens)
    check_pool(config.operators, operators)
    if config.operators and task.action_format == "text":
        raise ConfigError(
            f"environment.operators: expected none, since the task {task.name} takes plain text as its action; leave them out"
        )
    return partial(
        TaskEnvironment,
        task=task,
        config=config,
        operators=operators,
        services=services,
        special_tokens=special_tokens,
    )


def build_score(task: Task | None, *, unicode_normalise: bool = False) -> Score:
    """Return the function that gives a trajectory the task's own reward.

    Args:
        task: the task; None for questions with golden answers.
        unicode_normalise: see :func:`~workflow_r1.rewards.exact_match`.
    """
    if task is None:
        return partial(score_trajectory, unicode_normalise=unicode_normalise)
    return partial(_score, task)


def build_scorer(config: RewardConfig, task: Task | None, *, unicode_normalise: bool = False) -> Scorer:
    """Return the scorer of a task's trajectories by the configured reward.

    Args:
        config: the reward.
        task: the task; None for questions with golden answers.
        unicode_normalise: see :func:`~workflow_r1.rewards.exact_match`.

    Raises:
        ConfigError: a reward function cannot be used.
    """
    own = build_score(task, unicode_normalise=unicode_normalise)
    return Scorer(config, own=own, counts_turn_rewards=task is not None)


def _score(task: Task, trajectory: Trajectory) -> ScoredTrajectory:
    if trajectory.stop_reason.is_infrastructure:
        raise ValueError(
            f"expected a trajectory that the policy ended, received {trajectory.id!r}: leave it out of scores"
        )
    who = f"the task {task.name} (instance {trajectory.question.id})"
    try:
        reward = task.score(trajectory)
    except Exception as error:
        raise judge(error, task.score, who) from error
    if not isinstance(reward, TaskReward):
        raise blame(task.score, who, "a TaskReward", repr(reward)[:80])
    return ScoredTrajectory.of(trajectory, reward)
