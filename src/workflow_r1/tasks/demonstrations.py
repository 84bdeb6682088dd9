"""Demonstrations of a task: its own demonstrator at work in the real environment, for the warm start."""

import asyncio
from collections.abc import Callable

from workflow_r1.environment import Environment
from workflow_r1.errors import ConfigError
from workflow_r1.rollout import derive_seed, rollout
from workflow_r1.rollout.doubles import ScriptedPolicy
from workflow_r1.tasks.instances import DEFAULT_INSTANCES, task_instances
from workflow_r1.tasks.task import Task
from workflow_r1.trajectory import Question, Trajectory

_REPORT_EVERY = 500
"""Demonstrations between two reports of the progress."""


def demonstrate(
    task: Task,
    num: int,
    *,
    make_environment: Callable[[Question], Environment],
    seed: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trajectory]:
    """Let the task's demonstrator act on training instances, on each as often as ``num`` asks for.

    Args:
        task: the task.
        num: number of demonstrations.
        make_environment: makes a fresh environment for each of them.
        seed: all choices of the demonstrators derive from it.
        on_progress: called now and then with the number of finished demonstrations, and ``num``.

    Raises:
        ConfigError: the task has no demonstrator.
    """
    instances = task_instances(task, "train", DEFAULT_INSTANCES)

    async def make() -> list[Trajectory]:
        made: list[Trajectory] = []
        for index in range(num):
            instance = instances[index % len(instances)]
            own_seed = derive_seed(seed, "demonstration", index)
            demonstrator = task.demonstrator(instance, own_seed)
            if demonstrator is None:
                raise ConfigError(
                    f"warmstart.demonstrations: expected a JSONL of trajectories to imitate, since the task {task.name} "
                    "has no `demonstrator`; write one, or sample trajectories of a stronger policy with "
                    "`workflow-r1 rollout`"
                )
            made.append(
                await rollout(
                    instance,
                    policy=ScriptedPolicy(demonstrator, name="demonstrator"),
                    environment=make_environment(instance),
                    trajectory_id=f"demonstration-{index}",
                    group_id=instance.id,
                    seed=own_seed,
                )
            )
            if len(made) % _REPORT_EVERY == 0:
                on_progress(len(made), num)
        return made

    return asyncio.run(make())
