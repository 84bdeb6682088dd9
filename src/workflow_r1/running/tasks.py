"""Describes a task before it is trained on: its parts, its first instances, a prompt."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workflow_r1.errors import ConfigError

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.tasks import Split
    from workflow_r1.trajectory import Question


@dataclass(frozen=True, slots=True)
class DescribedTask:
    """A task and its first instances."""

    name: str
    """Name of the task, and of its table."""
    place: str
    """Class and module."""
    documentation: str
    """Docstring of the class."""
    actions: Mapping[str, str]
    """Actions by name, with a line on their input."""
    action_format: str
    """Form of an action."""
    operators: tuple[str, ...]
    """Operators that may be called beside the actions."""
    settings: Mapping[str, Any]
    """Settings in force."""
    says_success: bool
    """True where each episode that ends says whether it succeeded."""
    is_simulation: bool
    """True where its figures say nothing about the world outside."""
    split: str
    """Split of the instances."""
    instances: "Sequence[Question]"
    """The first instances of the split."""
    prompt: str
    """Prompt of the first one."""

    def as_json(self) -> dict[str, Any]:
        """Return all of it in JSON."""
        plain = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("actions", "instances", "settings")
        }
        instances = [instance.model_dump(mode="json") for instance in self.instances]
        return {**plain, "actions": dict(self.actions), "settings": dict(self.settings), "instances": instances}


def known_tasks() -> dict[str, str]:
    """Return the tasks that have a name, with a phrase on each; none is imported."""
    from workflow_r1.tasks.finding import SHIPPED_PURPOSES, installed_tasks

    installed = {name: f"installed: {entry.value}" for name, entry in installed_tasks().items()}
    return {"qa": "questions with golden answers", **SHIPPED_PURPOSES, **installed}


def describe_task(config: "RunConfig", *, split: "Split", limit: int) -> DescribedTask:
    """Open the task of a configuration, and one episode of it.

    Args:
        config: the configuration.
        split: split of the instances.
        limit: most instances.

    Raises:
        UserError: the task cannot be used, or it is question answering, whose files ``workflow-r1 data`` shows.
        ServiceError: a service that the task needs failed.
    """
    from inspect import getdoc

    from workflow_r1.assembly.tasks import build_task
    from workflow_r1.tasks.instances import task_instances

    task = build_task(config.chosen_task)
    if task is None:
        raise ConfigError(
            'expected a task of actions, received task = "qa" (questions with golden answers); `workflow-r1 data` shows files of '
            "questions"
        )
    instances = task_instances(task, split, limit)
    kind = type(task)
    return DescribedTask(
        name=task.name,
        place=f"{kind.__qualname__} in {config.task.rpartition(':')[0] or kind.__module__}",
        documentation=getdoc(kind) or "",
        actions=task.actions,
        action_format=task.action_format,
        operators=config.environment.operators,
        settings=task.settings.model_dump(mode="json"),
        says_success=task.says_success,
        is_simulation=task.is_simulation,
        split=split,
        instances=instances,
        prompt=asyncio.run(open_once(config, instances[0])),
    )


async def open_once(config: "RunConfig", instance: "Question") -> str:
    """Open an episode, close it, and return its prompt."""
    from workflow_r1.running.parts import open_environments

    environment = open_environments(config)(instance)
    try:
        return "\n".join(message.content for message in await environment.start())
    finally:
        await environment.close()
