import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.policy.packing import PackedBatch
from workflow_r1.policy.prefix_trees import prefix_trees, tree_batch

P0, P1, A0, A1, B0 = 10, 11, 20, 21, 30


def packed(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(width) < lengths[:, None]
    return PackedBatch(ids, mask, mask.long(), torch.zeros(ids.shape))


def test_rows_that_begin_alike_become_one_tree():
    rows = [[P0, P1, A0, A1], [99, 98], [P0, P1, B0]]
    tree, other = prefix_trees(rows, hidden_size=64)
    assert tree.input_ids == [P0, P1, A0, A1, B0]
    assert tree.parents == [-1, 0, 1, 2, 1]
    assert tree.depths == [0, 1, 2, 3, 2]
    assert tree.paths == {0: [0, 1, 2, 3], 2: [0, 1, 4]}
    assert (other.input_ids, other.paths) == ([99, 98], {1: [0, 1]})


def test_the_mask_is_drawn_from_the_paths():
    """
    sees      P0  P1  a0  a1  b0
    P0        1
    P1        1   1
    a0        1   1   1
    a1        1   1   1   1
    b0        1   1           1
    """
    rows = [[P0, P1, A0, A1], [P0, P1, B0], [99, 98]]
    batch = tree_batch(prefix_trees(rows, hidden_size=64), packed(rows), pad_token_id=7)
    table = ["1....", "11...", "111..", "1111.", "11..1"]
    assert batch.attends[0, 0].tolist() == [[cell == "1" for cell in line] for line in table]
    assert batch.attends[1, 0].tolist() == [
        [cell == "1" for cell in line] for line in ["1....", "11...", "..1..", "...1.", "....1"]
    ]
    assert batch.input_ids.tolist() == [[P0, P1, A0, A1, B0], [99, 98, 7, 7, 7]]
    assert batch.depths.tolist() == [[0, 1, 2, 3, 2], [0, 1, 0, 0, 0]]
    assert batch.rows == [0, 1, 2]
    assert batch.nodes.tolist() == [[0, 1, 2, 3], [0, 1, 4, 0], [5, 6, 0, 0]]


def test_equal_rows_are_one_and_others_stay_apart_without_a_hidden_size():
    rows = [[1, 2, 3], [1, 2, 4], [1, 2, 3]]
    trees = prefix_trees(rows, hidden_size=None)
    assert [tree.paths for tree in trees] == [{0: [0, 1, 2], 2: [0, 1, 2]}, {1: [0, 1, 2]}]
    batch = tree_batch(trees, packed(rows), pad_token_id=0)
    assert batch.attends is None and batch.depths is None
    assert batch.rows == [0, 2, 1]


def test_rows_that_share_nothing_keep_their_order():
    rows = [[5, 1], [4, 1, 1], [3]]
    assert [list(tree.paths) for tree in prefix_trees(rows, hidden_size=64)] == [[0], [1], [2]]


@pytest.mark.parametrize(("width", "joins"), [(31, True), (32, False)])
def test_a_row_joins_where_that_saves_work(width, joins):
    """Of 12 tokens 4 are shared, d = 4: 6 * 4 * 4 + 12^2 = 240 pairs are saved; (W + 8)^2 - W^2 = 16 W + 64 are paid.

    So it pays below W = 11; a multiple of the hidden size moves the border: d = 18 gives 576 pairs, and W < 32.
    """
    first = list(range(width))
    second = [0, 1, 2, 3, *range(100, 108)]
    assert len(prefix_trees([first, second], hidden_size=18)) == (1 if joins else 2)
    assert len(prefix_trees([first, second], hidden_size=4)) == 2
    assert len(prefix_trees([first[:10], second], hidden_size=4)) == 1
    assert len(prefix_trees([first[:11], second], hidden_size=4)) == 2


@given(
    rows=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12),
    hidden_size=st.sampled_from([None, 1, 8, 1000]),
)
def test_every_path_spells_its_row_and_sees_it_alone(rows, hidden_size):
    trees = prefix_trees(rows, hidden_size=hidden_size)
    assert sorted(index for tree in trees for index in tree.paths) == list(range(len(rows)))
    assert [min(tree.paths) for tree in trees] == sorted(min(tree.paths) for tree in trees)
    batch = tree_batch(trees, packed(rows), pad_token_id=0)
    for tree, table in zip(trees, batch.attends if batch.attends is not None else [None] * len(trees), strict=True):
        for index, path in tree.paths.items():
            assert [tree.input_ids[node] for node in path] == rows[index]
            assert [tree.depths[node] for node in path] == list(range(len(path)))
            assert [tree.parents[node] for node in path] == [-1, *path[:-1]]
            for place, node in enumerate(path):
                seen = range(node + 1) if table is None else np.flatnonzero(table[0, node])
                assert list(seen) == path[: place + 1]
    if hidden_size == 1000:
        prefixes = {tuple(row[: length + 1]) for row in rows for length in range(len(row))}
        assert sum(map(len, trees)) == len(prefixes), "a beginning is computed once"
