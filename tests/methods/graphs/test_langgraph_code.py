"""The written module is run by LangGraph itself, and does what our own interpreter does."""

import asyncio
from pathlib import Path

import pytest

from workflow_r1.methods.graphs import carry_out, load_graph, read_graph, write_langgraph
from workflow_r1.operators import OPERATORS
from workflow_r1.operators.arguments import parse_arguments

pytest.importorskip("langgraph")

EXAMPLE = Path(__file__).parents[3] / "examples" / "workflow_graph.json"

TRICKY = """
{"description": "quotes \\"\\"\\" and \\\\n line\\nends", "nodes": [
  {"name": "answer", "operator": "AnswerGenerate", "arguments": {"question": "{{braces}} {question} '''\\\\"}},
  {"name": "results", "operator": "MultiAnswerGenerate", "arguments": {"question": "{question}"}},
  {"name": "question_2", "operator": "ScEnsemble", "arguments": {"query": "{answer.text}", "solution": ["{answer}", "{results.answers}"]}},
  {"name": "empty", "operator": "Search", "arguments": {"query": "{question_2}"}}
 ], "output": "{question_2} {empty} {results.text}"}
"""


def reply(operator, arguments, *, num_answers):
    """Answer as an operator does, from its arguments alone."""
    said = "|".join(f"{name}={value}" for name, value in arguments.items())
    if operator == "MultiAnswerGenerate":
        return "\n".join(f"[Answer {number}] {number}. {said}" for number in range(1, num_answers + 1))
    if operator == "Search":
        return "No passages were found."
    label = {"Review": "Feedback", "PromptOptimizer": "Refined query"}.get(operator, "Answer")
    return f"Reasoning: by {operator}\n{label}: {operator}({said})"


def by_langgraph(graph, question, *, num_answers):
    calls = []

    async def call(operator, arguments):
        calls.append((operator, arguments))
        return reply(operator, arguments, num_answers=num_answers)

    module = {}
    exec(compile(write_langgraph(graph, OPERATORS), "workflow", "exec"), module)
    state = asyncio.run(module["build"](call).ainvoke({"question": question}))
    return state["answer"], sorted(map(str, calls))


def by_ourselves(graph, question, *, num_answers):
    calls = []
    workflow = carry_out(graph, OPERATORS, question)
    observations = None
    while True:
        try:
            wave = workflow.send(observations)
        except StopIteration as stop:
            return stop.value, sorted(map(str, calls))
        observations = []
        for text in wave:
            operator, _, given = text.partition(": ")
            arguments = parse_arguments(given, OPERATORS[operator].arguments).values
            calls.append((operator, arguments))
            observations.append(reply(operator, arguments, num_answers=num_answers))


@pytest.mark.parametrize("num_answers", [0, 1, 3])
@pytest.mark.parametrize("text", [EXAMPLE.read_text("utf-8"), TRICKY], ids=["example", "tricky"])
def test_the_module_does_what_the_graph_does(text, num_answers):
    graph = read_graph(text, OPERATORS)
    ours = by_ourselves(graph, "Who made Jaws?", num_answers=num_answers)
    assert by_langgraph(graph, "Who made Jaws?", num_answers=num_answers) == ours
    assert len(ours[1]) >= 3


def test_the_module_stands_alone():
    assert "workflow_r1" not in write_langgraph(load_graph(EXAMPLE, OPERATORS), OPERATORS)
