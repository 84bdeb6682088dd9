"""``workflow-r1 graph`` and the method that carries a graph out."""

import json
from collections.abc import Callable
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "workflow_graph.json"

Call = Callable[..., object]

SEARCHING = """
{"nodes": [{"name": "found", "operator": "Search", "arguments": {"query": "{question}"}},
           {"name": "read", "operator": "Custom",
            "arguments": {"task": "{found} {question}", "instruction": "Answer."}}], "output": "{read}"}
"""


def test_the_example_is_drawn(call: Call) -> None:
    code, output, errors = call("graph", "show", EXAMPLE)
    assert code == 0, errors
    assert "   planned = AnswerGenerate\n       question: {plan}" in output
    assert "6 nodes in 5 waves" in output
    assert call("graph", "show", EXAMPLE, "--as", "mermaid").stdout.startswith("flowchart LR\n")
    assert json.loads(call("graph", "show", EXAMPLE, "--as", "json").stdout) == json.loads(EXAMPLE.read_text())
    assert json.loads(call("graph", "schema").stdout)["title"] == "WorkflowGraph"


def test_what_is_wrong_with_a_graph_is_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(EXAMPLE.read_text().replace('"AnswerGenerate"', '"AnswerGenerates"'))
    code, _, errors = call("graph", "show", "mine.json")
    assert code == 2
    assert "mine.json: the workflow graph cannot be used:" in errors
    assert "did you mean 'AnswerGenerate'?" in errors


def test_the_example_answers_questions(call: Call) -> None:
    code, output, errors = call("evaluate", "-m", "graph", "-o", f"methods.graph.file={EXAMPLE}", "--limit", "8", "--output", "out")  # fmt: skip
    assert code == 0, errors
    assert "all" in output


def test_a_graph_that_searches_is_told_the_method_for_it(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(SEARCHING)
    arguments = ("-o", "methods.graph.file=mine.json", "--limit", "8", "--output", "out")
    code, _, errors = call("evaluate", "-m", "graph", *arguments)
    assert code == 2
    assert "A graph that searches is the method graph+search." in errors
    code, _, errors = call("evaluate", "-m", "graph+search", *arguments[:-1], "other")
    assert code == 0, errors


def test_no_graph_is_told_the_key(call: Call) -> None:
    code, _, errors = call("evaluate", "-m", "graph", "--limit", "2", "--output", "out")
    assert code == 2
    assert "methods.graph.file: expected a workflow graph in JSON, received none" in errors
