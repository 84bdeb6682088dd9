"""The example tasks: their rules, and the way from nothing to a trained policy by the commands that their files print."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("torch")

from workflow_r1 import train, warm_start
from workflow_r1.errors import UserError
from workflow_r1.operators import OperatorServices
from workflow_r1.references import load_reference
from workflow_r1.tasks import Action, TaskSettings
from workflow_r1.tasks.instances import check_apart

EXAMPLES = Path(__file__).parents[2] / "examples"
NO_SERVICES = OperatorServices(chat=None, search=None)

SMALL = {
    "warmstart.num_demonstrations": 40,
    "warmstart.new_policy.hidden_size": 24,
    "warmstart.new_policy.num_layers": 1,
    "warmstart.new_policy.num_heads": 2,
    "warmstart.new_policy.intermediate_size": 32,
    "training.steps": 1,
    "training.questions_per_step": 2,
    "training.mini_batch_questions": 1,
    "training.group_size": 2,
    "training.evaluation_questions": 3,
}


def own(name: str):
    return load_reference(f"{EXAMPLES}/{name}", key="task")(TaskSettings())


def play(task, instance, *actions: tuple[str, str]):
    async def run():
        episode = await task.open(instance, NO_SERVICES)
        await episode.start()
        return [await episode.act(Action(name, text)) for name, text in actions]

    return asyncio.run(run())


def test_the_key_opens_the_door_within_three_moves():
    task = own("lost_key.py:LostKey")
    instance = task.instances("train", 1)[0]
    secret = instance.metadata["secret"]
    other = next(place for place in instance.metadata["places"] if place != secret)
    won = play(task, instance, ("Look", other), ("Look", secret), ("Open", "door"))
    assert [reply.done for reply in won] == [False, False, True]
    assert won[-1].success is True and won[-1].reward == 1
    lost = play(task, instance, ("Open", "door"), ("Look", secret), ("Look", other))
    assert lost[-1].done and lost[-1].success is False and lost[-1].reward == 0
    (refused,) = play(task, instance, ("Look", "moon"))
    assert not refused.valid and not refused.done


@pytest.mark.parametrize("name", ["lost_key.py:LostKey", "word_problems.py:WordProblems"])
def test_held_out_instances_are_apart_and_always_the_same(name):
    task = own(name)
    evaluation = task.instances("evaluation", 60)
    check_apart(task, task.instances("train", 300), evaluation)
    assert own(name).instances("evaluation", 20) == evaluation[:20]


def test_answers_are_checked_by_the_calculator_that_the_policy_has():
    task = own("word_problems.py:WordProblems")
    for instance in task.instances("train", 40):
        answer = instance.golden_answers[0]
        (right,) = play(task, instance, ("answer", f" {answer} "))
        (wrong,) = play(task, instance, ("answer", f"{answer}1"))
        assert (right.success, wrong.success) == (True, False)
    instance = task.instances("train", 1)[0]
    replies = play(task, instance, ("Calculate", "17 * -4"), ("Calculate", "9**9**9"), ("Calculate", "2"))
    assert replies[0].observation == "-68"
    assert [reply.valid for reply in replies] == [True, False, False]


def test_a_policy_is_made_taught_and_trained_from_the_file_alone(tmp_path):
    start = warm_start(EXAMPLES / "lost_key.toml", SMALL, output=tmp_path / "start")
    assert start.cause == "finished" and start.policy_directory is not None
    changes = {**SMALL, "policy.model": str(start.policy_directory)}
    result = train(EXAMPLES / "lost_key.toml", changes, output=tmp_path / "run")
    assert result.cause == "finished" and "evaluation/success" in result.evaluation
    trajectories = list(result.trajectories())
    assert len(trajectories) == 4 and trajectories[0].prompt[0].content.startswith("A note says")


def test_the_policy_that_the_file_names_is_made_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="runs/lost-key-start/policy"):
        train(EXAMPLES / "lost_key.toml", SMALL, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
