"""The parts that a whole configuration names: each is built from its own sections."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.environment import Environment
    from workflow_r1.trajectory import Question


def train_questions(config: "RunConfig") -> "list[Question]":
    """The questions, or instances of another task, that a run trains on.

    Raises:
        ConfigError: files are asked for and none is named.
        DataError: the file is missing, empty or malformed.
        TaskError: the task is wrong.
    """
    from workflow_r1.assembly.questions import build_train_questions
    from workflow_r1.assembly.tasks import build_task
    from workflow_r1.tasks.instances import DEFAULT_INSTANCES, task_instances

    task = build_task(config.chosen_task)
    if task is not None:
        return task_instances(task, "train", config.data.limit or DEFAULT_INSTANCES)
    return build_train_questions(config.data, world=config.embedded)


def held_out_questions(config: "RunConfig", num: int | None = None) -> "list[Question]":
    """The first ``num`` held-out questions or instances (default: as many as ``training.evaluation_questions``).

    Raises:
        ConfigError: files are asked for and none is named.
        DataError: the file is missing, empty or malformed.
        TaskError: the task is wrong.
    """
    from workflow_r1.assembly.questions import build_evaluation_questions
    from workflow_r1.assembly.tasks import build_task
    from workflow_r1.tasks.instances import task_instances

    num = config.training.evaluation_questions if num is None else num
    task = build_task(config.chosen_task)
    if task is not None:
        return task_instances(task, "evaluation", num)
    return build_evaluation_questions(config.data, num, world=config.embedded)


def question_of(config: "RunConfig", text: str) -> "Question":
    """Return the question that a text is, or the instance of another task that it names.

    Raises:
        DataError: the task has no such instance.
        TaskError: the task is wrong.
    """
    from workflow_r1.trajectory import Question

    return asked_instance(config, text) or Question(id="asked", text=text, golden_answers=())


def asked_instance(config: "RunConfig", text: str) -> "Question | None":
    """Return the instance of a task that a person asks for; None where the text is a question.

    Raises:
        DataError: the task has no such instance.
        TaskError: the task is wrong.
    """
    from workflow_r1.assembly.tasks import build_task
    from workflow_r1.tasks.instances import instance_of

    task = build_task(config.chosen_task)
    return None if task is None else instance_of(task, text)


def is_scored(config: "RunConfig", question: "Question") -> bool:
    """Return True where the outcome of a question or an instance can be scored."""
    from workflow_r1.config.run import QUESTIONS

    return config.task != QUESTIONS or bool(question.golden_answers)


def writes_tags(config: "RunConfig") -> bool:
    """Return True where turns follow our grammar, as those of questions do."""
    from workflow_r1.assembly.tasks import build_task

    task = build_task(config.chosen_task)
    return task is None or task.action_format == "tags"


def open_environments(
    config: "RunConfig", *, special_tokens: Sequence[str] = ()
) -> "Callable[[Question], Environment]":
    """Open the services and return what makes a fresh environment for each trajectory.

    Args:
        config: pool, limits and services.
        special_tokens: special tokens of the policy's tokenizer, neutralised in outside text.

    Raises:
        ConfigError: the pool names an operator that does not exist, or a service is not configured.
        DataError: the corpus or index is missing or malformed.
        StoreError: the store of calls cannot be used.
    """
    from workflow_r1.assembly.operators import build_operators
    from workflow_r1.assembly.services import build_services
    from workflow_r1.assembly.tasks import build_environments, build_task, needs_of

    task = build_task(config.chosen_task)
    operators = build_operators(config.pool)
    services = build_services(config.services, config.pool, operators=operators, needs=needs_of(task))
    return build_environments(
        task, config.environment, operators=operators, services=services, special_tokens=special_tokens
    )
