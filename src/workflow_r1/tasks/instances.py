"""The instances of a task: asked for by their use, and checked before anything runs on them."""

import json
from collections.abc import Sequence

from workflow_r1.errors import DataError
from workflow_r1.tasks.calling import blame, judge
from workflow_r1.tasks.task import Split, Task
from workflow_r1.trajectory import Question

DEFAULT_INSTANCES = 4096
"""Training instances of a task where ``data.limit`` does not say otherwise."""


def task_instances(task: Task, split: Split, num: int | None) -> list[Question]:
    """Return the first instances of a split.

    Args:
        task: the task.
        split: their use.
        num: at most so many; None for all; 0 asks for none, and does not call the task.

    Raises:
        DataError: the split has no instance, or two share an id.
        TaskError: the task raised an error, or gave something other than instances.
    """
    if num == 0:
        return []
    who = f"the task {task.name}"
    try:
        instances = list(task.instances(split, num))
    except Exception as error:
        raise judge(error, task.instances, f"{who} (split {split!r})") from error
    for instance in instances:
        if not isinstance(instance, Question):
            raise blame(task.instances, who, "instances that are Questions", repr(instance)[:80])
    if not instances:
        raise DataError(f"{who}: expected instances of the split {split!r}, received none")
    if num is not None:
        instances = instances[:num]
    seen: set[str] = set()
    for instance in instances:
        if instance.id in seen:
            raise DataError(f"{who}: expected every id once in the split {split!r}, found {instance.id!r} twice")
        seen.add(instance.id)
    return instances


def instance_of(task: Task, text: str) -> Question:
    """Return the instance that a person asks for.

    Raises:
        DataError: there is no such instance.
        TaskError: the task raised an error, or gave something other than an instance.
    """
    who = f"the task {task.name} (asked for {text[:80]!r})"
    try:
        instance = task.asked(text)
    except Exception as error:
        raise judge(error, task.asked, who) from error
    if not isinstance(instance, Question):
        raise blame(task.asked, who, "an instance that is a Question", repr(instance)[:80])
    return instance


def check_apart(task: Task, train: Sequence[Question], evaluation: Sequence[Question]) -> None:
    """Refuse instances that are both trained on and held out: with one id, or with the same text, answers and metadata.

    Raises:
        DataError: names the first, and how many there are.
    """
    ids = {instance.id for instance in train}
    contents = {_content(instance) for instance in train if instance.metadata}
    shared = [
        instance
        for instance in evaluation
        if instance.id in ids or (instance.metadata and _content(instance) in contents)
    ]
    if shared:
        raise DataError(
            f"the task {task.name}: expected instances apart for training and evaluation, found {len(shared)} of "
            f"{len(evaluation)} held-out ones among those to train on, the first {shared[0].id!r}; give each split instances "
            "of its own"
        )


def _content(instance: Question) -> str:
    content = [instance.text, sorted(instance.golden_answers), instance.metadata]
    return json.dumps(content, sort_keys=True, default=str, ensure_ascii=False)
