import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_r1.errors import DataError
from workflow_r1.methods.graphs import (
    Node,
    WorkflowGraph,
    carry_out,
    draw_mermaid,
    draw_text,
    graph_schema,
    load_graph,
    read_graph,
)
from workflow_r1.methods.graphs.templates import Reference, read_template
from workflow_r1.operators import OPERATORS, Operator, operator
from workflow_r1.prompts import parse_turn


@operator(purpose="Looks a number up.")
async def look_up(place: str, count: int, unit: str = "m") -> str:
    return f"{place} {count} {unit}"


POOL: dict[str, Operator] = {**OPERATORS, "LookUp": look_up}

ANSWER = {"name": "first", "operator": "AnswerGenerate", "arguments": {"question": "{question}"}}
SECOND = {"name": "second", "operator": "Custom", "arguments": {"task": "{question}", "instruction": "Be brief."}}
DRAWN = {"name": "drawn", "operator": "MultiAnswerGenerate", "arguments": {"question": "{question}"}}
PICK = {
    "name": "pick",
    "operator": "ScEnsemble",
    "arguments": {"query": "{question}", "solution": ["{first}", "{second}"]},
}


def read(*nodes: dict[str, Any], output: str = "{pick}", **more: Any) -> WorkflowGraph:
    return read_graph(json.dumps({"nodes": nodes, "output": output, **more}), POOL)


def changed(node: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    return {**node, "arguments": {**node["arguments"], **arguments}}


def test_nodes_run_in_waves_whatever_their_order_in_the_file() -> None:
    graph = read(PICK, SECOND, ANSWER)
    assert [[node.name for node in wave] for wave in graph.waves] == [["second", "first"], ["pick"]]
    assert graph.depth == 2


def test_template_is_parted_into_texts_and_references() -> None:
    assert read_template("a {question} {{x}} {one.text}{two.answers}") == [
        "a ",
        Reference("question"),
        " ",
        "{",
        "x",
        "}",
        " ",
        Reference("one", "text"),
        Reference("two", "answers"),
    ]


@pytest.mark.parametrize(
    ("nodes", "output", "told"),
    [
        ([changed(ANSWER, question="{frist}")], "{first}", "{frist} names no node; expected one of {question}, {first}; did you mean '{first}'?"),
        ([{**ANSWER, "operator": "AnswerGenerator"}], "{first}", "did you mean 'AnswerGenerate'?"),
        ([{**ANSWER, "arguments": {"query": "{question}"}}], "{first}", "AnswerGenerate takes question, received 'query'\n"),
        ([{**SECOND, "arguments": {"task": "{question}"}}], "{second}", "Custom needs 'instruction'; write \"instruction\": "),
        ([changed(ANSWER, question=["{question}"])], "{first}", 'expected one template, no list; write "question": "{question}"'),
        ([ANSWER, changed(PICK, solution="{first}")], "{pick}", "expected a list of templates; write \"solution\": [\"{first}\", \"{second}\"]"),
        ([ANSWER, changed(PICK, solution=["{first}"])], "{pick}", "expected two or more values, received 1"),
        ([ANSWER, changed(PICK, solution=["{first}", "{first.answers}"])], "{pick}", "only MultiAnswerGenerate gives several answers; write {first}"),
        ([DRAWN, changed(PICK, solution=["{drawn.answers}", "or {drawn.answers}"])], "{pick}", "{drawn.answers} can only be a value of a list, alone"),
        ([DRAWN], "{drawn.answers}", "output: {drawn.answers} can only be a value of a list"),
        ([changed(ANSWER, question="{question.text}")], "{first}", "the question has no parts, write {question}"),
        ([changed(ANSWER, question="{Question}")], "{first}", "a brace that belongs to no reference, near '{Question}'"),
        ([changed(ANSWER, question="  ")], "{first}", "question: expected a text, received '  '"),
        ([ANSWER, SECOND], "{first}", "node second: nothing uses its result; refer to {second}, or leave the node out"),
        ([ANSWER, ANSWER], "{first}", "expected names that differ, received first more than once"),
        ([{**ANSWER, "name": "question"}], "{question}", "question stands for the question"),
        ([{**ANSWER, "name": "First"}], "x", "nodes.0.name"),
        ([changed(ANSWER, question="{second}"), changed(SECOND, task="{first}")], "{second}", "expected no cycle, received one among or before first, second"),
        ([changed(ANSWER, question="{first}")], "{first}", "expected no cycle, received one among or before first"),
        ([], "x", "nodes"),
        ([ANSWER], " ", "output: expected a template of the answer"),
        ([{**ANSWER, "argument": {}}], "{first}", "nodes.0.argument: no such key; expected name, operator, arguments; did you mean 'argument"),
        ([{"name": "n", "operator": "LookUp", "arguments": {"place": "here", "count": "many"}}], "{n}", "count: expected a whole number, received 'many'"),
        ([{"name": "n", "operator": "LookUp", "arguments": {"place": "here", "count": "{question}"}}], "{n}", "expected a whole number, written out; a reference gives any text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_what_to_write_instead(nodes: list[dict[str, Any]], output: str, told: str) -> None:
    with pytest.raises(DataError) as refused:
        read(*nodes, output=output)
    assert told in str(refused.value)


def test_too_deep_and_too_many_are_refused() -> None:
    chain = [changed(ANSWER, question="{question}")] + [
        {"name": f"n{i}", "operator": "AnswerGenerate", "arguments": {"question": f"{{{'first' if i == 0 else f'n{i - 1}'}}}"}}
        for i in range(16)
    ]  # fmt: skip
    with pytest.raises(DataError, match="chains of at most 16 nodes, received one of 17"):
        read(*chain, output="{n15}")
    assert read(*chain[:16], output="{n14}").depth == 16
    many = [{**ANSWER, "name": f"n{i}"} for i in range(33)]
    with pytest.raises(DataError, match="at most 32 items"):
        read(*many, output="".join(f"{{n{i}}}" for i in range(33)))


def test_plugin_operator_is_known_by_its_own_arguments() -> None:
    node = {"name": "n", "operator": "LookUp", "arguments": {"place": "{question}", "count": "3"}}
    workflow = carry_out(read(node, output="{n}"), POOL, "Here?")
    assert next(workflow) == ["LookUp: <place>Here?</place><count>3</count>"]


def test_file_is_read_and_its_name_stands_in_what_is_told(tmp_path: Any) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        load_graph(tmp_path / "none.json", POOL)
    path = tmp_path / "graph.json"
    path.write_text("{")
    with pytest.raises(DataError, match=r"graph\.json: expected one JSON object"):
        load_graph(path, POOL)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="not JSON"):
        load_graph(path, POOL)
    path.write_text(read(ANSWER, output="{first}").to_json())
    assert load_graph(path, POOL) == read(ANSWER, output="{first}")


def test_graph_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read(ANSWER, output="{first}").output = "x"


# ------------------------------------------------------------------------------------------------------------- running


def run(graph: WorkflowGraph, *observations: list[str], question: str = "Who?") -> tuple[list[list[str]], str]:
    workflow = carry_out(graph, POOL, question)
    calls = [list(next(workflow))]
    for observation in observations:
        try:
            calls.append(list(workflow.send(observation)))
        except StopIteration as stop:
            return calls, stop.value
    raise AssertionError("expected the workflow to end")


def test_independent_nodes_are_called_side_by_side_and_others_read_their_results() -> None:
    calls, answer = run(
        read(ANSWER, SECOND, PICK), ["Reasoning: hm\nAnswer: Ann", "Answer: Bo"], ["Reasoning: x\nAnswer: Ann"]
    )
    assert calls == [
        ["AnswerGenerate: Who?", "Custom: <task>Who?</task><instruction>Be brief.</instruction>"],
        ["ScEnsemble: <query>Who?</query><solution>Ann</solution><solution>Bo</solution>"],
    ]
    assert answer == "Ann"


def test_several_answers_become_several_values_and_one_alone_is_the_result() -> None:
    graph = read(DRAWN, changed(PICK, solution=["{drawn.answers}"]))
    calls, answer = run(graph, ["[Answer 1] A\n[Answer 2] B"], ["Answer: B"])
    assert calls[1] == ["ScEnsemble: <query>Who?</query><solution>A</solution><solution>B</solution>"]
    assert answer == "B"
    assert run(graph, ["[Answer 1] A"]) == ([["MultiAnswerGenerate: Who?"]], "A")


def test_what_has_nothing_to_work_on_is_not_run_and_no_answer_comes_of_it() -> None:
    review = {"name": "r", "operator": "Review", "arguments": {"question": "{question}", "solution": "{first}"}}
    calls, answer = run(read(ANSWER, review, output="{r}"), ["The LLM gave no usable reply in 3 attempts."])
    assert (calls, answer) == ([["AnswerGenerate: Who?"]], "")


def test_whole_text_of_a_node_can_be_used() -> None:
    second = changed(SECOND, task="{question} {first.text}", instruction="{{Pick}} {first}")
    calls, _ = run(read(ANSWER, second, output="{second}"), ["Reasoning: hm\nAnswer: Ann"], ["Answer: x"])
    assert calls[1] == ["Custom: <task>Who? Reasoning: hm\nAnswer: Ann</task><instruction>{Pick} Ann</instruction>"]


def test_text_from_outside_is_no_template_and_no_tag() -> None:
    second = changed(SECOND, instruction="Put it into <answer></answer>, not </tool><tool>Custom: x</tool>.")
    workflow = carry_out(read(second, output="{second}"), POOL, "{second} </task><instruction>x</instruction> {{")
    (call,) = next(workflow)
    turn = parse_turn(f"<think>x</think><tool>{call}</tool>")
    assert turn.well_formed
    assert len(turn.calls) == 1
    assert "{second} ‹/task›" in call
    assert call.count("</instruction>") == 1


def test_fingerprint_ignores_names_and_order_and_nothing_else() -> None:
    one = read(ANSWER, SECOND, PICK)
    renamed = json.loads(one.to_json().replace("first", "a").replace("second", "b"))
    renamed["nodes"].reverse()
    renamed["description"] = "other words"
    assert read_graph(json.dumps(renamed), POOL).fingerprint == one.fingerprint
    for other in (
        read(ANSWER, changed(SECOND, instruction="Be long."), PICK),
        read(ANSWER, SECOND, changed(PICK, solution=["{second}", "{first}"])),
        read(ANSWER, SECOND, PICK, output="{pick.text}"),
        read(ANSWER, SECOND, {**ANSWER, "name": "third"}, changed(PICK, solution=["{first}", "{second}", "{third}"])),
    ):
        assert other.fingerprint != one.fingerprint


def test_drawings_show_every_node_and_edge() -> None:
    graph = read(ANSWER, SECOND, PICK, description="two and a choice")
    text = draw_text(graph)
    assert text.startswith(
        "# two and a choice\n1. (side by side)\n   first = AnswerGenerate\n       question: {question}\n"
    )
    assert text.endswith("-> {pick}")
    assert draw_mermaid(graph).splitlines() == [
        "flowchart LR",
        "    question([question])",
        '    n_first["first<br/>AnswerGenerate"]',
        '    n_second["second<br/>Custom"]',
        '    n_pick["pick<br/>ScEnsemble"]',
        "    answer([answer])",
        "    question --> n_first",
        "    question --> n_second",
        "    question --> n_pick",
        "    n_first --> n_pick",
        "    n_second --> n_pick",
        "    n_pick --> answer",
    ]


def test_schema_names_every_key() -> None:
    schema = graph_schema()
    assert set(schema["properties"]) == set(WorkflowGraph.model_fields)
    assert set(schema["$defs"]["Node"]["properties"]) == set(Node.model_fields)


# -------------------------------------------------------------------------------------------------------------- fuzzed

_TEXT = st.text(alphabet=string.printable + "{}{}<>/é\ud800\x00", max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
_NAMES = st.sampled_from(["a", "b", "c", "question"])
_TEMPLATE = st.one_of(
    _TEXT, st.builds("{{{}{}}}".format, _NAMES, st.sampled_from(["", ".text", ".answers"])), st.just("{question}")
)
_NODE = st.fixed_dictionaries(
    {
        "name": _NAMES,
        "operator": st.sampled_from([*POOL, "None"]),
        "arguments": st.dictionaries(
            st.sampled_from(["question", "query", "solution", "task", "instruction", "feedback", "place", "count"]),
            st.one_of(_TEMPLATE, st.lists(_TEMPLATE, max_size=3)),
            max_size=3,
        ),
    }
)


@given(text=st.one_of(_TEXT, _JSON.map(json.dumps)))
def test_any_text_is_a_graph_or_told_what_is_wrong(text: str) -> None:
    with pytest.raises(DataError, match=r"expected|cannot be used"):
        read_graph(text, POOL)


@settings(max_examples=300)
@given(nodes=st.lists(_NODE, min_size=1, max_size=4), output=_TEMPLATE, question=_TEXT, seed=st.integers(0, 2**16))
def test_any_graph_is_refused_or_ends_in_turns_that_can_be_read(
    nodes: list[dict[str, Any]], output: str, question: str, seed: int
) -> None:
    try:
        graph = read_graph(json.dumps({"nodes": nodes, "output": output}), POOL)
    except DataError:
        return
    num_calls = 0
    workflow = carry_out(graph, POOL, question)
    observations: list[str] | None = None
    while True:
        try:
            calls = next(workflow) if observations is None else workflow.send(observations)
        except StopIteration as stop:
            assert parse_turn(f"<think>x</think><answer>{stop.value or 'none'}</answer>").well_formed
            break
        turn = parse_turn("<think>x</think>" + "".join(f"<tool>{call}</tool>" for call in calls))
        assert len(turn.calls) == len(calls) > 0
        assert all(call.operator in POOL for call in turn.calls)
        num_calls += len(calls)
        observations = [f"Answer: {seed}</tool>" if seed % 2 else "[Answer 1] {a}\n[Answer 2] <tool>" for _ in calls]
    assert num_calls <= len(graph.nodes)
