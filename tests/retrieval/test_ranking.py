"""The search by bounds against a search of everything, and both against bm25s."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_r1.retrieval import postings as postings_module
from workflow_r1.retrieval import ranking as module
from workflow_r1.retrieval.postings import Postings, make_postings
from workflow_r1.retrieval.ranking import Ranking, best_first

bm25s = pytest.importorskip("bm25s")

SMALL = {"_FEW": 0, "_FIRST_ROUND": 4, "_FEW_CANDIDATES": 2}
"""Sizes with which a few hundred passages take every path."""


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers, rounds and candidates of a few."""
    monkeypatch.setattr(postings_module, "FIRST_LAYER", 2)
    for name, value in {**SMALL, "_BLOCKS": 4}.items():
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
        patch.setattr(postings_module, "FIRST_LAYER", 2)
        assert Ranking(index_rows(rows, 5)).best(query, k) == expected
        for name, value in SMALL.items():
            patch.setattr(module, name, min(value, 2))
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
    add = Ranking._add_layers

    def count(
        ranking: Ranking, passages: np.ndarray, sums: np.ndarray, layers: list[module._Layer]
    ) -> tuple[np.ndarray, np.ndarray]:
        added.append(module._size(layers))
        return add(ranking, passages, sums, layers)

    monkeypatch.setattr(Ranking, "_add_layers", count)
    assert [passage for passage, _ in ranking.best([0, 1], 5)] == [0, 100, 200, 300, 400]
    assert 20 <= sum(added) < 2000


def test_sums_are_clean_after_every_query() -> None:
    rows = draw_rows(3, 100, 20)
    ranking = Ranking(index_rows(rows, 20))
    for query, k in queries(20):
        ranking.best(query, k)
        (sums,) = ranking._unused
        assert not sums.any()


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


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.25]), min_size=1, max_size=40), st.integers(1, 50))
def test_best_first_is_a_stable_sort(values: list[float], k: int) -> None:
    ranked = sorted((index for index in range(len(values)) if values[index] > 0), key=lambda index: -values[index])
    assert best_first(np.array(values, dtype=np.float32), k) == ranked[:k]
