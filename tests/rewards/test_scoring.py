"""The configured reward: parts by weight, functions of the user's own, and the cost."""

import math
import re

import pytest

from workflow_r1.errors import ConfigError, RewardError
from workflow_r1.rewards import CostConfig, RewardConfig, Scorer, score_trajectory
from workflow_r1.trajectory import (
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    TaskReward,
    Trajectory,
    Turn,
    Usage,
)

QUESTION = Question(id="q", text="Capital of France?", golden_answers=("Paris",))
RIGHT, WRONG, MALFORMED = "<answer>Paris</answer>", "<answer>Lyon, Paris</answer>", "hm"


def trajectory(answer=RIGHT, *, id="t", turns=1, tokens=0, stop_reason=StopReason.ANSWERED, cost=0.0, reward=None):
    usage = Usage(llm_calls=1, prompt_tokens=tokens, cost=cost)
    call = OperatorCall(operator="Search", input="x", observation="y", valid=True, usage=usage)
    think = "<think>so</think>"
    written = [f"{think}<tool>Search: x</tool>"] * (turns - 1) + [f"{think}{answer}"]
    return Trajectory(
        id=id, group_id="g", question=QUESTION, stop_reason=stop_reason,
        turns=tuple(
            Turn(index=index, text=text, well_formed=True, calls=(call,), reward=reward)
            for index, text in enumerate(written, start=1)
        ),
    )  # fmt: skip


def total(scorer, each):
    return scorer.one(each).reward.total


def test_the_default_is_the_tasks_own_reward_untouched():
    for each in (trajectory(RIGHT), trajectory(WRONG), trajectory(MALFORMED, stop_reason=StopReason.MAX_TURNS)):
        assert Scorer().one(each) == score_trajectory(each)
    failed = trajectory(stop_reason=StopReason.OPERATOR_FAILED)
    assert Scorer()([failed, trajectory()]) == [failed, score_trajectory(trajectory())]


def test_parts_by_weight_keep_their_own_values_and_the_figures_of_the_answer():
    scorer = Scorer(RewardConfig(weights={"f1": 2.0, "format": 0.5}))
    found = scorer.one(trajectory(WRONG)).reward
    assert isinstance(found, TaskReward)
    assert (found.total, found.success) == (pytest.approx(2 * 2 / 3), False)
    assert found.parts == pytest.approx({"answer": 0.0, "format": 0.0, "exact_match": 0.0, "f1": 2 / 3})
    malformed = trajectory(f"Well. {RIGHT}")
    assert total(scorer, malformed) == 2 - 0.25


def test_answer_plus_format_by_name_is_the_default_reward():
    scorer = Scorer(RewardConfig(weights={"answer": 1.0, "format": 1.0}))
    same = Scorer(RewardConfig(weights={"task": 1.0}))
    for each in (trajectory(RIGHT), trajectory(WRONG), trajectory(MALFORMED, stop_reason=StopReason.MAX_TURNS)):
        assert total(scorer, each) == total(same, each) == score_trajectory(each).reward.total


def test_success_and_turn_rewards_are_parts():
    scorer = Scorer(RewardConfig(weights={"success": 3.0, "turn_rewards": 0.5}))
    assert total(scorer, trajectory(RIGHT, turns=4, reward=0.25)) == 3 + 0.5
    assert total(scorer, trajectory(WRONG)) == 0
    assert scorer.turn_weight == 0.5
    assert Scorer().turn_weight == 0
    assert Scorer(counts_turn_rewards=True).turn_weight == 1
    assert Scorer(RewardConfig(weights={"task": 2.0, "turn_rewards": 1.0}), counts_turn_rewards=True).turn_weight == 3


def test_a_part_that_does_not_exist_names_those_that_do():
    with pytest.raises(ConfigError, match=r"expected parts among answer, format, .*turn_rewards.* received 'excat'"):
        Scorer(RewardConfig(weights={"excat": 1.0})).one(trajectory())


def test_a_task_that_does_not_say_success_is_told_apart_from_one_that_failed():
    def own(each):
        return ScoredTrajectory.of(each, TaskReward(total=1.0, success=None))

    with pytest.raises(ConfigError, match="expected the task to say whether trajectory 't' succeeded"):
        Scorer(RewardConfig(weights={"success": 1.0}), own=own).one(trajectory())


# ------------------------------------------------------------------------------------------------------ own functions

FUNCTIONS = '''
"""Rewards of my own."""


def brevity(trajectory):
    return -0.1 * len(trajectory.turns)


def best_of_group(group):
    most = max(each.reward.total for each in group)
    return [each.reward.total == most for each in group]


def raises(trajectory):
    return len(trajectory.turns) / 0


def gives(trajectory):
    return VALUE


def gives_to_group(group):
    return VALUE


async def waits(trajectory):
    return 1.0


def of_two(trajectory, other):
    return 1.0


def format(trajectory):
    return 1.0


VALUE = 1.0
'''


@pytest.fixture
def functions(tmp_path):
    file = tmp_path / "my_rewards.py"
    file.write_text(FUNCTIONS)
    return lambda **weights: Scorer(
        RewardConfig(weights={f"{file}:{name}": weight for name, weight in weights.items()})
    )


def value_of(scorer, value):
    """Let the user's file return another value."""
    scorer._parts[0].values.function.__globals__["VALUE"] = value
    return scorer


def test_a_function_of_a_trajectory_sees_the_tasks_own_reward_and_is_a_part_of_its_name(functions):
    scorer = functions(brevity=2.0)
    assert not scorer.is_relative
    found = scorer.one(trajectory(turns=3)).reward
    assert found.total == pytest.approx(-0.6)
    assert found.parts["brevity"] == pytest.approx(-0.3)
    assert found.success
    assert found.parts["exact_match"] == 1.0


def test_a_function_of_a_group_sees_all_of_it_but_the_failures_of_the_infrastructure(functions):
    scorer = functions(best_of_group=1.0)
    assert scorer.is_relative
    failed = trajectory(stop_reason=StopReason.OPERATOR_FAILED)
    scored = scorer([trajectory(WRONG), failed, trajectory(RIGHT)])
    assert [each.reward.total if isinstance(each, ScoredTrajectory) else None for each in scored] == [0.0, None, 1.0]
    assert scorer([failed]) == [failed]


def test_an_error_names_the_users_file_and_line(functions, tmp_path):
    with pytest.raises(RewardError) as caught:
        functions(raises=1.0).one(trajectory(id="t-7"))
    line = FUNCTIONS.splitlines().index("    return len(trajectory.turns) / 0") + 1
    assert str(caught.value).startswith(f"{tmp_path / 'my_rewards.py'}:{line}: the reward function raises raised")
    assert "ZeroDivisionError" in str(caught.value)
    assert "'t-7'" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(math.nan, "nan"), (math.inf, "inf"), (None, "None"), ("0.5", "'0.5'"), ([1.0], "[1.0]"), (10**400, "1000")],
    ids=["nan", "infinite", "none", "text", "list", "huge"],
)
def test_a_value_that_is_no_finite_number_names_the_users_file_and_line(functions, tmp_path, value, shown):
    scorer = value_of(functions(gives=1.0), value)
    line = FUNCTIONS.splitlines().index("def gives(trajectory):") + 1
    place = re.escape(
        f"{tmp_path / 'my_rewards.py'}:{line}: expected the reward function gives to return a finite number"
    )
    with pytest.raises(RewardError, match=f"{place}, received {re.escape(shown)}"):
        scorer.one(trajectory())


@pytest.mark.parametrize("value", [1.0, [1.0], [1.0, math.nan], None, "ab", iter([1.0, 2.0])])
def test_a_group_must_get_one_number_each(functions, value):
    with pytest.raises(RewardError, match=r"my_rewards\.py:.* expected the reward function gives_to_group to return"):
        value_of(functions(gives_to_group=1.0), value)([trajectory(), trajectory()])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("waits", "expected a plain function, found an async one"),
        ("of_two", "expected a function of one argument"),
        ("VALUE", "expected a function, found float"),
        ("brevty", "did you mean 'brevity'"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_before_anything_runs(functions, name, message):
    with pytest.raises(ConfigError, match=message):
        functions(**{name: 1.0})


def test_a_file_that_cannot_be_imported_is_refused(tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ConfigError, match="which is not installed"):
        Scorer(RewardConfig(weights={f"{tmp_path / 'broken.py'}:f": 1.0}))
    (tmp_path / "raises.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match="expected to import it, received ZeroDivisionError"):
        Scorer(RewardConfig(weights={f"{tmp_path / 'raises.py'}:f": 1.0}))


def test_two_parts_of_one_name_are_refused(functions, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("def brevity(trajectory):\n    return 1.0\n\ndef cost(trajectory):\n    return 1.0\n")
    weights = {f"{tmp_path / 'my_rewards.py'}:brevity": 1.0, f"{other}:brevity": 1.0}
    with pytest.raises(ConfigError, match="expected parts of different names, received 'brevity'"):
        Scorer(RewardConfig(weights=weights))
    with pytest.raises(ConfigError, match="received 'cost'"):
        Scorer(RewardConfig(weights={f"{other}:cost": 1.0}))
    with pytest.raises(
        ConfigError, match="expected a function of another name than answer, format"
    ):  # A figure of the task's own would hide behind it.
        functions(format=1.0).one(trajectory())


# --------------------------------------------------------------------------------------------------------------- cost


def test_the_cost_is_compared_within_the_group_and_shown_as_a_part():
    scorer = Scorer(RewardConfig(cost=CostConfig(dial=0.4, kind="turns")))
    assert scorer.is_relative
    scored = scorer([trajectory(turns=1), trajectory(turns=4), trajectory(WRONG, turns=1)])
    assert [each.reward.total for each in scored] == pytest.approx([1.0, 1 - 0.4 * 3 / 4, 0.0])
    assert [each.reward.parts["cost"] for each in scored] == pytest.approx([0.0, -0.3, 0.0])
    assert [each.reward.success for each in scored] == [True, True, False]
    alone = scorer.one(trajectory(turns=4)).reward
    assert (alone.total, alone.parts["cost"]) == (1.0, 0.0)


def test_a_failure_of_the_infrastructure_is_not_compared_with():
    scorer = Scorer(RewardConfig(cost=CostConfig(dial=0.4, kind="turns")))
    cheap_failure = trajectory(turns=1, stop_reason=StopReason.OPERATOR_FAILED)
    _, dear = scorer([cheap_failure, trajectory(turns=4)])
    assert dear.reward.total == 1.0


def test_an_unknown_price_is_refused_with_its_remedy():
    scorer = Scorer(RewardConfig(cost=CostConfig(dial=0.4, kind="money")))
    with pytest.raises(ConfigError, match=r"reward.cost.kind: expected the price of every service.*\[prices\]"):
        scorer([trajectory(cost=None), trajectory(cost=1.0)])


def test_a_service_that_does_not_count_its_tokens_is_refused_where_they_are_weighed():
    scorer = Scorer(RewardConfig(cost=CostConfig(dial=0.4, kind="tokens")))
    with pytest.raises(ConfigError, match=r"reward.cost.kind: expected token figures .* \"calls\""):
        scorer([trajectory(tokens=0), trajectory(tokens=7)])
