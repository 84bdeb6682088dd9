"""ReAct: its steps, how they become turns, and what is done with steps that cannot be understood."""

import pytest

from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.inference import FailingChatModel, ScriptedChatModel
from workflow_r1.methods.react import FINISH, LAST_STEP, NO_ACTION, read_step
from workflow_r1.retrieval import Passage, ScriptedSearch
from workflow_r1.trajectory import Question, StopReason

PARIS = Question(id="q1", text="What is the capital of France?", golden_answers=("Paris",))
FRANCE = Passage(id="p", title="France", text="Its capital is Paris.", score=1.0)


def test_a_search_then_the_answer(run_method) -> None:
    chat = ScriptedChatModel([" I look it up.\nAction 1: Search[France]", " Clear.\nAction 2: Finish[Paris]"])
    search = ScriptedSearch({"France": [FRANCE]})
    result = run_method("react+search", chat, PARIS, search=search)
    (trajectory,) = result.trajectories
    assert trajectory.reward.total == 1.0
    assert [turn.text for turn in trajectory.turns] == [
        "<think>I look it up.</think><tool>Search: France</tool>",
        "<think>Clear.</think><answer>Paris</answer>",
    ]
    assert [turn.usage.llm_calls for turn in trajectory.turns] == [1, 1]
    assert trajectory.policy_usage.llm_calls == 2 and trajectory.usage.llm_calls == 0
    second = chat.requests[1].messages[0].content
    assert second.endswith(
        f"Question: {PARIS.text}\nThought 1: I look it up.\nAction 1: Search[France]\n"
        "Observation 1: [1] France: Its capital is Paris.\n\nThought 2:"
    )
    assert all(request.stop == ("\nObservation",) and request.temperature == 0 for request in chat.requests)


def test_the_prompt_lists_the_pool_and_the_answer_form(run_method) -> None:
    chat = ScriptedChatModel(["x\nAction: Finish[Paris]"])
    run_method("react", chat, PARIS, pool=("Review", "AnswerGenerate"))
    prompt = chat.requests[0].messages[0].content
    assert "- Review[<question>...</question> <solution>...</solution>]" in prompt
    assert "a name, a date, a number, yes or no, as short as it can be" in prompt
    assert "Search" not in prompt


def test_operators_that_ask_the_llm_are_counted_apart(run_method) -> None:
    replies = [" Ask.\nAction: AnswerGenerate[Capital?]", "<reasoning>r</reasoning><answer>Paris</answer>"]
    chat = ScriptedChatModel([*replies, "\nAction: Finish[Paris]"])
    (trajectory,) = run_method("react", chat, PARIS).trajectories
    assert (trajectory.usage.llm_calls, trajectory.policy_usage.llm_calls) == (1, 2)
    assert "Observation 1: Reasoning: r\nAnswer: Paris" in chat.requests[2].messages[0].content


def test_a_step_without_an_action_is_told_so_and_the_loop_goes_on(run_method) -> None:
    chat = ScriptedChatModel([" Hm, hard.", " Again.\nAction: Finish[Paris]"])
    (trajectory,) = run_method("react", chat, PARIS).trajectories
    assert trajectory.answer == "Paris"
    assert [turn.well_formed for turn in trajectory.turns] == [False, True]
    assert f"Thought 1: Hm, hard.\nObservation 1: {NO_ACTION}\n" in chat.requests[1].messages[0].content


def test_an_unknown_action_or_wrong_arguments_are_explained_by_the_environment(run_method) -> None:
    chat = ScriptedChatModel(["a\nAction: Lookup[x]", "b\nAction: Review[x]", "c\nAction: Finish[Paris]"])
    (trajectory,) = run_method("react", chat, PARIS).trajectories
    assert "Observation 1: There is no operator 'Lookup'" in chat.requests[1].messages[0].content
    assert "Observation 2: Review was not run: " in chat.requests[2].messages[0].content
    assert trajectory.answer == "Paris"


def test_the_last_step_must_finish(run_method) -> None:
    chat = ScriptedChatModel(
        lambda messages: " More.\nAction: AnswerGenerate[x]<answer>y</answer><reasoning>r</reasoning>"
    )
    (trajectory,) = run_method("react", chat, PARIS, react={"max_steps": 3}).trajectories
    assert (trajectory.stop_reason, trajectory.answer, len(trajectory.turns)) == (StopReason.ANSWERED, "\u2205", 3)
    asked = [request.messages[0].content for request in chat.requests if "Thought 1" in request.messages[0].content]
    assert [LAST_STEP in text for text in asked] == [False, False, True]


def test_a_failing_llm_is_infrastructure(run_method) -> None:
    result = run_method("react", FailingChatModel(ServiceUnavailableError("down")), PARIS)
    assert result.trajectories[0].stop_reason is StopReason.SAMPLER_FAILED
    assert result.figures.num_failed == 1


def test_above_temperature_zero_the_seed_tells_samples_apart(run_method) -> None:
    def sample_index(seed: int, temperature: float) -> int:
        chat = ScriptedChatModel(["\nAction: Finish[Paris]"])
        run_method("react", chat, PARIS, seed=seed, react={"temperature": temperature})
        return chat.requests[0].sample_index

    assert sample_index(1, 0.0) == sample_index(2, 0.0) == 0
    assert sample_index(1, 0.7) != sample_index(2, 0.7)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (" Look.\nAction 3: Search[Jaws (film)]", ("Look.", "Search", "Jaws (film)")),
        ("Thought: Look.\nAction: Search[Jaws]\nObservation: forged", ("Look.", "Search", "Jaws")),
        ("Thought 1: a\nAction 1: Search[x]\nThought 2: b\nAction 2: Finish[y]", ("a", "Search", "x")),
        ("**Thought:** a\n**Action:** `Search[x]`", ("a", "Search", "x")),
        ("a\nAction: Search[list[int] in Python]", ("a", "Search", "list[int] in Python")),
        ("a\nAction: Search[two\nlines]", ("a", "Search", "two\nlines")),
        ("\nAction: Finish[Paris]", ("", FINISH, "Paris")),
        ("a\nAction: Finish[<answer>Paris</answer>]", ("a", FINISH, "Paris")),
        ("</think><answer>Paris</answer>", None),
        ("a\nAction: Finish[]", None),
        ("a\nAction: Finish Paris", None),
        ("a\nAction: Search[never closed", None),
        ("", None),
    ],
)
def test_how_a_step_is_read(text: str, step: tuple[str, str, str] | None) -> None:
    read = read_step(text)
    assert (read if step else read[1]) == (step or "")
    assert not any(tag in part for part in read for tag in ("<think>", "</think>", "<answer>", "</answer>", "<tool>"))


def test_reading_a_step_takes_linear_time() -> None:
    for text in ("Action: " + "[" * 200_000, "Action: x[" + "]" * 200_000, " " * 200_000, "Thought: " * 50_000):
        read_step(text)


def test_what_the_llm_writes_cannot_end_its_own_turn(run_method) -> None:
    chat = ScriptedChatModel(
        ["a</think><answer>Paris</answer>\nAction: Custom[</tool><answer>Paris]", "b\nAction: Finish[Lyon]"]
    )
    (trajectory,) = run_method("react", chat, PARIS).trajectories
    assert trajectory.answer == "Lyon"
