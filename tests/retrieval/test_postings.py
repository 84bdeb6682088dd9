"""Scores against bm25s to the last bit, and their layers."""

import numpy as np
import pytest

from workflow_r1.retrieval import postings as module
from workflow_r1.retrieval.postings import LayeredPostings, layer_token, make_postings

bm25s = pytest.importorskip("bm25s")


@pytest.fixture
def small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_LAYER", 2)


def test_every_score_is_that_of_bm25s_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.zipf(1.3, size=rng.integers(0, 30)).clip(max=149).tolist() for _ in range(400)]
    rows[0] += list(range(150))
    matrix = bm25s.BM25(backend="numpy", csc_backend="numpy", auto_compile=False)
    matrix.index((rows, {str(token): token for token in range(150)}), show_progress=False)
    tokens = np.array([token for row in rows for token in row], dtype=np.int32)
    postings = make_postings(tokens, np.array([len(row) for row in rows], dtype=np.int32), 150)
    assert np.array_equal(postings.passages, matrix.scores["indices"])
    assert np.array_equal(postings.scores, matrix.scores["data"])
    assert np.array_equal(postings.layer_starts, matrix.scores["indptr"])


def test_layers_grow_and_equal_scores_share_one(small_layers: None) -> None:
    scores = np.array([1, 9, 5, 5, 5, 8, 2, 3, 7, 4, 0.5, 6, 5], dtype=np.float32)
    order, sizes = layer_token(scores)
    # By rank 9 8 | 7 6 5 5 5 5 4 3 | 2 1 .5: the first 2, the next 8, the rest.
    assert sizes == [2, 8, 3]
    assert order.tolist() == [1, 5, 2, 3, 4, 7, 8, 9, 11, 12, 0, 6, 10]
    assert layer_token(np.ones(13, dtype=np.float32))[1] == [13]


def test_layers_hold_what_the_tokens_held(small_layers: None) -> None:
    rng = np.random.default_rng(5)
    counts = np.array([1, 3, 40, 1, 2, 17])
    passages = np.concatenate([np.sort(rng.choice(100, size=n, replace=False)) for n in counts]).astype(np.int32)
    scores = rng.random(len(passages), dtype=np.float32)
    layered = LayeredPostings.of(passages, scores, counts)
    ends = np.cumsum(layered.layer_sizes)
    assert np.cumsum(counts).tolist() == ends[np.cumsum(layered.num_layers) - 1].tolist()
    for start, end, bound in zip(ends - layered.layer_sizes, ends, layered.layer_bounds, strict=True):
        assert layered.scores[start:end].max() == bound
        assert (np.diff(layered.passages[start:end]) > 0).all()
    for start, end in zip(np.cumsum(counts) - counts, np.cumsum(counts), strict=True):
        assert dict(zip(passages[start:end], scores[start:end], strict=True)) == dict(
            zip(layered.passages[start:end], layered.scores[start:end], strict=True)
        )
