from random import Random

import numpy as np
import pytest

from workflow_r1.errors import DataError
from workflow_r1.methods.maas.controller import Controller, Draw
from workflow_r1.methods.maas.moves import MOVES, Move, Plan, carry_out_plan, draw_plan, moves_of
from workflow_r1.operators import OPERATORS, operator

POOL = {name: OPERATORS[name] for name in OPERATORS if name != "Search"}
NAMES = [move.name for move in MOVES]


@operator(purpose="Looks something up.")
async def look_up(query: str, count: int = 3) -> str:
    return query


def uniform(moves: list[Move]) -> Controller:
    made = Controller(np.eye(len(moves)))
    for value in made.parameters.values():
        value[...] = 0
    return made


def plan(*layers: tuple[str, ...]) -> Plan:
    return Plan((), tuple(tuple(NAMES.index(name) for name in layer) for layer in layers))


def run(drawn: Plan, moves: list[Move] | tuple[Move, ...] = MOVES) -> tuple[list[str], str]:
    """Carry out a plan; every operator answers with a number of its own."""
    workflow = carry_out_plan(drawn, moves, "Who?")
    calls: list[str] = []
    observations: list[str] | None = None
    while True:
        try:
            (call,) = next(workflow) if observations is None else workflow.send(observations)
        except StopIteration as stop:
            return calls, stop.value
        calls.append(call)
        number = len(calls)
        replies = {
            "MultiAnswerGenerate": f"[Answer 1] {number}a\n[Answer 2] {number}b\n[Answer 3] {number}c",
            "Review": f"Feedback: f{number}",
            "Search": "[1] Title: text",
            "LookUp": f"found {number}",
        }
        observations = [replies.get(call.split(":")[0], f"Answer: {number}")]


def calls_as_the_original_counts(drawn: Plan) -> int:
    """LLM calls in MaAS's code, whose SelfRefine is one call and whose ScEnsemble is asked about one solution, too."""
    num_calls, num_solutions = 0, 0
    for name in (NAMES[move] for layer in drawn.layers for move in layer):
        num_calls += {"MultiGenerateCoT": 3, "EarlyStop": 0}.get(name, 1)
        num_solutions = (
            1 if name == "Ensemble" else num_solutions + {"MultiGenerateCoT": 3, "EarlyStop": 0}.get(name, 1)
        )
    return num_calls + (num_solutions > 1)


def test_untrained_controller_draws_about_six_calls_a_question() -> None:
    # A simulation of MaAS's own code with six operators and uniform probabilities: mean 6.0, p90 12, at most 17.
    moves, rng = moves_of(POOL), Random(0)
    drawn = [draw_plan(uniform(moves), moves, np.ones(6), threshold=0.3, rng=rng) for _ in range(10_000)]
    calls = np.array([calls_as_the_original_counts(each) for each in drawn])
    assert calls.mean() == pytest.approx(6.0, abs=0.15)
    assert (calls > 12).mean() == pytest.approx(0.1, abs=0.015)
    assert calls.max() == 17
    assert all(len(draw.moves) == 2 for each in drawn for draw in each.draws)


@pytest.mark.parametrize(
    ("drawn", "mended"),
    [
        (("Ensemble", "SelfRefine"), ("Generate",)),
        (("EarlyStop", "GenerateCoT"), ("Generate",)),
        (("GenerateCoT", "EarlyStop"), ("Generate",)),
        (("SelfRefine", "GenerateCoT"), ("GenerateCoT", "SelfRefine")),
        (("SelfRefine", "GenerateCoT", "Search"), ("Search", "GenerateCoT", "SelfRefine")),
        (("MultiGenerateCoT", "Generate"), ("MultiGenerateCoT", "Generate")),
    ],
)
def test_first_layer_is_mended_and_a_stop_ends_the_plan(
    drawn: tuple[str, ...], mended: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = list(MOVES)
    made = uniform(moves)
    monkeypatch.setattr(
        made, "draw", lambda query, layer, previous, **_: Draw(tuple(NAMES.index(name) for name in drawn), previous)
    )
    found = draw_plan(made, moves, np.ones(7), threshold=0.3, rng=Random(0))
    assert tuple(NAMES[move] for move in found.layers[0]) == mended
    assert len(found.layers) == len(found.draws) == (1 if "EarlyStop" in drawn else 4)
    assert found.draws[0].moves == tuple(NAMES.index(name) for name in drawn)
    if len(found.layers) > 1:
        assert found.draws[1].previous == NAMES.index(mended[0])


def test_stop_in_a_later_layer_is_the_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    moves = list(MOVES)
    made = uniform(moves)
    layers = [("Generate",), ("EarlyStop", "SelfRefine")]
    monkeypatch.setattr(
        made, "draw", lambda query, layer, previous, **_: Draw(tuple(NAMES.index(n) for n in layers[layer]), previous)
    )
    found = draw_plan(made, moves, np.ones(7), threshold=0.3, rng=Random(0))
    assert [[NAMES[move] for move in layer] for layer in found.layers] == [["Generate"], ["EarlyStop", "SelfRefine"]]


def test_solutions_are_gathered_revised_and_chosen_among() -> None:
    calls, answer = run(plan(("MultiGenerateCoT", "SelfRefine"), ("Ensemble", "EarlyStop")))
    assert calls == [
        "MultiAnswerGenerate: Who?",
        "Review: <question>Who?</question><solution>1c</solution>",
        "Revise: <question>Who?</question><solution>1c</solution><feedback>f2</feedback>",
        "ScEnsemble: <query>Who?</query><solution>1a</solution><solution>1b</solution><solution>1c</solution>"
        "<solution>3</solution>",
    ]
    assert answer == "4"


def test_several_solutions_at_the_end_are_chosen_among_and_one_is_the_answer() -> None:
    calls, answer = run(plan(("Generate", "GenerateCoT")))
    assert [call.split(":")[0] for call in calls] == ["Custom", "AnswerGenerate", "ScEnsemble"]
    assert answer == "3"
    assert run(plan(("Generate",), ("Ensemble",)))[1] == "1"


def test_passages_stand_before_the_question_of_later_moves() -> None:
    calls, _ = run(plan(("Search", "GenerateCoT")))
    assert calls[1] == (
        "AnswerGenerate: Passages that a search found; they may or may not help:\n[1] Title: text\n\n"
        "The question:\nWho?"
    )


def test_plugin_that_takes_one_text_is_a_move() -> None:
    moves = moves_of({**POOL, "LookUp": look_up})
    assert [move.name for move in moves] == [*NAMES[:6], "LookUp"]
    assert run(Plan((), ((6,),)), moves) == (["LookUp: <query>Who?</query>"], "found 1")


def test_pool_decides_which_moves_there_are_and_one_must_make_a_solution() -> None:
    assert [move.name for move in moves_of({name: OPERATORS[name] for name in ("Custom", "Search")})] == [
        "Generate",
        "EarlyStop",
        "Search",
    ]
    with pytest.raises(DataError, match="or a plug-in that takes one text in the pool, received Review"):
        moves_of({"Review": OPERATORS["Review"]})
