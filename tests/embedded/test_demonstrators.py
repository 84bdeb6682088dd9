"""The demonstrators: well formed, honest about what they were shown, and ordered as orchestration should be."""

import re

import pytest
from script_play import exact_match, play

from workflow_r1.embedded import STRATEGIES, WARM_START, Demonstrator, EmbeddedWorld, Strategy
from workflow_r1.operators import OPERATORS
from workflow_r1.trajectory import ScoredTrajectory


@pytest.fixture(scope="module")
def world() -> EmbeddedWorld:
    return EmbeddedWorld(0)


def run(world: EmbeddedWorld, strategy: Strategy, num: int) -> list[ScoredTrajectory]:
    return play(world, Demonstrator(world, strategy), world.questions("evaluation", num))


def test_every_turn_is_well_formed_and_every_call_valid(world: EmbeddedWorld) -> None:
    for trajectory in run(world, WARM_START, 300):
        assert trajectory.reward.format == 0
        assert trajectory.stop_reason == "answered"
        assert all(call.valid for turn in trajectory.turns for call in turn.calls)


def test_names_and_years_that_are_written_were_shown_before(world: EmbeddedWorld) -> None:
    names = set(world.entities)
    for trajectory in run(world, WARM_START, 300):
        shown = set(re.findall(r"\w+", trajectory.prompt[0].content))
        for turn in trajectory.turns:
            written = set(re.findall(r"\w+", turn.text))
            values = {word for word in written if word in names or re.fullmatch("[0-9]{4}", word)}
            assert values <= shown, turn.text
            shown |= set(re.findall(r"\w+", turn.observation))


def test_all_eight_operators_are_demonstrated(world: EmbeddedWorld) -> None:
    called = {call.operator for t in run(world, WARM_START, 400) for turn in t.turns for call in turn.calls}
    assert called == set(OPERATORS)


def test_orchestration_pays_and_each_operator_earns_its_place(world: EmbeddedWorld) -> None:
    # 500 questions: a standard error is at most 0.022.
    reached = {name: exact_match(run(world, strategy, 500)) for name, strategy in STRATEGIES.items()}
    assert reached["ask the whole question"] < 0.47
    assert reached["ask the whole question three times"] < 0.60
    assert reached["ask hop by hop"] > reached["ask the whole question"] + 0.15
    assert reached["search, else ask"] > reached["search, else give up"] + 0.1
    assert reached["search, else ask"] > reached["ask hop by hop"] + 0.1
    assert reached["search, else ask three times"] > reached["search, else ask"]
    assert reached["search, else ask and review"] > reached["search, else ask"]
    assert reached["search, else ask three times"] > 0.95


def test_equal_seeds_give_equal_demonstrations(world: EmbeddedWorld) -> None:
    texts = [[turn.text for turn in t.turns] for t in run(world, WARM_START, 50)]
    assert texts == [[turn.text for turn in t.turns] for t in run(world, WARM_START, 50)]
