"""How attention takes a packed row apart, drawn as tables."""

import numpy as np
import pytest
import torch

from workflow_r1.policy.ragged_attention import attention_groups

CPU = torch.device("cpu")


def groups_of(decoding, filling, sizes, positions):
    arrays = {"decoding": decoding, "filling": filling, "sizes": sizes, "positions": positions}
    return attention_groups(**{name: np.array(rows, dtype=np.int64) for name, rows in arrays.items()}, device=CPU)


def listed(tensor):
    return None if tensor is None else tensor.tolist()


def test_slots_that_decode_and_slots_that_are_filled_attend_apart():
    # packed  a7 b3 c9 | d0 d1 d2 d3  e5 e6     letter: slots 0 to 4, number: position
    decoding, filling = groups_of([0, 1, 2], [3, 4], [4, 2], [7, 3, 9, 0, 1, 2, 3, 5, 6])
    assert (decoding.rows, decoding.length, listed(decoding.slots)) == (3, 10, None)
    assert listed(decoding.queries) == [0, 1, 2]
    assert listed(decoding.positions) == [[7], [3], [9]]
    assert listed(decoding.outputs) is None
    assert (filling.rows, filling.length, listed(filling.slots)) == (2, 7, [3, 4])
    assert listed(filling.queries) == [3, 4, 5, 6, 7, 8, 0, 0]  # The last two are padding,
    assert listed(filling.positions) == [[0, 1, 2, 3], [5, 6, 0, 0]]
    assert listed(filling.outputs) == [0, 1, 2, 3, 4, 5]  # and are left out of what comes back.


@pytest.mark.parametrize(
    ("decoding", "slots", "queries", "outputs"),
    [
        pytest.param([0, 1], None, None, None, id="all slots, and nothing else: the row as it is"),
        pytest.param([0, 2], None, [0, 0, 1], [0, 2], id="an idle slot in between: attended to and left out"),
        pytest.param([0, 5], [0, 5], [0, 1], None, id="mostly idle slots: keys of the busy ones are copied"),
    ],
)
def test_idle_slots_in_between(decoding, slots, queries, outputs):
    (group,) = groups_of(decoding, [], [], [4, 6])
    assert (listed(group.slots), listed(group.queries), listed(group.outputs)) == (slots, queries, outputs)
    assert group.length == 7
