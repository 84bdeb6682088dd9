import random

import pytest

from workflow_r1.methods.aflow.archive import (
    Round,
    best_round,
    candidates,
    choose_parent,
    is_stuck,
    parent_probabilities,
)
from workflow_r1.methods.graphs import WorkflowGraph

GRAPH = WorkflowGraph.model_validate(
    {"nodes": [{"name": "a", "operator": "Custom", "arguments": {"task": "{question}"}}], "output": "{a}"}
)


def rounds(*scores: float | None, calls: tuple[float, ...] = ()) -> list[Round]:
    return [
        Round(
            number=number,
            parent=None,
            modification="",
            graph=None if score is None else GRAPH,
            score=score,
            calls_per_question=calls[number - 1] if calls else 1.0,
        )
        for number, score in enumerate(scores, start=1)
    ]


def test_parent_probabilities_are_those_of_aflow() -> None:
    # softmax(0.2 * (0, -2, -5, -58)) = (.4904, .3287, .1804, .0000) / sum; 0.3/4 + 0.7 of it.
    found = parent_probabilities([0.70, 0.68, 0.65, 0.12])
    assert found == pytest.approx([0.418, 0.305, 0.201, 0.075], abs=1e-3)
    assert sum(found) == pytest.approx(1)
    assert parent_probabilities([0.3]) == [pytest.approx(1)]


def test_the_first_round_can_always_be_built_on_and_the_best_of_the_others() -> None:
    tried = rounds(0.1, 0.5, None, 0.9, 0.2, 0.7)
    assert [each.number for each in candidates(tried, 4)] == [1, 4, 6, 2]
    assert [each.number for each in candidates(tried[:1], 4)] == [1]


def test_parents_are_drawn_in_their_proportions() -> None:
    tried = rounds(0.65, 0.70, 0.12, 0.68)
    rng = random.Random(0)
    drawn = [choose_parent(tried, sample=4, rng=rng).number for _ in range(20_000)]
    shares = [drawn.count(number) / len(drawn) for number in (2, 4, 1, 3)]
    assert shares == pytest.approx([0.418, 0.305, 0.201, 0.075], abs=0.015)


def test_the_best_may_be_the_first_and_between_equals_is_the_cheaper() -> None:
    assert best_round(rounds(0.5, 0.4, None)).number == 1
    assert best_round(rounds(0.5, 0.5, 0.5, calls=(3.0, 1.0, 1.0))).number == 2


def test_search_is_stuck_when_the_best_three_stay_the_same() -> None:
    scores = [0.5, 0.6, 0.7, 0.1, 0.2, None, 0.3, 0.1]
    assert not is_stuck(rounds(*scores[:7]), 5)
    assert is_stuck(rounds(*scores), 5)
    assert not is_stuck(rounds(*scores[:4], 0.9, *scores[5:]), 5)
    assert not is_stuck(rounds(*scores), 0)
