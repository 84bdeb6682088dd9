"""Demonstrations of a task: its own player in the real environment, in every task that has one."""

import statistics
from functools import partial
from pathlib import Path

import pytest

from workflow_r1.environment import EnvironmentConfig
from workflow_r1.errors import ConfigError
from workflow_r1.operators import OperatorServices
from workflow_r1.references import load_reference
from workflow_r1.tasks import Task, TaskEnvironment, TaskSettings
from workflow_r1.tasks.demonstrations import demonstrate

EXAMPLES = Path(__file__).parents[2] / "examples"


def own(name: str) -> Task:
    kind = load_reference(f"{EXAMPLES}/{name}", key="task")
    return kind(TaskSettings())


def textarena(**settings) -> Task:
    pytest.importorskip("textarena")
    from workflow_r1.tasks.textarena import TextArena, TextArenaSettings

    return TextArena(TextArenaSettings(**settings))


TASKS = {
    "lost_key": lambda: own("lost_key.py:LostKey"),
    "word_problems": lambda: own("word_problems.py:WordProblems"),
    "guess": lambda: textarena(game="GuessTheNumber-v0", arguments={"max_number": 12, "max_turns": 3}),
    "secretary": lambda: textarena(game="Secretary-v0"),
}


def made(task: Task, num: int, *, seed: int = 0):
    make_environment = partial(
        TaskEnvironment,
        task=task,
        config=EnvironmentConfig(operators=(), prompt_style="brief", max_turns=8),
        operators={},
        services=OperatorServices(chat=None, search=None),
    )
    return demonstrate(task, num, make_environment=make_environment, seed=seed)


@pytest.mark.parametrize("name", TASKS)
def test_a_demonstrator_plays_by_the_rules_and_leaves_something_to_learn(name):
    task = TASKS[name]()
    demonstrations = made(task, 120)
    turns = [turn for demonstration in demonstrations for turn in demonstration.turns]
    assert all(turn.well_formed for turn in turns)
    assert all(call.valid for turn in turns for call in turn.calls)
    rewards = [task.score(demonstration) for demonstration in demonstrations]
    assert 0.1 < statistics.mean(bool(reward.success) for reward in rewards) < 0.8


def test_the_same_seed_gives_the_same_demonstrations_and_another_seed_others():
    one, same, other = (
        [[turn.text for turn in each.turns] for each in made(TASKS["lost_key"](), 30, seed=seed)] for seed in (0, 0, 1)
    )
    assert one == same != other


def test_a_task_without_a_demonstrator_is_refused_with_the_remedy():
    task = TASKS["lost_key"]()
    task.demonstrator = lambda instance, seed: None
    with pytest.raises(ConfigError, match="lost-key has no `demonstrator`"):
        made(task, 1)
