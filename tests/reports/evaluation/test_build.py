import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workflow_r1.errors import DataError
from workflow_r1.evaluation.published import PUBLISHED, published_figures
from workflow_r1.evaluation.statistics import paired_rate_interval, rate_interval
from workflow_r1.reports.evaluation import EvaluationReport, build_report, is_evaluation
from workflow_r1.trajectory import append_trajectories
from workflow_r1.trajectory.outcome import Outcome


def figures_of(report: EvaluationReport, method: str, benchmark: str = "nq") -> Any:
    (found,) = [row for row in report.comparison.figures if (row.method, row.benchmark) == (method, benchmark)]
    return found


def test_figures_tests_and_outcomes_are_those_of_the_rows(write: Any, logs: SimpleNamespace) -> None:
    directory = write([*logs.rows("policy", "nq", "1110nf"), *logs.rows("cot", "nq", "100mb1", calls=3)])
    report = build_report([directory])
    assert report.comparison.reference == "policy"
    assert figures_of(report, "policy").exact_match == rate_interval(scores=[1, 1, 1, 0, 0])
    outcomes = {
        each.method: {str(name): count for name, count in each.counts.items() if count} for each in report.outcomes
    }
    assert outcomes == {
        "policy": {"right": 3, "wrong": 1, "no_answer": 1, "failed": 1},
        "cot": {"right": 2, "wrong": 2, "malformed": 1, "out_of_budget": 1},
    }
    (test,) = [test for test in report.comparison.tests if test.figure == "exact_match"]
    # Only the five questions that both have a score on: cot lost on two, won on none.
    assert test.difference == paired_rate_interval(first=[1, 0, 0, 0, 0], second=[1, 1, 1, 0, 0])
    assert (test.test.num_first_better, test.test.num_second_better, test.test.p_value) == (0, 2, 0.5)
    assert any("1 of 12 answers failed" in caveat for caveat in report.caveats)


def test_a_method_alone_is_tested_against_nothing(write: Any, logs: SimpleNamespace) -> None:
    report = build_report([write(logs.rows("policy", "nq", "1100"))])
    assert (report.comparison.reference, report.comparison.tests) == (None, ())


def test_means_are_over_benchmarks_and_none_where_one_is_missing(write: Any, logs: SimpleNamespace) -> None:
    rows = [*logs.rows("cot", "nq", "1000"), *logs.rows("cot", "popqa", "1110"), *logs.rows("direct", "nq", "1111")]
    report = build_report([write(rows)], figure="f1")
    mean = report.comparison.means["cot"]
    assert mean is not None
    assert mean.estimate == 0.5
    assert report.comparison.means["direct"] is None
    assert report.benchmarks == ("nq", "popqa")


def test_methods_stand_in_the_order_of_the_card(write: Any, logs: SimpleNamespace) -> None:
    card = logs.CARD | {"methods": {"sc": {}, "cot": {}}}
    rows = [row for name in ("direct", "cot", "sc") for row in logs.rows(name, "nq", "10")]
    assert build_report([write(rows, card=card)]).methods == ("sc", "cot", "direct")


# ------------------------------------------------------------------------------------------------- several directories


def test_one_method_of_two_directories_is_one_where_their_cards_agree(write: Any, logs: SimpleNamespace) -> None:
    one = write(logs.rows("cot", "nq", "10"), name="one")
    other = write([*logs.rows("cot", "popqa", "11"), *logs.rows("direct", "nq", "00")], name="other")
    report = build_report([one, other])
    assert report.methods == ("cot", "direct")
    assert report.comparison.means["cot"] is not None


@pytest.mark.parametrize(
    "change", [{"llm": {"model": "large"}}, {"prompts": "0"}, {"methods": {"cot": {"samples": 9}}}]
)
def test_under_other_conditions_it_is_two_methods(write: Any, logs: SimpleNamespace, change: dict[str, Any]) -> None:
    one = write(logs.rows("cot", "nq", "10"), name="one")
    other = write([*logs.rows("cot", "nq", "11"), *logs.rows("sc", "nq", "11")], name="other", card=logs.CARD | change)
    report = build_report([one, other], reference="cot (one)")
    assert sorted(report.methods) == ["cot (one)", "cot (other)", "sc"]
    assert figures_of(report, "cot (one)").exact_match.estimate == 0.5
    if "methods" not in change:
        assert any("one and other differ in" in caveat for caveat in report.caveats)


def test_other_questions_under_one_name_are_told(write: Any, logs: SimpleNamespace) -> None:
    cards = [logs.CARD | {"benchmarks": {"nq": {"fingerprint": mark}}} for mark in "ab"]
    paths = [write(logs.rows(name, "nq", "10"), name=name, card=card) for name, card in zip("xy", cards, strict=True)]
    assert any("nq has other questions" in caveat for caveat in build_report(paths).caveats)


def test_one_directory_twice_counts_once(write: Any, logs: SimpleNamespace) -> None:
    directory = write(logs.rows("cot", "nq", "10"))
    assert figures_of(build_report([directory, directory]), "cot").num_replaced == 0


def test_directories_of_one_name_are_told_apart(write: Any, logs: SimpleNamespace) -> None:
    (write(logs.rows("a", "nq", "1"), name="x")).parent.joinpath("y").mkdir()
    one, other = (
        write(logs.rows("a", "nq", "1"), name="y/run", card=None),
        write(logs.rows("a", "nq", "1"), name="x/run", card=None),
    )
    report = build_report([one, other])
    assert report.methods == ("a (x/run)", "a (y/run)")
    assert sum("no evaluation card" in caveat for caveat in report.caveats) == 2


# ---------------------------------------------------------------------------------------------------------- trajectories


def test_classes_operators_and_examples_come_from_trajectories(write: Any, logs: SimpleNamespace) -> None:
    rows = logs.rows("cot", "nq", "1100nf")
    kinds = ("bridge", "comparison")
    found = [
        ("cot", "nq", logs.trajectory(row, kind=kinds[number % 2], operators=("Search",) * (number + 1)))
        for number, row in enumerate(rows)
    ]
    report = build_report([write(rows, trajectories=found)])
    classes = {each.question_class: each.score for each in report.classes}
    # bridge: questions 0, 2, 4; comparison: 1, 3, and 5 that failed.
    assert classes["bridge"] == rate_interval(scores=[1, 0, 0])
    assert classes["comparison"] == rate_interval(scores=[1, 0])
    (mix,) = report.operators
    assert (mix.num_answers, mix.calls) == (5, {"Search": 3.0})
    by_outcome = {outcome: [each for each in report.examples if each.outcome is outcome] for outcome in Outcome}
    assert {str(outcome): len(of) for outcome, of in by_outcome.items()} == {
        "right": 2, "wrong": 2, "no_answer": 1, "malformed": 0, "out_of_budget": 0, "failed": 1,
    }  # fmt: skip
    assert by_outcome[Outcome.FAILED][0].error == "the server is down"


def test_a_later_trajectory_of_an_answer_replaces_an_earlier_one(write: Any, logs: SimpleNamespace) -> None:
    (row,) = logs.rows("cot", "nq", "1")
    twice = [("cot", "nq", logs.trajectory(row, operators=["Search"] * num, text=f"after {num}")) for num in (5, 2)]
    report = build_report([write([row], trajectories=twice)])
    assert report.operators[0].calls == {"Search": 2.0}
    assert [example.question for example in report.examples] == ["after 2"]


def test_a_trajectory_without_a_row_is_left_out(write: Any, logs: SimpleNamespace) -> None:
    first, second = logs.rows("cot", "nq", "11")
    found = [("cot", "nq", logs.trajectory(row)) for row in (first, second)]
    report = build_report([write([first], trajectories=found)])
    assert (report.operators[0].num_answers, len(report.examples)) == (1, 1)


def test_a_damaged_trajectory_is_named(write: Any, logs: SimpleNamespace) -> None:
    (row,) = logs.rows("cot", "nq", "1")
    directory = write([row], trajectories=[("cot", "nq", logs.trajectory(row))])
    path = directory / "trajectories" / "cot" / "nq.jsonl"
    path.write_text('{"id": 5}\n' + path.read_text())
    with pytest.raises(DataError, match=r"nq\.jsonl:1: expected a trajectory"):
        build_report([directory])


def test_trajectories_are_not_held_in_memory(write: Any, logs: SimpleNamespace) -> None:
    rows = logs.rows("cot", "nq", "10" * 500)
    directory = write(rows, trajectories=[("cot", "nq", logs.trajectory(rows[0]))])
    path = directory / "trajectories" / "cot" / "nq.jsonl"
    append_trajectories(path, (logs.trajectory(row, text="long " * 4000) for row in rows))
    assert path.stat().st_size > 18e6
    build_report([write(rows[:1], name="warm")])
    tracemalloc.start()
    report = build_report([directory])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.operators[0].num_answers == 1000
    assert peak < 8e6


def test_a_question_of_many_classes_is_cut_to_the_most_frequent(write: Any, logs: SimpleNamespace) -> None:
    rows = logs.rows("cot", "popqa", "10" * 40)
    found = [("cot", "popqa", logs.trajectory(row, kind=f"kind {number // 2}")) for number, row in enumerate(rows)]
    report = build_report([write(rows, trajectories=found)])
    assert len({each.question_class for each in report.classes}) == 25
    others = next(each for each in report.classes if each.question_class == "(others)")
    assert others.score.num_questions == 2 * 16


# ----------------------------------------------------------------------------------------------- searches, the paper


def test_what_a_search_took_is_read_and_unknown_where_it_is_not_told(write: Any, logs: SimpleNamespace) -> None:
    directory = write([*logs.rows("aflow", "nq", "10f"), *logs.rows("aflow", "nq", "101", seed=1)])
    graph = {"nodes": [{"operator": "Custom"}, {"operator": "Review"}]}
    told = {"llm_calls": 100, "tokens": 5, "seconds": 1.5, "cost": None, "found": {"round": 2, "graph": graph}}
    for seed, summary in enumerate([told, {}]):
        state = directory / "searches" / "aflow" / f"seed-{seed}"
        state.mkdir(parents=True)
        (state / "summary.json").write_text(json.dumps(summary))
    first, second = build_report([directory]).searches
    assert (first.method, first.seed, first.llm_calls, first.cost) == ("aflow", "seed-0", 100, None)
    assert first.found == "round 2, workflow Custom, Review"
    assert (second.llm_calls, second.found) == (None, "")
    assert (first.num_answers, second.num_answers) == (2, 3), "each search paid for the answers of its own seed"


def test_the_paper_stands_beside_what_corresponds(write: Any, logs: SimpleNamespace) -> None:
    card = logs.CARD | {"methods": {"ours": {"method": "policy", "operators": {"Search": "Search: query"}}}}
    rows = [
        row
        for name in ("policy", "policy+search", "ours", "cot", "cot+search", "random")
        for benchmark in ("nq", "popqa", "mine")
        for row in logs.rows(name, benchmark, "10")
    ]
    report = build_report([write(rows, card=card)])
    found = {
        (each.method, each.benchmark): [figure.value for figure in each.published] for each in report.beside_the_paper
    }
    assert found == {
        ("policy", "nq"): [0.301, 0.440],
        ("policy", "popqa"): [0.246, 0.487],
        ("policy+search", "nq"): [0.435],
        ("ours", "nq"): [0.435],
        ("cot", "nq"): [0.222, 0.332],
        ("cot", "popqa"): [0.205, 0.377],
    }


def test_the_papers_means_are_those_of_its_figures() -> None:
    """The means that were noted when the figures were read, over the seven benchmarks."""
    noted = {
        "Qwen2.5-32B-Instruct": {"Direct": 0.243, "CoT": 0.298, "SC": 0.304, "MedPrompt": 0.308, "MaAS": 0.273, "AFlow": 0.321, "Workflow-R1": 0.331},
        "DeepSeek V3.2": {"Direct": 0.348, "CoT": 0.428, "SC": 0.416, "MedPrompt": 0.414, "MaAS": 0.372, "AFlow": 0.454, "Workflow-R1": 0.500},
    }  # fmt: skip
    for llm, means in noted.items():
        for method, mean in means.items():
            values = [each.value for each in PUBLISHED if (each.method, each.operator_llm) == (method, llm)]
            assert len(values) == 7
            assert sum(values) / 7 == pytest.approx(mean, abs=0.0006)
    assert published_figures("cot", "nq", searches=True) == ()


# ---------------------------------------------------------------------------------------------------------------- errors


def test_what_is_no_evaluation_is_told(tmp_path: Path, write: Any, logs: SimpleNamespace) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        build_report([tmp_path / "absent"])
    (tmp_path / "card.json").write_text("{}")
    assert is_evaluation(tmp_path)
    with pytest.raises(DataError, match=r"with rows\.jsonl, found none"):
        build_report([tmp_path])
    with pytest.raises(DataError, match="expected the reference to be one of cot"):
        build_report([write(logs.rows("cot", "nq", "1"))], reference="sc")


@pytest.mark.parametrize("card", ["[1]", "{", '{"a":' * 40 + "1" + "}" * 40, "\xff", "[" * 100_000])
def test_a_damaged_card_is_named(write: Any, logs: SimpleNamespace, card: str) -> None:
    directory = write(logs.rows("cot", "nq", "1"))
    (directory / "card.json").write_bytes(card.encode("latin-1"))
    with pytest.raises(DataError, match=r"card\.json: expected"):
        build_report([directory])
