"""Fingerprints, duplicates, empty answers, overlaps."""

import os
from pathlib import Path

import pytest

from workflow_r1.data import BENCHMARKS, fingerprint, load_questions, overlaps, report_questions
from workflow_r1.trajectory import Question


def question(id, text="Who?", answers=("x",), **rest):
    return Question(id=id, text=text, golden_answers=answers, **rest)


def test_a_fingerprint_is_of_what_is_asked_and_accepted():
    first, second = question("1", "Who is  Zoë?", ("b", "a")), question("2", "When?")
    same = question("9", "Who is Zoe\u0308?", ("a", "b", "a"), dataset="nq", split="dev", metadata={"hops": 2})
    assert fingerprint([first, second]) == fingerprint([second, same])
    # Any of these scores another answer or asks another question.
    others = [
        [first],
        [first, second, second],
        [first, question("2", "when?")],
        [first, question("2", "When?", ("X",))],
        [first, question("2", "When?", ("x", "y"))],
    ]
    assert len({fingerprint(each) for each in [[first, second], *others]}) == 6
    # Fixed for all time: sha256 of the sha256 of '["When?", ["x"]]'.
    assert fingerprint([second]) == "1bf0ebb01b0f69e01f84cede0750dfc2b113da8e53ece88ee4de557d90a7d259"


def test_a_fingerprint_does_not_run_texts_together():
    assert fingerprint([question("1", "a", ("b", "c"))]) != fingerprint([question("1", "a", ('b", "c',))])


def test_report():
    report = report_questions(
        [
            question("1", "Who wrote 'Emma'?", ("Jane Austen", "Austen"), dataset="nq", split="dev"),
            question("2", "who wrote emma", ("Austen",), dataset="nq", split="dev"),
            question("3", "Is it?", ("Yes.",), dataset="popqa"),
            question("4", "Yes or else?", ("yes", "Brexit")),
            question("5", "Blood type?", ("---", "A")),
            question("6", "WHO WROTE EMMA"),
        ]
    )
    assert report.num_questions == 6
    assert report.num_answers == 9
    assert report.datasets == {("nq", "dev"): 2, ("popqa", ""): 1, ("", ""): 3}
    assert report.yes_or_no == 1
    assert report.duplicates == (("1", "2", "6"),)
    assert report.empty_answers == ("5",)  # both "---" and "A" normalise to nothing


def test_questions_of_other_scripts_and_marks_stay_apart():
    report = report_questions(
        [
            question("1", "कि?"),
            question("2", "की?"),
            question("3", "C++?"),
            question("6", "C?"),
            question("4", "か"),
            question("5", "が"),
        ]
    )
    assert report.duplicates == ()


def test_overlaps():
    train = [question("t1", "Who wrote Emma?"), question("t2", "When?"), question("t3", "when")]
    test = [question("e1", "Where?"), question("e2", "WHEN ?"), question("e3", "who wrote emma")]
    assert overlaps(train, test) == [("t2", "e2"), ("t1", "e3")]
    assert overlaps(train, test[:1]) == []


def test_the_table_of_benchmarks():
    assert list(BENCHMARKS) == [
        "nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle", "nq_hotpotqa",
    ]  # fmt: skip
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert benchmark.default_split in benchmark.splits
        for split, file in benchmark.splits.items():
            assert Path(file.path).stem == split
    mixture = BENCHMARKS["nq_hotpotqa"].splits
    assert mixture["train"].questions == sum(BENCHMARKS[name].splits["train"].questions for name in ("nq", "hotpotqa"))
    evaluated = [each for each in BENCHMARKS.values() if each.evaluated]
    assert mixture["test"].questions == sum(each.splits[each.evaluated].questions for each in evaluated)
    paths = {each.path_in(Path("d"), split) for each in BENCHMARKS.values() for split in each.splits}
    assert len(paths) == sum(len(each.splits) for each in BENCHMARKS.values())


DATA = Path(os.environ.get("WORKFLOW_R1_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no question files at {DATA}; set WORKFLOW_R1_DATA")
def test_the_real_files_have_the_documented_counts_and_do_not_overlap():
    # Questions; only yes or no as answers; repeated; with a golden answer that normalises to nothing. The first are the
    # counts of the files' own documentation, and so are the yes/no questions of the multi-hop sets.
    expected = {
        "eval/2wikimultihopqa": (1000, 106, 0, set()),
        "eval/hotpotqa": (1000, 52, 0, set()),
        "eval/nq": (1000, 1, 0, {"nq_dev_290", "nq_dev_363", "nq_dev_2720"}),
        "eval/popqa": (1000, 0, 14, set()),
        "eval/triviaqa": (1000, 0, 0, set()),
        "train/hotpotqa": (5000, 84, 0, set()),
        "train/nq": (5000, 1, 1, {"nq-train-37486"}),
    }
    loaded = {name: load_questions(DATA / f"{name}.jsonl") for name in expected}
    found = {}
    for name, questions in loaded.items():
        report = report_questions(questions)
        repeated = sum(len(ids) - 1 for ids in report.duplicates)
        found[name] = (report.num_questions, report.yes_or_no, repeated, set(report.empty_answers))
    assert found == expected
    for train in ("train/nq", "train/hotpotqa"):
        for name in expected:
            assert name.startswith("train") or overlaps(loaded[train], loaded[name]) == []
