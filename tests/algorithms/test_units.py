import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_r1.algorithms import turn_ids_from_mask, unit_ids
from workflow_r1.algorithms.units import find_units, unit_weights

#                  P  P  a  a  o  b  o  o  c  c  c  pad
TURN_IDS = [[0, 0, 1, 1, 0, 2, 0, 0, 3, 3, 3, 0]]


def test_unit_ids_column_by_column():
    turn_ids = torch.tensor(TURN_IDS)
    assert unit_ids(turn_ids, "token").tolist() == [[0, 0, 1, 2, 0, 3, 0, 0, 4, 5, 6, 0]]
    assert unit_ids(turn_ids, "turn").tolist() == TURN_IDS
    assert unit_ids(turn_ids, "sequence").tolist() == [[0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0]]


def test_ids_are_long_whatever_comes_in():
    turn_ids = torch.tensor([[0, 1, 1, 2]], dtype=torch.int32)
    for unit in ("token", "turn", "sequence"):
        assert unit_ids(turn_ids, unit).dtype == torch.long
    for dtype in (torch.bool, torch.int32, torch.uint8, torch.long):
        assert turn_ids_from_mask((turn_ids > 0).to(dtype)).dtype == torch.long


def test_runs_of_ones_are_turns():
    mask = torch.tensor([[1, 1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 1]])
    expected = [[1, 1, 0, 2, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 1]]
    assert turn_ids_from_mask(mask).tolist() == expected
    assert turn_ids_from_mask(mask.bool()).tolist() == expected
    assert turn_ids_from_mask(mask[:, :1]).tolist() == [[1], [0], [0]]
    assert turn_ids_from_mask(mask[:, :0]).shape == (3, 0)


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.lists(st.integers(min_value=1, max_value=4), max_size=4), min_size=1, max_size=4))
def test_a_mask_gives_back_the_turns_that_an_observation_separates(rows: list[list[int]]):
    turn_ids = torch.zeros(len(rows), 21, dtype=torch.long)
    for i, row in enumerate(rows):
        position = 1
        for k, length in enumerate(row, start=1):
            turn_ids[i, position : position + length] = k
            position += length + 1
    assert torch.equal(turn_ids_from_mask(turn_ids > 0), turn_ids)


def test_weights_of_two_trajectories():
    """Turns of 2, 1, 3 tokens and one of 4; N = 2."""
    units = find_units(torch.tensor([[1, 1, 0, 2, 0, 3, 3, 3], [9, 9, 9, 9, 0, 0, 0, 0]]))
    assert units.length.tolist() == [2, 1, 3, 4]
    assert units.id_of_unit.tolist() == [1, 2, 3, 9]
    expected = {
        "uniform": [1 / 6, 1 / 6, 1 / 6, 1 / 2],
        "length": [2 / 12, 1 / 12, 3 / 12, 1 / 2],
        "batch": [1 / 4, 1 / 4, 1 / 4, 1 / 4],
    }
    for weight, values in expected.items():
        torch.testing.assert_close(
            unit_weights(units, weight=weight, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
        )
