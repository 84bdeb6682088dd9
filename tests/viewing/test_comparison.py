"""Sides beside each other."""

import json
from pathlib import Path

import pytest
from viewed_runs import make_evaluation, make_run

from workflow_r1.errors import DataError
from workflow_r1.viewing.comparison import usual_sides
from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.source import Source


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    make_evaluation(tmp_path / "evaluation", right={"direct": 1, "policy": 3})
    make_run(tmp_path / "run", steps=3)
    return Reading([Source(tmp_path / "run"), Source(tmp_path / "evaluation")])


def figure(compared: dict, name: str) -> dict:
    return next(each for each in compared["figures"] if each["name"] == name)


def test_methods_are_compared_over_their_common_questions(reading: Reading) -> None:
    compared = reading.compare(["1/0", "1/1"])
    assert [side["label"] for side in compared["sides"]] == ["direct / films", "policy / films"]
    assert compared["num_common"] == 4
    right = figure(compared, "right")
    assert [mean["estimate"] for mean in right["means"]] == [0.25, 0.75]
    _, difference = right["differences"]
    assert (difference["estimate"], difference["num_common"], difference["is_paired"]) == (0.5, 4, True)
    # Agresti and Min 2005: p1 = 3/6, p2 = 1/6; 1/3 -+ 1.96 sqrt((2/3 - 1/9) / 6)
    assert (difference["low"], difference["high"]) == pytest.approx((1 / 3 - 0.596408, 1 / 3 + 0.596408), abs=1e-5)
    first, *_, last = compared["questions"]
    assert [(cell["right"], cell["num"]) for cell in first["cells"]] == [(0, 1), (1, 1)]
    assert [(cell["right"], cell["num"]) for cell in last["cells"]] in ([(1, 1), (1, 1)], [(0, 1), (0, 1)])


def test_spans_of_steps_are_sides_and_failures_enter_none(reading: Reading) -> None:
    compared = reading.compare(["0@1-1", "0@2-3"])
    assert [side["label"] for side in compared["sides"]] == ["run, step 1", "run, steps 2 to 3"]
    assert [side["num_failed"] for side in compared["sides"]] == [2, 0]
    assert [side["num_trajectories"] for side in compared["sides"]] == [6, 16]
    # Of four in step 2 two are right, of four in step 3 three; of the three in step 1 that were scored, one.
    assert [mean["estimate"] for mean in figure(compared, "right")["means"]] == pytest.approx([1 / 3, 5 / 8])


def test_a_shown_trajectory_has_the_usual_outcome(reading: Reading) -> None:
    compared = reading.compare(["0@1-1", "0@3-3"])
    for question in compared["questions"]:
        outcomes = [reading.trajectories(0, [tuple(cell["place"])])[0]["outcome"] for cell in question["cells"]]
        assert outcomes == ["wrong", "right"]


def test_two_questions_of_one_id_are_not_paired(tmp_path: Path) -> None:
    """The quickstart's world and the hard one number their questions alike."""
    make_evaluation(tmp_path / "one", right={"m": 4}, questions=4)
    make_evaluation(tmp_path / "two", right={"m": 2}, questions=4)
    rows = tmp_path / "two" / "trajectories" / "m" / "films.jsonl"
    changed = [json.loads(line) for line in rows.read_text().splitlines()]
    for row in changed[:2]:
        row["question"]["text"] = f"Another question, {row['id']}?"
    rows.write_text("".join(json.dumps(row) + "\n" for row in changed))
    compared = Reading([Source(tmp_path / "one"), Source(tmp_path / "two")]).compare(["0", "1"])
    assert compared["num_common"] == len(compared["questions"]) == 2


def test_two_questions_of_one_id_in_a_file_are_both_of_the_side(tmp_path: Path) -> None:
    """A file put together from two benchmarks; a row that stands twice counts once, as after a crash."""
    make_evaluation(tmp_path / "one", right={"m": 2}, questions=2)
    rows = tmp_path / "one" / "trajectories" / "m" / "films.jsonl"
    first, second = rows.read_text().splitlines(keepends=True)
    other = json.loads(first)
    other["question"]["text"] = "Another question?"
    rows.write_text(first + second + json.dumps(other) + "\n" + second)
    compared = Reading([Source(tmp_path / "one")]).compare(["0", "0/0"])
    assert [(side["num_trajectories"], side["num_questions"]) for side in compared["sides"]] == [(3, 3)] * 2


def test_without_common_questions_means_are_compared(tmp_path: Path) -> None:
    make_evaluation(tmp_path / "one", right={"m": 4}, questions=8)
    make_evaluation(tmp_path / "two", right={"m": 2}, questions=2)
    rows = tmp_path / "two" / "trajectories" / "m" / "films.jsonl"
    rows.write_text(rows.read_text().replace('"id":"q', '"id":"other'))
    compared = Reading([Source(tmp_path / "one"), Source(tmp_path / "two")]).compare(["0", "1"])
    _, difference = figure(compared, "right")["differences"]
    assert (difference["num_common"], difference["estimate"]) == (0, 0.5)
    assert difference["low"] < 0.5 <= difference["high"]
    assert compared["questions"] == []


def test_a_single_common_question_is_counted_and_pairs_nothing(tmp_path: Path) -> None:
    make_evaluation(tmp_path / "one", right={"m": 4}, questions=8)
    make_evaluation(tmp_path / "two", right={"m": 2}, questions=2)
    rows = tmp_path / "two" / "trajectories" / "m" / "films.jsonl"
    first, second = rows.read_text().splitlines(keepends=True)
    rows.write_text(first + second.replace('"id":"q', '"id":"other'))
    compared = Reading([Source(tmp_path / "one"), Source(tmp_path / "two")]).compare(["0", "1"])
    _, difference = figure(compared, "right")["differences"]
    assert (difference["num_common"], difference["is_paired"], difference["estimate"]) == (1, False, 0.5)
    assert compared["num_common"] == len(compared["questions"]) == 1


def test_answers_that_are_all_right_have_an_interval_with_a_width(tmp_path: Path) -> None:
    make_evaluation(tmp_path / "one", right={"m": 4, "n": 0}, questions=4)
    compared = Reading([Source(tmp_path / "one")]).compare(["0/0", "0/1"])
    # Wilson's interval of 4 in 4 and of 0 in 4, as the report of the evaluation has them: 4 / (4 + 1.96 ** 2).
    for mean, low, high in zip(figure(compared, "right")["means"], (0.510109, 0), (1, 0.489891), strict=True):
        assert (mean["low"], mean["high"]) == pytest.approx((low, high), abs=1e-5)


def test_usual_sides(reading: Reading) -> None:
    assert usual_sides(reading.sources) == ["0", "1"]
    assert usual_sides(reading.sources[:1]) == ["0@1-1", "0@3-3"]
    assert usual_sides(reading.sources[1:]) == []


@pytest.mark.parametrize("side", ["", "2", "-1", "0@3", "1/9", "0@1-2/1", "0; 1", "\u0661"])
def test_other_sides_are_refused(reading: Reading, side: str) -> None:
    with pytest.raises(DataError, match="expected"):
        reading.compare(["0", side])
    with pytest.raises(DataError, match="at least two"):
        reading.compare(["0"])
