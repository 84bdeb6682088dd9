"""Tasks: what a policy learns to do. The seam is in ``tasks.task``, a task's environment in ``tasks.environment``."""

from workflow_r1.tasks.environment import TaskEnvironment
from workflow_r1.tasks.task import Action, ActionFormat, Demonstrator, Episode, Reply, Split, Task, TaskSettings

__all__ = [
    "Action",
    "ActionFormat",
    "Demonstrator",
    "Episode",
    "Reply",
    "Split",
    "Task",
    "TaskEnvironment",
    "TaskSettings",
]
