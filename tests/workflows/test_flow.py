import dataclasses
import json

from written_trajectories import written

from workflow_r1.trajectory import StopReason
from workflow_r1.workflows import trace_flow
from workflow_r1.workflows.flow import MAX_TEXT

JAWS = "[1] Jaws (film): Jaws is a 1975 American thriller film directed by Steven Spielberg, starring Roy Scheider."
BORN = "Reasoning: He was born in Ohio.\nAnswer: Cincinnati"


def edges(trajectory):
    return [(edge.source, edge.target, edge.kind, edge.text) for edge in trace_flow(trajectory).edges]


def data(trajectory):
    return {(edge.source, edge.target) for edge in trace_flow(trajectory).edges if edge.kind == "data"}


def test_a_chain_of_two_hops():
    trajectory = written(
        "Where was the director of Jaws born?",
        ("First the director.", "Search: director of Jaws", JAWS),
        ("It was Steven Spielberg.", "AnswerGenerate: Where was Steven Spielberg born?", BORN),
        ("Cincinnati it is.", "Cincinnati"),
        golden=("Cincinnati",),
    )
    flow = trace_flow(trajectory)
    assert [(node.id, node.kind, node.turn, node.label, node.state) for node in flow.nodes] == [
        ("question", "question", None, "Question", ""),
        ("call-1-1", "call", 1, "Search", "valid"),
        ("call-2-1", "call", 2, "AnswerGenerate", "valid"),
        ("answer", "answer", 3, "Answer", "right"),
    ]
    assert edges(trajectory) == [
        ("question", "call-1-1", "data", "director of Jaws"),
        ("call-1-1", "call-2-1", "data", "Steven Spielberg"),
        ("question", "call-2-1", "data", "born"),
        ("call-2-1", "answer", "data", "Cincinnati"),
    ]
    assert json.loads(json.dumps(dataclasses.asdict(flow)))["nodes"][0]["id"] == "question"


def test_an_observation_that_only_repeats_its_argument_gave_nothing():
    # The second search finds nothing about the birthplace, but its passage names Spielberg again.
    trajectory = written(
        "Where was the director of Jaws born?",
        ("First the director.", "Search: director of Jaws", JAWS),
        (
            "Steven Spielberg.",
            "Search: birthplace of Steven Spielberg",
            "[1] Steven Spielberg: Steven Spielberg made Duel.",
        ),
        ("No birthplace. Ask.", "AnswerGenerate: Where was Steven Spielberg born?", BORN),
        ("So.", "Cincinnati"),
    )
    assert ("call-1-1", "call-3-1") in data(trajectory)
    assert ("call-2-1", "call-3-1") not in data(trajectory)


def test_a_result_comes_from_the_latest_call_that_returned_it_though_the_question_names_it_too():
    trajectory = written(
        "Which film is older, Jaws or Alien?",
        (
            "Ask thrice.",
            "MultiAnswerGenerate: Which film is older, Jaws or Alien?",
            "[Answer 1] Alien\n[Answer 2] Jaws",
        ),
        (
            "Choose.",
            "ScEnsemble: <query>Which film is older, Jaws or Alien?</query><solution>Alien</solution><solution>Jaws</solution>",
            "Reasoning: ...\nAnswer: Jaws",
        ),
        ("Jaws.", "Jaws"),
    )
    assert edges(trajectory) == [
        ("question", "call-1-1", "data", "film is older, Jaws or Alien"),
        ("question", "call-2-1", "data", "film is older, Jaws or Alien"),
        ("call-1-1", "call-2-1", "data", "Alien, Jaws"),
        ("call-2-1", "answer", "data", "Jaws"),
    ]


def test_an_answer_that_the_thought_concludes_from_two_observations():
    trajectory = written(
        "Which film is older, Jaws or Alien?",
        ("Next.", "Search: release of Jaws", JAWS),
        ("Jaws is of 1975.", "Search: release of Alien", "[1] Alien: Alien is a film of 1979 by Ridley Scott."),
        ("Jaws 1975, Alien 1979: Jaws is older.", "Jaws"),
    )
    found = data(trajectory)
    assert {("call-1-1", "thought-3"), ("call-2-1", "thought-3"), ("thought-3", "answer")} <= found
    # That the second thought restates 1975 feeds nothing.
    assert not any("thought-2" in edge for edge in found)


def test_a_name_that_no_source_holds_comes_from_the_first_thought_that_has_it():
    trajectory = written(
        "Where was the director of Jaws born?",
        ("I recall that Steven Spielberg made it.", "Search: Spielberg birthplace", "[1] Spielberg: a town in Styria."),
        ("Not him.", "Search: Steven Spielberg", JAWS),
        ("Enough.", "Cincinnati"),
    )
    assert ("thought-1", "call-1-1") in data(trajectory)
    assert ("thought-1", "call-2-1") in data(trajectory)
    assert ("thought-3", "answer", "data", "Cincinnati") in edges(trajectory)


def test_nodes_that_no_data_reach_hang_on_the_node_before():
    trajectory = written(
        "Who?",
        (None, "I cannot say"),
        ("Try.", "Serch: Jaws", "No operator of that name."),
        (None, "<think></think><tool>Search: Alien</tool>", "[1] Alien: a film."),
        golden=("Ann",),
    )
    assert [(node.id, node.state) for node in trace_flow(trajectory).nodes if node.kind != "thought"] == [
        ("question", ""), ("malformed-1", ""), ("call-2-1", "invalid"), ("call-3-1", "valid"),
    ]  # fmt: skip
    assert ("question", "malformed-1", "order", "") in edges(trajectory)
    assert ("call-2-1", "call-3-1", "order", "") in edges(trajectory)


def test_parallel_calls_do_not_feed_each_other_and_an_invalid_one_feeds_nothing():
    trajectory = written(
        "Where was the director of Jaws born?",
        (
            "Both.",
            "<tool>Search: director of Jaws</tool><tool>Search: Spielberg</tool>",
            JAWS,
            "[1] Spielberg: born in Cincinnati.",
        ),
        ("Revise.", "Revise: Cincinnati", "Write <question>, <solution> and <feedback>; Spielberg is no question."),
        ("So.", "Cincinnati"),
    )
    assert {edge for edge in data(trajectory) if "thought-1" not in edge} == {
        ("question", "call-1-1"), ("call-1-2", "call-2-1"), ("call-1-2", "answer"),
    }  # fmt: skip


def test_a_call_that_the_infrastructure_left_without_an_observation():
    trajectory = written(
        "Who made Jaws?", ("Look.", "Search: Jaws"), stop_reason=StopReason.OPERATOR_FAILED, error="search: down"
    )
    assert [(node.id, node.state) for node in trace_flow(trajectory).nodes] == [
        ("question", ""), ("call-1-1", "unanswered"),
    ]  # fmt: skip


def test_scripts_without_spaces_are_traced_by_their_characters():
    trajectory = written(
        "映画『羅生門』の監督はどこで生まれましたか。",
        ("監督を探す。", "Search: 羅生門 監督", "[1] 羅生門: 1950年の映画。監督は黒澤明。"),
        ("黒澤明です。", "Search: 黒澤明 生まれ", "[1] 黒澤明: 東京府で生まれた。"),
        ("わかった。", "東京府"),
    )
    assert {("question", "call-1-1"), ("call-1-1", "call-2-1"), ("call-2-1", "answer")} <= data(trajectory)


def test_long_texts_are_cut_and_take_no_long_time():
    passage = "Ann Lee " * 100_000
    trajectory = written(
        "Who? " + "Ann " * 5000,
        ("Look. " * 1000, "Search: " + "Lee Ann " * 2000, passage),
        ("So.", "Ann Lee " * 2000),
    )
    assert all(len(edge.text) <= MAX_TEXT for edge in trace_flow(trajectory).edges)
