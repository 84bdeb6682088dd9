"""Mixing datasets, and drawing the rows that pandas draws."""

import pytest

from workflow_r1.data import Draw, draw_questions, mix
from workflow_r1.data.mixture import draw_rows
from workflow_r1.errors import DataError
from workflow_r1.trajectory import Question


def question(id, dataset="nq"):
    return Question(id=id, text=f"{dataset} {id}?", golden_answers=("x",), dataset=dataset)


# Printed by pandas 3.1.1: DataFrame({"x": range(rows)}).sample(n=size, random_state=seed); of the last, its first ten.
PANDAS = {
    (100, 10, 42): [83, 53, 70, 45, 44, 39, 22, 80, 10, 0],
    (12, 12, 7): [7, 10, 2, 5, 0, 1, 11, 8, 3, 6, 9, 4],
    (169_615, 10_000, 42): [86002, 72187, 160653, 145968, 154474, 25866, 134886, 130618, 31597, 106050],
}


@pytest.mark.parametrize(("key", "rows"), PANDAS.items(), ids=str)
def test_the_rows_are_those_that_pandas_draws(key, rows):
    num_rows, size, seed = key
    drawn = draw_rows(num_rows, Draw(size=size, seed=seed))
    assert drawn[: len(rows)] == rows
    assert len(drawn) == len(set(drawn)) == size


def test_drawn_questions_keep_the_order_drawn():
    questions = [question(str(number)) for number in range(100)]
    drawn = draw_questions(questions, Draw(size=3, seed=42))
    assert [each.id for each in drawn] == ["83", "53", "70"]
    with pytest.raises(DataError, match="at least 101 questions to draw from, found 100"):
        draw_questions(questions, Draw(size=101, seed=42))


def test_several_datasets_are_told_apart_by_their_ids():
    parts = [[question("test_0"), question("test_1")], [question("test_0", "popqa"), question("popqa/test_1", "popqa")]]
    assert [each.id for each in mix(parts)] == ["nq/test_0", "nq/test_1", "popqa/test_0", "popqa/test_1"]
    assert [each.id for each in mix([[question("a")], [question("b")]])] == ["a", "b"]


def test_one_dataset_twice_is_refused():
    with pytest.raises(DataError, match="found 'test_0' of 'nq' in two places"):
        mix([[question("test_0")], [question("test_0")]])
