"""Instances of a task, and the scores of its trajectories."""

import pytest
from number_game import GuessTheNumber, Settings

from workflow_r1.assembly.tasks import build_score
from workflow_r1.errors import DataError, TaskError
from workflow_r1.tasks.instances import check_apart, instance_of, task_instances
from workflow_r1.trajectory import Ending, Question, StopReason, TaskReward, Trajectory, Turn


def task_with(instances):
    class Given(GuessTheNumber):
        def instances(self, split, num):
            return instances(split, num)

    return Given(Settings())


def instance(name, **metadata):
    return Question(id=name, text="one", golden_answers=(), metadata=metadata)


def test_as_many_as_are_asked_for():
    task = GuessTheNumber(Settings())
    assert [one.id for one in task_instances(task, "train", 2)] == ["train-0", "train-1"]
    assert len(task_instances(task, "evaluation", None)) == 16
    assert task_instances(task_with(lambda split, num: 1 / 0), "evaluation", 0) == []
    assert len(task_instances(task_with(lambda split, num: [instance("a"), instance("b")]), "train", 1)) == 1


def test_an_id_that_comes_twice_is_refused():
    task = task_with(lambda split, num: [instance("a"), instance("b"), instance("a")])
    with pytest.raises(DataError, match="every id once in the split 'train', found 'a' twice"):
        task_instances(task, "train", None)


def test_a_split_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match="instances of the split 'evaluation', received none"):
        task_instances(task_with(lambda split, num: []), "evaluation", 4)
    with pytest.raises(
        TaskError, match=r"test_instances\.py:\d+: .*\(split 'evaluation'\) raised KeyError: 'evaluation'"
    ):
        task_instances(task_with(lambda split, num: {"train": []}[split]), "evaluation", 4)


def test_something_else_than_instances_is_refused():
    with pytest.raises(TaskError, match="expected instances that are Questions, received 'a'"):
        task_instances(task_with(lambda split, num: ["a"]), "train", None)


def test_what_is_trained_on_is_not_held_out():
    task = GuessTheNumber(Settings())
    check_apart(task, task_instances(task, "train", 8), task_instances(task, "evaluation", 8))
    with pytest.raises(DataError, match=r"found 1 of 2 held-out ones among those to train on, the first 'a'"):
        check_apart(task, [instance("a")], [instance("a"), instance("b")])
    with pytest.raises(DataError, match="the first 'held'"):
        check_apart(task, [instance("a", seed=1)], [instance("held", seed=1)])
    check_apart(task, [instance("a")], [instance("b")])  # Told apart by their ids alone.


def test_a_person_asks_for_an_instance_by_its_id():
    task = GuessTheNumber(Settings())
    assert instance_of(task, "evaluation-3").metadata["secret"] == 4
    with pytest.raises(DataError, match="expected the id of an instance, received 'nobody'"):
        instance_of(task, "nobody")


# -------------------------------------------------------------------------------------------------------------- scores


def trajectory(stop_reason=StopReason.DONE, ending=None, rewards=(-0.1, None, 1.0)):
    turns = tuple(
        Turn(index=number, text="t", well_formed=True, reward=reward) for number, reward in enumerate(rewards, start=1)
    )
    return Trajectory(id="t", group_id="g", question=instance("i"), stop_reason=stop_reason, turns=turns, ending=ending)


def test_the_total_is_the_sum_of_the_turns():
    score = build_score(GuessTheNumber(Settings()))
    ended = score(trajectory(ending=Ending(success=True, parts={"secret": 3})))
    assert ended.reward == TaskReward(total=0.9, success=True, parts={"secret": 3})


def test_a_budget_that_ends_it_is_a_failure_and_may_cost():
    class Costly(GuessTheNumber):
        unfinished_reward = -2.0

    score = build_score(Costly(Settings()))
    assert score(trajectory(StopReason.MAX_TURNS, rewards=(-0.1,))).reward == TaskReward(total=-2.1, success=False)


def test_a_task_without_success_does_not_say_that_it_failed():
    class Silent(GuessTheNumber):
        says_success = False

    assert build_score(Silent(Settings()))(trajectory(StopReason.MAX_TURNS)).reward.success is None


def test_a_failure_of_the_infrastructure_is_never_scored():
    with pytest.raises(ValueError, match="leave it out of scores"):
        build_score(GuessTheNumber(Settings()))(trajectory(StopReason.TASK_FAILED))


def test_a_score_of_its_own_is_checked():
    class Wrong(GuessTheNumber):
        def score(self, trajectory):
            return 1.0

    class Broken(GuessTheNumber):
        def score(self, trajectory):
            return TaskReward(total=float("nan"), success=True)

    with pytest.raises(
        TaskError, match=r"test_instances\.py:\d+: .*score of the task guess .*expected a TaskReward, received 1\.0"
    ):
        build_score(Wrong(Settings()))(trajectory())
    with pytest.raises(TaskError, match=r"test_instances\.py:\d+: .*raised ValidationError"):
        build_score(Broken(Settings()))(trajectory())
