"""The workflow that an engineer would write."""

from workflow_r1.inference import ScriptedChatModel
from workflow_r1.methods.expert_workflow import NEXT_QUERY
from workflow_r1.retrieval import Passage, ScriptedSearch
from workflow_r1.trajectory import Message, Question

JAWS = Question(id="q1", text="Where was the director of Jaws born?", golden_answers=("Cincinnati",))
FILM = Passage(id="1", title="Jaws", text="Directed by Steven Spielberg.", score=1.0)
PERSON = Passage(id="2", title="Spielberg", text="Born in Cincinnati.", score=1.0)
SEARCH = ScriptedSearch({JAWS.text: [FILM], "birthplace of Spielberg": [PERSON, FILM]})


def reply(query: str) -> ScriptedChatModel:
    """An engineer's LLM: it names a query, answers, finds fault, and revises."""

    def write(messages: tuple[Message, ...]) -> str:
        text = messages[0].content
        if "<instruction>" in text:
            return f"<answer>{query if 'Cincinnati' not in text else 'Nothing.'}</answer>"
        if "<feedback>" in text.rpartition("The input:")[2]:
            return "<answer>Cincinnati</answer>"
        if "<solution>" in text and "<query>" not in text:
            return "<feedback>The solution is wrong.</feedback>"
        return "<reasoning>r</reasoning><answer>Chicago</answer>"

    return ScriptedChatModel(write)


def operators(result) -> list[str]:
    return [call.operator for turn in result.trajectories[0].turns for call in turn.calls]


def test_without_search_it_is_six_calls(run_method) -> None:
    result = run_method("expert-workflow", reply("x"), JAWS)
    assert operators(result) == ["MultiAnswerGenerate", "ScEnsemble", "Review", "Revise"]
    assert (result.figures.llm_calls, result.trajectories[0].answer) == (6.0, "Cincinnati")


def test_with_search_it_looks_up_until_nothing_is_missing(run_method) -> None:
    chat = reply("birthplace of Spielberg")
    result = run_method("expert-workflow+search", chat, JAWS, search=SEARCH)
    assert operators(result) == ["Search", "Custom", "Search", "Custom", "AnswerGenerate", "Review", "Revise"]
    assert result.trajectories[0].answer == "Cincinnati"
    assert NEXT_QUERY in chat.requests[0].messages[0].content
    found = "[1] Jaws: Directed by Steven Spielberg.\n[2] Spielberg: Born in Cincinnati.\n\nThe question:\n"
    assert found in chat.requests[2].messages[0].content  # a passage that is found twice stands there once


def test_a_query_that_repeats_itself_ends_the_looking_up(run_method) -> None:
    result = run_method("expert-workflow+search", reply("nowhere"), JAWS, search=SEARCH)
    assert operators(result) == ["Search", "Custom", "Search", "Custom", "AnswerGenerate", "Review", "Revise"]


def test_the_looking_up_is_bounded(run_method) -> None:
    numbers = iter(range(100))
    chat = ScriptedChatModel(
        lambda messages: f"<reasoning>r</reasoning><answer>query {next(numbers)}</answer><feedback>f</feedback>"
    )
    result = run_method("expert-workflow+search", chat, JAWS, search=SEARCH, expert_workflow={"max_lookups": 2})
    assert operators(result).count("Search") == 3
    assert operators(result).count("Custom") == 2
