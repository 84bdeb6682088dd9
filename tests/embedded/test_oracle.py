"""The oracle: its ways are worth what it thinks, and it is clearly ahead of every fixed script where relations differ."""

import pytest
from script_play import exact_match, play

from workflow_r1.config import load_run_config
from workflow_r1.embedded import STRATEGIES, Demonstrator, EmbeddedConfig, EmbeddedWorld
from workflow_r1.embedded.language import Chain, write_chain
from workflow_r1.embedded.oracle import oracle, ways
from workflow_r1.trajectory import Question

PRESET = load_run_config("embedded-hard")


@pytest.mark.parametrize("recall", [0.3, 0.95])
def test_each_way_is_right_as_often_and_takes_as_many_calls_as_the_oracle_thinks(recall: float) -> None:
    config = EmbeddedConfig(missing={"spouse": 0.4}, outdated={"spouse": 0.3}, recall={"spouse": recall})
    world = EmbeddedWorld(config)
    questions = [
        Question(
            id=name,
            text=write_chain(Chain(name, ("spouse",))),
            golden_answers=(world.entities[name].facts["spouse"],),
        )
        for name in world.by_kind["train", "person"]
    ]
    for way in ways(config, "spouse"):
        played = play(world, Demonstrator(world, way.strategy), questions)
        calls = sum(len(turn.calls) for trajectory in played for turn in trajectory.turns)
        # 360 facts: three standard errors of a share are at most 0.08, and a missing fact takes two calls.
        assert exact_match(played) == pytest.approx(way.right, abs=0.08), way
        assert calls / len(played) == pytest.approx(way.calls, abs=0.16), way


def test_it_takes_each_relation_as_its_facts_deserve() -> None:
    best = oracle(EmbeddedWorld(PRESET.embedded), price=0.05).by_relation
    assert (best["spouse"].search, best["spouse"].check) == (1, 0)
    assert (best["company"].search, best["company"].check) == (1, 1)
    assert (best["founder"].search, best["founder"].review, best["founder"].ensemble) == (0, 0, 0)
    assert best["star"].search == 0
    assert best["star"].review + best["star"].ensemble == 1


def test_no_fixed_script_comes_near_it_in_the_hard_preset_and_some_do_in_the_quickstart() -> None:
    def gap(name: str) -> float:
        config = load_run_config(name)
        world = EmbeddedWorld(config.embedded.model_copy(update={"reading": 1.0, "padding": (0, 0)}))
        questions = world.questions("evaluation", 150)
        calls = config.environment.max_operator_calls
        best = max(
            exact_match(play(world, Demonstrator(world, STRATEGIES[script]), questions, calls=calls))
            for script in (
                "ask hop by hop",
                "search, else ask",
                "search, else ask three times",
                "search, else ask and review",
            )
        )
        return exact_match(play(world, oracle(world, price=0.05), questions, calls=calls)) - best

    # 150 questions: three standard errors of a paired difference are at most 0.15.
    assert gap("embedded-hard") > 0.3
    assert gap("embedded") < 0.05


def test_a_tight_budget_cuts_what_spends_without_choosing() -> None:
    world = EmbeddedWorld(PRESET.embedded.model_copy(update={"reading": 1.0, "padding": (0, 0)}))
    questions = world.questions("evaluation", 100)
    spender = Demonstrator(world, STRATEGIES["search, else ask three times"])
    calls = 8  # For chains of four to six hops.
    tight = exact_match(play(world, spender, questions, calls=calls))
    assert exact_match(play(world, spender, questions, calls=30)) >= tight + 0.03
    given_up = sum(trajectory.answer == "unknown" for trajectory in play(world, spender, questions, calls=calls))
    assert given_up > sum(t.answer == "unknown" for t in play(world, spender, questions, calls=30))
