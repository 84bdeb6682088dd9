"""The floor and the ceilings."""

import pytest

from workflow_r1.config.methods import MethodsConfig
from workflow_r1.errors import ConfigError
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.methods import METHODS
from workflow_r1.operators import OPERATORS
from workflow_r1.retrieval import ScriptedSearch
from workflow_r1.trajectory import Message, Question

PARIS = Question(id="q1", text="What is the <answer> of France?", golden_answers=("Paname", "Paris"))
ROME = Question(id="q2", text="What is the capital of Italy?", golden_answers=("Rome",))
EVERYTHING = "<reasoning>r</reasoning><answer>{}</answer><feedback>f</feedback><refined_query>q</refined_query>"


def answers(*texts: str) -> ScriptedChatModel:
    return ScriptedChatModel([f"<reasoning>r</reasoning><answer>{text}</answer>" for text in texts])


def test_random_calls_fit_their_operators_and_end_in_an_answer_that_came(run_method) -> None:
    chat = ScriptedChatModel(lambda messages: EVERYTHING.format("Rome"))
    questions = [ROME.model_copy(update={"id": f"q{i}"}) for i in range(60)]
    pool = tuple(name for name in OPERATORS if name != "Search")
    result = run_method("random+search", chat, *questions, pool=pool, search=ScriptedSearch())
    calls = [call for trajectory in result.trajectories for turn in trajectory.turns for call in turn.calls]
    assert all(call.valid for call in calls)
    assert {call.operator for call in calls} == set(OPERATORS)
    assert {len(trajectory.turns) - 1 for trajectory in result.trajectories} == {1, 2, 3, 4}
    assert {trajectory.answer for trajectory in result.trajectories} == {"Rome", "\u2205"}


def test_random_depends_on_the_seed_alone(run_method) -> None:
    def calls(seed: int) -> list[str]:
        chat = ScriptedChatModel(lambda messages: EVERYTHING.format("Rome"))
        (trajectory,) = run_method("random", chat, ROME, seed=seed).trajectories
        return [turn.text for turn in trajectory.turns]

    assert calls(1) == calls(1)
    assert any(calls(1) != calls(seed) for seed in (2, 3, 4))


def test_random_needs_an_operator(run_method) -> None:
    with pytest.raises(ConfigError, match=r"environment\.operators"):
        run_method("random", ScriptedChatModel(), ROME, pool=())


def test_oracle_choice_takes_the_right_one_among_what_came(run_method) -> None:
    chat = answers("Lyon", "Nice", "Lille", "the paris", "Metz", "Brest")
    result = run_method("oracle-choice", chat, PARIS)
    assert (result.trajectories[0].answer, result.figures.llm_calls) == ("the paris", 6.0)
    assert result.figures.exact_match.successes == 1


def test_oracle_choice_invents_nothing(run_method) -> None:
    assert run_method("oracle-choice", answers(*["Lyon"] * 6), PARIS).trajectories[0].answer == "Lyon"


def test_oracle_choice_knows_all_golden_answers_of_a_question_that_is_asked_twice(run_method) -> None:
    again = ROME.model_copy(update={"id": "q3", "golden_answers": ("Roma",)})
    result = run_method("oracle-choice", answers(*["Roma"] * 12), again, ROME)
    assert [trajectory.answer for trajectory in result.trajectories] == ["Roma", "Roma"]


def test_oracle_choice_needs_golden_answers(run_method) -> None:
    with pytest.raises(ConfigError, match="golden answers"):
        run_method("oracle-choice", answers(), ROME.model_copy(update={"golden_answers": ()}))


def test_every_method_names_settings_that_there_are_or_has_none() -> None:
    sections = {METHODS[name].settings_name for name in METHODS} & set(MethodsConfig.model_fields)
    assert sections == set(MethodsConfig.model_fields)
    assert METHODS["oracle-choice+search"].settings_name == "self_consistency"


def test_oracle_choice_draws_what_cot_and_self_consistency_draw(run_method) -> None:
    def asked(method: str) -> set[tuple[tuple[Message, ...], float, int]]:
        chat = ScriptedChatModel(lambda messages: EVERYTHING.format("Rome"))
        run_method(method, chat, ROME)
        return {(request.messages, request.temperature, request.sample_index) for request in chat.requests}

    assert asked("oracle-choice") == asked("cot") | asked("self-consistency")
