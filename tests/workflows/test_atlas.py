import dataclasses

import pytest

from workflow_r1.trajectory import AnswerReward, StopReason
from workflow_r1.trajectory.index import IndexRow
from workflow_r1.trajectory.outcome import Outcome
from workflow_r1.workflows import make_atlas, pair_questions


def row(name, operators, *, step=1, right=True, question="q", **changes):
    reward = AnswerReward(
        total=1.0 if right else -0.5, answer=float(right), format=-0.5 * (not right), exact_match=float(right), f1=0.0
    )
    known = IndexRow(
        id=name, group_id="g", question_id=question, question="Who?", question_class="all", step=step, policy_version=step,
        outcome=Outcome.RIGHT if right else Outcome.WRONG, stop_reason=StopReason.ANSWERED, reward=reward, answer="Ann",
        operators=tuple(operators.split()), num_turns=1, num_policy_tokens=9, seconds=2.0, cost=0.5, block=0, skip=0, size=1,
    )  # fmt: skip
    return dataclasses.replace(known, **changes)


def test_parts_shares_rewards_and_costs():
    rows = [
        *(row(f"a{number}", "Ask", step=1, right=number == 0, cost=float(number)) for number in range(3)),
        row("b", "Search Ask", step=1),
        row("c", "Search", step=2),
        row("d", "Search", step=3, cost=None),
        row("e", "", step=3, right=False, reward=None, cost=None),
        row("f", "Ask", step=3, outcome=Outcome.FAILED),
    ]
    atlas = make_atlas(rows, most=1)
    assert [(part.name, part.first_step, part.last_step, part.num, part.num_workflows) for part in atlas.parts] == [
        ("start", 1, 1, 4, 2), ("middle", 2, 2, 1, 1), ("end", 3, 3, 2, 2),
    ]  # fmt: skip
    (first,) = atlas.parts[0].workflows
    assert (first.operators, first.num, first.share, first.example) == (("Ask",), 3, 0.75, "a0")
    assert (first.mean_reward, first.success) == (pytest.approx(0.0), pytest.approx(1 / 3))
    assert (first.mean_cost, first.mean_seconds) == (1.0, 2.0)
    (last,) = atlas.parts[2].workflows
    assert (last.operators, last.mean_reward, last.success, last.mean_cost) == ((), None, None, None)
    assert [(each.step, each.operators, each.share) for each in atlas.by_step] == [
        (1, ("Ask",), 0.75), (2, ("Search",), 1.0), (3, (), 0.5),
    ]  # fmt: skip
    assert atlas.num_left_out == 1


@pytest.mark.parametrize("steps", [(None, None), (1, 2)])
def test_without_three_steps_there_is_one_part(steps):
    atlas = make_atlas([row("a", "Ask", step=steps[0]), row("b", "Ask", step=steps[1])])
    assert [(part.name, part.first_step, part.last_step, part.num) for part in atlas.parts] == [("all", *steps, 2)]


def test_no_rows_make_an_empty_atlas():
    atlas = make_atlas([])
    assert (atlas.parts, atlas.by_step, atlas.num_left_out) == ((), (), 0)


def test_steps_are_shared_out_in_thirds():
    atlas = make_atlas([row(str(step), "Ask", step=step) for step in range(1, 12)])
    assert [(part.first_step, part.last_step) for part in atlas.parts] == [(1, 4), (5, 8), (9, 11)]


def test_pairs_of_one_question_the_most_telling_first():
    rows = [
        row("same", "Ask", question="d", step=1), row("same'", "Ask", question="d", step=2),
        row("more", "Ask", question="c", step=1), row("more'", "Search Ask", question="c", step=2),
        row("lost", "Ask", question="b", step=1), row("lost'", "Ask", question="b", step=2, right=False),
        row("won", "Ask", question="a", step=1, right=False), row("won", "Ask", question="a", step=1),
        row("won'", "Search", question="a", step=3),
        row("once", "Ask", question="e", step=1),
        row("failed", "Ask", question="f", step=1), row("failed", "Ask", question="f", step=2, outcome=Outcome.FAILED),
    ]  # fmt: skip
    assert [(pair.question_id, pair.before.step, pair.after.id) for pair in pair_questions(rows)] == [
        ("a", 1, "won'"), ("b", 1, "lost'"), ("c", 1, "more'"), ("d", 1, "same'"),
    ]  # fmt: skip


def test_pairs_of_two_evaluations():
    before = [row("1", "Ask", question="a", step=None, right=False), row("2", "Ask", question="b", step=None)]
    after = [row("3", "Search", question="a", step=None)]
    (pair,) = pair_questions(before, after)
    assert (pair.question_id, pair.before.id, pair.after.id) == ("a", "1", "3")


def test_two_questions_that_share_an_id_are_no_pair():
    """The quickstart's world and the hard one number their questions alike."""
    before = [row("1", "Ask", question="a", step=None, right=False)]
    after = [dataclasses.replace(row("2", "Ask", question="a", step=None), question="Where?")]
    assert pair_questions(before, after) == ()
    assert len(pair_questions(before, [*after, row("3", "Ask", question="a", step=None)])) == 1
