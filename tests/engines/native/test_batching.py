from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.engines.native.batching import draw, micro_batches, passes, permutation, token_batches

LENGTHS = st.lists(st.integers(1, 50), max_size=40)


@given(LENGTHS, st.integers(1, 200))
def test_micro_batches_hold_every_row_once_and_keep_the_budget(lengths, max_tokens):
    batches = micro_batches(lengths, max_tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= max_tokens


def test_micro_batches_go_from_long_to_short():
    assert micro_batches([3, 9, 3, 8, 2], 18) == [[1, 3], [0, 2, 4]]


@given(LENGTHS, st.integers(1, 200), st.integers(1, 4))
def test_processes_run_every_row_once_and_in_step(lengths, max_tokens, size):
    cut = [passes(lengths, max_tokens, rank=rank, size=size, in_step=True) for rank in range(size)]
    real = [index for own in cut for one in own if not one.is_padding for index in one.indices]
    assert sorted(real) == list(range(len(lengths)))
    assert len({len(own) for own in cut}) == 1
    tokens = [sum(lengths[i] for one in own if not one.is_padding for i in one.indices) for own in cut]
    assert max(tokens) - min(tokens) <= max(lengths, default=0)
    free = [passes(lengths, max_tokens, rank=rank, size=size) for rank in range(size)]
    assert free == [[one for one in own if not one.is_padding] for own in cut]


def test_one_process_runs_the_micro_batches_as_they_are():
    assert [one.indices for one in passes([3, 9, 3, 8, 2], 18)] == micro_batches([3, 9, 3, 8, 2], 18)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 3))
def test_token_batches_hold_every_row_once_and_keep_the_budget(lengths, batch_tokens, epoch):
    batches = token_batches(lengths, batch_tokens, seed=1, epoch=epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= batch_tokens


def test_passes_differ_and_repeat():
    assert permutation(50, seed=0, epoch=0) == permutation(50, seed=0, epoch=0)
    assert permutation(50, seed=0, epoch=0) != permutation(50, seed=0, epoch=1)
    assert permutation(50, seed=0, epoch=0) != permutation(50, seed=1, epoch=0)


def test_drawing_in_parts_equals_drawing_at_once_across_passes():
    whole = draw(5, seed=3, start=0, count=13)
    assert [len(set(whole[:5])), len(set(whole[5:10]))] == [5, 5]
    assert draw(5, seed=3, start=0, count=4) + draw(5, seed=3, start=4, count=9) == whole
