"""Scores against bm25s to the last bit, and the search by bounds against a search of everything."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_r1.retrieval import postings as module
from workflow_r1.retrieval.postings import (
    LayeredPostings,
    Postings,
    Ranking,
    best_first,
    layer_token,
    make_postings,
)

bm25s = pytest.importorskip("bm25s")


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers, rounds and candidates of a few, so that small passages take every path."""
    for name, value in {"FIRST_LAYER": 2, "_FEW": 0, "_BLOCKS": 4, "_FIRST_ROUND": 4, "_FEW_CANDIDATES": 2}.items():
        monkeypatch.setattr(module, name, value)


def draw_rows(seed: int, num_rows: int, num_tokens: int) -> list[list[int]]:
    """Passages of a Zipf-like vocabulary; every token occurs."""
    rng = np.random.default_rng(seed)
    weights = 1 / (1 + np.arange(num_tokens))
    rows = [
        rng.choice(num_tokens, size=rng.integers(0, 30), p=weights / weights.sum()).tolist() for _ in range(num_rows)
    ]
    rows[0] += list(range(num_tokens))
    return rows


def index_rows(rows: list[list[int]], num_tokens: int) -> Postings:
    tokens = np.array([token for row in rows for token in row], dtype=np.int32)
    return make_postings(tokens, np.array([len(row) for row in rows], dtype=np.int32), num_tokens)


def bm25s_matrix(rows: list[list[int]], num_tokens: int) -> "bm25s.BM25":
    matrix = bm25s.BM25(backend="numpy", csc_backend="numpy", auto_compile=False)
    matrix.index((rows, {str(token): token for token in range(num_tokens)}), show_progress=False)
    return matrix


def best_by_bm25s(matrix: "bm25s.BM25", query: list[int], k: int) -> list[tuple[int, float]]:
    scores = matrix.get_scores_from_ids(query)
    ranked = sorted(np.flatnonzero(scores).tolist(), key=lambda passage: (-scores[passage], passage))
    return [(passage, float(scores[passage])) for passage in ranked[:k]]


def test_every_score_is_that_of_bm25s_to_the_last_bit() -> None:
    rows = draw_rows(0, 400, 150)
    matrix, postings = bm25s_matrix(rows, 150), index_rows(rows, 150)
    assert np.array_equal(postings.passages, matrix.scores["indices"])
    assert np.array_equal(postings.scores, matrix.scores["data"])
    assert np.array_equal(postings.layer_starts, matrix.scores["indptr"])


def queries(num_tokens: int) -> Iterator[tuple[list[int], int]]:
    rng = np.random.default_rng(1)
    for k in (1, 2, 5, 40, 1000):
        for length in (1, 2, 3, 8, 40):
            for _ in range(8):
                yield rng.integers(0, num_tokens, size=length).tolist(), k


@pytest.mark.parametrize("way", ["all", "bounds"])
def test_the_best_are_those_of_bm25s(way: str, request: pytest.FixtureRequest) -> None:
    if way == "bounds":
        request.getfixturevalue("small_steps")
    rows = draw_rows(2, 700, 90)
    ranking, matrix = Ranking(index_rows(rows, 90)), bm25s_matrix(rows, 90)
    for query, k in queries(90):
        assert ranking.best(query, k) == best_by_bm25s(matrix, query, k), (query, k)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=40),
    query=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    k=st.integers(1, 50),
)
def test_ties_and_tiny_corpora(rows: list[list[int]], query: list[int], k: int) -> None:
    rows = [*rows, [0, 1, 2, 3, 4]]
    expected = best_by_bm25s(bm25s_matrix(rows, 5), query, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCKS", 4)
        patch.setattr(module, "FIRST_LAYER", 2)
        assert Ranking(index_rows(rows, 5)).best(query, k) == expected
        for name, value in {"_FEW": 0, "_FIRST_ROUND": 1, "_FEW_CANDIDATES": 1}.items():
            patch.setattr(module, name, value)
        assert Ranking(index_rows(rows, 5)).best(query, k) == expected


def test_bounds_save_most_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rare token decides: the common one's 20,000 postings are not added up."""
    monkeypatch.setattr(module, "_FEW", 0)
    monkeypatch.setattr(module, "_FIRST_ROUND", 16)
    rows = [[0, 0] if number % 3 else [0] for number in range(20_000)]
    for number in range(0, 2000, 100):
        rows[number] = [0, 1, 1, 1]
    ranking = Ranking(index_rows(rows, 2))
    added: list[int] = []
    add = module._add_layer
    monkeypatch.setattr(module, "_add_layer", lambda sums, *layer: added.append(len(layer[0])) or add(sums, *layer))
    assert [passage for passage, _ in ranking.best([0, 1], 5)] == [0, 100, 200, 300, 400]
    assert 20 <= sum(added) < 2000


def test_sums_are_clean_after_every_query(small_steps: None) -> None:
    rows = draw_rows(3, 100, 20)
    ranking = Ranking(index_rows(rows, 20))
    for query, k in queries(20):
        ranking.best(query, k)
        assert not any(sums.any() for sums in ranking._unused)


def test_several_threads_search_at_once() -> None:
    rows = draw_rows(4, 300, 40)
    ranking = Ranking(index_rows(rows, 40))
    asked = list(queries(40))
    expected = [ranking.best(query, k) for query, k in asked]
    found: dict[int, list[object]] = {}

    def search(number: int) -> None:
        found[number] = [ranking.best(query, k) for query, k in asked]

    threads = [threading.Thread(target=search, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == expected for number in range(6))
    assert len(ranking._unused) <= module._MOST_AT_ONCE


def test_layers_grow_and_equal_scores_share_one(small_steps: None) -> None:
    scores = np.array([1, 9, 5, 5, 5, 8, 2, 3, 7, 4, 0.5, 6, 5], dtype=np.float32)
    order, sizes = layer_token(scores)
    # By rank 9 8 | 7 6 5 5 5 5 4 3 | 2 1 .5: the first 2, the next 8, the rest.
    assert sizes == [2, 8, 3]
    assert order.tolist() == [1, 5, 2, 3, 4, 7, 8, 9, 11, 12, 0, 6, 10]
    assert layer_token(np.ones(13, dtype=np.float32))[1] == [13]


def test_layers_hold_what_the_tokens_held(small_steps: None) -> None:
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


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.25]), min_size=1, max_size=40), st.integers(1, 50))
def test_best_first_is_a_stable_sort(values: list[float], k: int) -> None:
    ranked = sorted((index for index in range(len(values)) if values[index] > 0), key=lambda index: -values[index])
    assert best_first(np.array(values, dtype=np.float32), k) == ranked[:k]
