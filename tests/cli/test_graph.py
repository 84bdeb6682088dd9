"""``workflow-r1 graph`` and the method that carries a graph out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from written_trajectories import written

from workflow_r1.trajectory.index import append_indexed

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


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = [
        written(
            f"Who directed {film}?",
            ("First.", f"Search: director of {film}", f"[1] {film}: a film by {name}."),
            (name, name),
            golden=(name,), id=film, step=step,
        )
        for step, (film, name) in enumerate((("Jaws", "Steven Spielberg"), ("Alien", "Ridley Scott")), start=1)
    ]  # fmt: skip
    made.append(written("Who?", ("So.", "Ann"), id="plain", step=3))
    (tmp_path / "r").mkdir()
    append_indexed(tmp_path / "r" / "trajectories.jsonl.gz", made)
    return tmp_path / "r"


def test_the_flow_of_one_trajectory(call: Call, run: Path, tmp_path: Path) -> None:
    code, output, errors = call("graph", "flow", "r", "id=Alien")
    assert code == 0, errors
    assert '    n_call_1_1 -->|"Ridley Scott"| n_answer\n' in output
    assert call("graph", "flow", "r", "--as", "svg", "--output", "f.svg").stdout == ""
    assert (tmp_path / "f.svg").read_text("utf-8").startswith("<svg ")
    flow = json.loads(call("graph", "flow", "r", "--as", "json").stdout)
    assert flow["edges"][-1] == {
        "source": "call-1-1", "target": "answer", "kind": "data", "text": "Steven Spielberg",
    }  # fmt: skip
    code, _, errors = call("graph", "flow", "r", "id=none")
    assert (code, "found none that is selected" in errors) == (2, True)


def test_the_dominant_workflow_is_a_graph_that_an_evaluation_carries_out(call: Call, run: Path, tmp_path: Path) -> None:
    code, output, errors = call("graph", "dominant", "r", "--output", "dominant.json")
    assert (code, output, errors) == (0, "", "2 of 3 trajectories took Search\n")
    graph = json.loads((tmp_path / "dominant.json").read_text("utf-8"))
    assert [node["operator"] for node in graph["nodes"]] == ["Custom", "Search", "AnswerGenerate"]
    assert graph["description"] == "Search: taken in 2 of 3 trajectories."
    arguments = ("-o", "methods.graph.file=dominant.json", "--limit", "8", "--output", "out")
    code, _, errors = call("evaluate", "-m", "graph+search", *arguments)
    assert code == 0, errors
    assert call("graph", "show", "dominant.json", "--as", "svg").stdout.startswith("<svg ")
    assert "def build(call: Call):" in call("graph", "show", "dominant.json", "--as", "langgraph").stdout
    assert "query: {query_1}" in call("graph", "dominant", "r", "--as", "text").stdout
    code, _, errors = call("graph", "dominant", "r", "step=3")
    assert (code, "answers at once" in errors) == (2, True)
