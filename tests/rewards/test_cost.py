import itertools

import pytest

from workflow_r1.rewards import cost_of, cost_reductions
from workflow_r1.trajectory import Message, OperatorCall, Question, StopReason, Trajectory, Turn, Usage

RIGHT, MALFORMED_RIGHT, WRONG, MALFORMED_WRONG, NO_ANSWER = 1.0, 0.5, 0.0, -0.5, -1.5
"""The rewards that a question's answer and format can give."""


def weigh(members, dial):
    """Rewards with their cost, of members (reward, success, cost)."""
    rewards, successes, costs = (list(each) for each in zip(*members, strict=True))
    lost = cost_reductions(rewards=rewards, successes=successes, costs=costs, dial=dial)
    return [reward - each for reward, each in zip(rewards, lost, strict=True)]


@pytest.mark.parametrize("dial", [0.01, 0.5, 0.999])
def test_a_wrong_cheap_answer_never_stands_above_a_right_dear_one(dial):
    """Every group of three out of all rewards and three costs, in every order: 15^3 of them."""
    kinds = [
        (reward, reward in (RIGHT, MALFORMED_RIGHT), cost)
        for reward in (RIGHT, MALFORMED_RIGHT, WRONG, MALFORMED_WRONG, NO_ANSWER)
        for cost in (0.0, 1.0, 1000.0)
    ]
    for members in itertools.product(kinds, repeat=3):
        weighed = weigh(members, dial)
        right = [value for value, (_, success, _) in zip(weighed, members, strict=True) if success]
        wrong = [value for value, (_, success, _) in zip(weighed, members, strict=True) if not success]
        assert not right or not wrong or min(right) > max(wrong)
        # Nobody gains by being right, and a wrong one keeps what it had.
        assert all(value <= reward for value, (reward, _, _) in zip(weighed, members, strict=True))
        assert wrong == [reward for reward, success, _ in members if not success]


def test_nothing_is_gained_by_failing_fast():
    """Whatever wrong answers cost, nobody's reward changes."""
    right = [(RIGHT, True, 8.0), (RIGHT, True, 2.0)]
    results = {
        tuple(weigh([*right, (WRONG, False, one), (NO_ANSWER, False, other)], 0.4))
        for one, other in itertools.product((0.0, 1.0, 1e9), repeat=2)
    }
    assert len(results) == 1


def test_by_hand():
    """Costs 2, 8, 4 of right ones: 0, 6/8 and 2/8 of the dial of 0.4; the malformed one leads the wrong one by half."""
    members = [(RIGHT, True, 2.0), (RIGHT, True, 8.0), (MALFORMED_RIGHT, True, 4.0), (WRONG, False, 1.0)]
    assert weigh(members, 0.4) == pytest.approx([1.0, 1 - 0.4 * 0.75, 0.5 - 0.4 * 0.5 * 0.25, 0.0])
    assert weigh(members[:2], 0.4) == pytest.approx([1.0, 0.7])


@pytest.mark.parametrize(
    "members",
    [
        [(WRONG, False, 1.0), (WRONG, False, 5.0)],  # none right
        [(RIGHT, True, 5.0), (WRONG, False, 1.0)],  # one right: there is nothing to compare it with
        [(RIGHT, True, 3.0), (RIGHT, True, 3.0)],  # equal costs
        [(RIGHT, True, 0.0), (RIGHT, True, 0.0)],  # no costs
        [(0.3, True, 9.0), (0.7, False, 1.0), (0.3, True, 1.0)],  # the reward itself prefers the wrong one
        [(RIGHT, True, 9.0)],
        [],
    ],
)
def test_without_a_right_answer_that_is_dearer_than_another_nothing_is_lost(members):
    assert (weigh(members, 0.9) if members else []) == [reward for reward, _, _ in members]


def test_the_unit_of_the_cost_cancels():
    members = [(RIGHT, True, 2.0), (RIGHT, True, 7.0), (WRONG, False, 1.0)]
    in_cents = [(reward, success, 100 * cost) for reward, success, cost in members]
    assert weigh(members, 0.3) == pytest.approx(weigh(in_cents, 0.3))


def test_each_kind_of_cost():
    """Two turns; one calls the LLM twice and the search once. The policy is behind a server for its second turn."""
    call = OperatorCall(
        operator="Search", input="x", observation="y", valid=True,
        usage=Usage(llm_calls=2, prompt_tokens=30, completion_tokens=5, searches=1, cost=0.5),
    )  # fmt: skip
    turns = (
        Turn(index=1, text="a", token_ids=(1, 2), context_token_ids=(3,), well_formed=True, calls=(call,)),
        Turn(index=2, text="b", well_formed=True, usage=Usage(llm_calls=1, prompt_tokens=7, cost=0.25)),
    )
    trajectory = Trajectory(
        id="t", group_id="g", question=Question(id="q", text="?", golden_answers=("y",)),
        prompt=(Message(role="user", content="?"),), prompt_token_ids=(5, 6, 7), turns=turns,
        stop_reason=StopReason.ANSWERED, seconds=1.5,
    )  # fmt: skip
    found = {kind: cost_of(trajectory, kind) for kind in ("tokens", "calls", "turns", "seconds", "money")}
    assert found == {"tokens": 30 + 5 + 7 + 6, "calls": 3, "turns": 2, "seconds": 1.5, "money": 0.75}
    unpriced = call.model_copy(update={"usage": Usage(llm_calls=1, cost=None)})
    first = turns[0].model_copy(update={"calls": (unpriced,)})
    assert cost_of(trajectory.model_copy(update={"turns": (first, turns[1])}), "money") is None
    # Of a service that does not count its tokens, they are unknown, and so is what they cost.
    uncounted = call.model_copy(update={"usage": Usage(llm_calls=1)})
    unknown = trajectory.model_copy(
        update={"turns": (turns[0].model_copy(update={"calls": (call, uncounted)}), turns[1])}
    )
    assert (cost_of(unknown, "tokens"), cost_of(unknown, "calls")) == (None, 4)
