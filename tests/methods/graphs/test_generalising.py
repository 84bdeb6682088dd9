import pytest
from written_trajectories import written

from workflow_r1.errors import DataError
from workflow_r1.methods.graphs import generalise
from workflow_r1.methods.passages import PASSAGES
from workflow_r1.operators import OPERATORS

NAMES = (("Jaws", "Steven Spielberg", "Cincinnati"), ("Alien", "Ridley Scott", "South Shields"))


def graph_of(make, **options):
    """Make the graph of two trajectories that do the same for two films."""
    return generalise(
        [written(f"Where was the director of {names[0]} born?", *make(*names)) for names in NAMES], OPERATORS, **options
    )


def nodes(graph):
    return {node.name: (node.operator, node.arguments) for node in graph.nodes}


def ask(film):
    return f"Where was the director of {film} born?"


def test_what_is_copied_becomes_a_reference():
    def make(film, name, town):
        return (
            ("Ask.", f"MultiAnswerGenerate: {ask(film)}", f"[Answer 1] {town}\n[Answer 2] Rome"),
            (
                "Choose.",
                f"ScEnsemble: <query>{ask(film)}</query><solution>{town}</solution><solution>Rome</solution>",
                "Answer: Rome",
            ),
            ("Check.", f"Review: <question>{ask(film)}</question><solution>Rome</solution>", f"Feedback: No, {town}."),
            (
                "Revise.",
                f"Revise: <question>{ask(film)}</question><solution>Rome</solution><feedback>No, {town}.</feedback>",
                f"Answer: {town}",
            ),
            ("So.", town),
        )

    graph = graph_of(make, description="d")
    assert nodes(graph) == {
        "call_1": ("MultiAnswerGenerate", {"question": "{question}"}),
        "call_2": ("ScEnsemble", {"query": "{question}", "solution": ("{call_1.answers}",)}),
        "call_3": ("Review", {"question": "{question}", "solution": "{call_2}"}),
        "call_4": ("Revise", {"question": "{question}", "solution": "{call_2}", "feedback": "{call_3}"}),
    }
    assert (graph.output, graph.description) == ("{call_4}", "d")


def test_what_the_policy_read_and_wrote_an_llm_reads_and_writes():
    def make(film, name, town):
        return (
            ("First.", f"Search: director of {film}", f"[1] {film}: {film} is a film by {name}."),
            (f"{name}.", f"Search: {name} birthplace", f"[1] {name}: {name} was born in {town}."),
            (f"{town}.", town),
        )

    found = nodes(graph_of(make))
    assert list(found) == ["query_1", "call_1", "query_2", "call_2", "answer"]
    assert found["query_1"][1]["task"] == "{question}"
    assert found["call_1"] == ("Search", {"query": "{query_1}"})
    assert found["query_2"][1]["task"] == f"{PASSAGES}\n{{call_1.text}}\n\nThe question:\n{{question}}"
    # The reader needs the first passage, too: the second was searched for by its name.
    assert found["answer"] == (
        "AnswerGenerate", {"question": f"{PASSAGES}\n{{call_1.text}}\n{{call_2.text}}\n\nThe question:\n{{question}}"},
    )  # fmt: skip


def test_words_that_never_change_stay_and_a_review_without_use_is_left_out():
    def make(film, name, town):
        return (
            (
                "Ask.",
                f"Custom: <task>{ask(film)}</task><instruction>Answer in {{}} words.</instruction>",
                f"Answer: {town}",
            ),
            (
                "Check.",
                f"Review: <question>{ask(film)}</question><solution>{town}</solution>",
                "Feedback: It looks right.",
            ),
            (town, town),
        )

    graph = graph_of(make)
    assert nodes(graph) == {"call_1": ("Custom", {"task": "{question}", "instruction": "Answer in {{}} words."})}
    assert graph.output == "{call_1}"


def test_a_question_of_its_own_becomes_the_question_with_what_was_found():
    def make(film, name, town):
        return (
            ("First.", f"AnswerGenerate: Who directed {film}?", f"Answer: {name}"),
            (f"{name}.", f"AnswerGenerate: Where was {name} born?", f"Answer: {town}"),
            (town, town),
        )

    found = nodes(graph_of(make))
    assert found["call_1"] == ("AnswerGenerate", {"question": "{question}"})
    assert found["call_2"] == (
        "AnswerGenerate",
        {"question": "Found so far:\n{call_1.text}\n\nThe question:\n{question}"},
    )


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([("So.", "Rome")], "one that answers at once"),
        ([("A.", "Search: Jaws", "[1] Jaws")], "expected trajectories with an answer"),
    ],
)
def test_what_makes_no_graph(turns, message):
    with pytest.raises(DataError, match=message):
        generalise([written("Who?", *turns)], OPERATORS)


def test_operators_of_others_and_other_sequences_make_none():
    trajectory = written("Who?", ("A.", "Search: Jaws", "[1] Jaws"), ("So.", "Jaws"))
    known = {name: OPERATORS[name] for name in ("Custom", "AnswerGenerate")}
    with pytest.raises(DataError, match="found Search: a graph of a plug-in's operator is written by hand"):
        generalise([trajectory], known)
    other = written("Who?", ("A.", "Search: Jaws", "[1] Jaws"), ("A.", "Search: Jaws", "[1] Jaws"), ("So.", "Jaws"))
    with pytest.raises(DataError, match="that all call Search, found others"):
        generalise([trajectory, other], OPERATORS)
