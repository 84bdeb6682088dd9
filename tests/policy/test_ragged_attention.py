"""How attention takes a packed row apart, drawn as tables."""

import numpy as np
import pytest
import torch

from workflow_r1.policy.ragged_attention import (
    CALL_PAIRS,
    MOST_PAIRS,
    UNCUT_PAIRS,
    RaggedBatch,
    SlotCache,
    attend_ragged,
    attention_groups,
    cut_filling,
)

CPU = torch.device("cpu")


def groups_of(decoding, filling, sizes, positions, num_direct=0):
    parts = {
        name: [np.array(part, dtype=np.int64) for part in each]
        for name, each in (("filling", filling), ("sizes", sizes))
    }
    arrays = {"decoding": np.array(decoding, dtype=np.int64), "positions": np.array(positions, dtype=np.int64)}
    return attention_groups(**arrays, **parts, num_direct=num_direct, device=CPU)


def listed(tensor):
    return None if tensor is None else tensor.tolist()


def test_slots_that_decode_and_slots_that_are_filled_attend_apart():
    # packed  a7 b3 c9 | d0 d1 d2 d3  e5 e6     letter: slots 0 to 4, number: position
    decoding, filling = groups_of([0, 1, 2], [[3, 4]], [[4, 2]], [7, 3, 9, 0, 1, 2, 3, 5, 6])
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


def test_what_the_compiled_function_takes_comes_first_and_is_in_no_group():
    # packed  a7 b3 | c0 c1 | d0 d1 d2 d3
    (group,) = groups_of([], [[3]], [[4]], [7, 3, 0, 1, 0, 1, 2, 3], num_direct=4)
    assert (listed(group.queries), listed(group.slots), group.length) == ([4, 5, 6, 7], [3], 4)


@pytest.mark.parametrize(
    ("sizes", "starts", "few", "groups"),
    [
        pytest.param([3, 500, 5], [0, 0, 9], 0, [[], [0, 1, 2]], id="small as a whole: one rectangle, as they came"),
        pytest.param([3, 1500, 5], [0, 0, 9], 0, [[], [1], [2, 0]], id="a long prompt apart, the others together"),
        pytest.param([3, 1500, 40], [0, 0, 9], 8, [[0], [1], [2]], id="few tokens need no rectangle"),
        pytest.param([1500, 1490, 1500], [0, 0, 0], 0, [[], [0], [2], [1]], id="two long ones are too many pairs"),
        pytest.param([62, 61, 62], [9000, 60, 9000], 0, [[], [0, 2], [1]], id="long contexts together"),
        pytest.param([], [], 8, [[]], id="nothing"),
    ],
)
def test_what_is_filled_is_cut_by_size(sizes, starts, few, groups):
    cut = cut_filling(np.array(sizes, dtype=np.int64), np.array(starts, dtype=np.int64), few=few)
    assert [part.tolist() for part in cut] == groups


def test_no_rectangle_is_much_larger_than_what_it_holds():
    generator = np.random.default_rng(0)
    for _ in range(50):
        num = int(generator.integers(1, 60))
        sizes, starts = (
            generator.integers(1, 1500, num),
            generator.integers(0, 3000, num) * generator.integers(0, 2, num),
        )
        _, *parts = cut_filling(sizes, starts)
        assert sorted(index for part in parts for index in part) == list(range(num))
        rectangles = [len(part) * int(sizes[part].max()) * int((starts + sizes)[part].max()) for part in parts]
        held = int((sizes * (starts + sizes)).sum())
        if sum(rectangles) > UNCUT_PAIRS:
            assert sum(rectangles) <= held + num * CALL_PAIRS
        assert all(len(part) == 1 or pairs <= MOST_PAIRS for part, pairs in zip(parts, rectangles, strict=True))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_whole_contexts_without_a_mask_equal_those_with_one(kv_heads):
    torch.manual_seed(0)
    sizes = np.array([40, 25], dtype=np.int64)
    query = torch.randn(65, 4, 8)
    positions = np.concatenate([np.arange(40), np.arange(25)])
    slots = torch.tensor([0] * 40 + [1] * 25)
    found = []
    for is_whole in (False, True):
        cache = SlotCache()
        cache.reserve(2, 40)
        (group,) = groups_of([], [[0, 1]], [sizes], positions)
        group.is_whole = is_whole
        batch = RaggedBatch(cache, slots, torch.from_numpy(positions), [group])
        key = torch.randn(65, kv_heads, 8, generator=torch.Generator().manual_seed(1))
        found.append(attend_ragged(0, query, key, key + 1, ragged=batch))
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)
