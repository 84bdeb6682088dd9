"""Scores of tokens in passages, in layers by which a query finds its best passages without looking at them all.

The scores are BM25's (Robertson et al. 1995) in Lucene's variant, one float32 for each token of each passage:

    idf(t) = ln(1 + (N - n_t + 0.5) / (n_t + 0.5))
    score(t, p) = idf(t) * f / (f + k1 * (1 - b + b * |p| / mean |p|))

N passages, n_t of them with token t, f times in passage p of |p| tokens. Precision and order of the operations are those of
bm25s 0.3, so that scores and ties are the same to the last bit.

A token's postings (passage, score) stand in *layers*, the greatest scores first; a layer's passages ascend. The greatest score
of each layer bounds what a passage can have from that layer and all after it (``ranking``).
"""

import math
from dataclasses import dataclass

import numpy as np

K1 = 1.5
B = 0.75

FIRST_LAYER = 1024
"""Postings in a token's first layer; each further layer has four times as many."""

_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Postings:
    """Scores of all tokens in all passages."""

    num_passages: int
    """Number of passages, N."""
    passages: np.ndarray
    """(P,) int32: passage of each posting."""
    scores: np.ndarray
    """(P,) float32: its score."""
    first_layers: np.ndarray
    """(T + 1,) int64: first layer of each token, and the number of layers."""
    layer_starts: np.ndarray
    """(L + 1,) int64: first posting of each layer, and P."""
    layer_bounds: np.ndarray
    """(L,) float32: greatest score of each layer."""

    def is_whole(self) -> bool:
        """Return whether the sizes of the arrays agree."""
        num_postings, num_layers = int(self.layer_starts[-1]), int(self.first_layers[-1])
        return (len(self.passages), len(self.scores), len(self.layer_bounds), len(self.layer_starts) - 1) == (
            num_postings,
            num_postings,
            num_layers,
            num_layers,
        )


def idf_by_token(counts: np.ndarray, num_passages: int) -> np.ndarray:
    """Return idf(t).

    Args:
        counts: (T,) int: passages with each token.
        num_passages: N.

    Returns:
        (T,) float32.
    """
    distinct, where = np.unique(counts, return_inverse=True)
    # Python's logarithm, since NumPy's may differ in the last bit from one machine to another.
    values = [math.log(1 + (num_passages - n + 0.5) / (n + 0.5)) for n in distinct.tolist()]
    return np.array(values, dtype=np.float32)[where]


def length_terms(lengths: np.ndarray) -> np.ndarray:
    """Return k1 * (1 - b + b * |p| / mean |p|).

    Args:
        lengths: (N,) int: tokens of each passage.

    Returns:
        (N,) float64.
    """
    mean = int(lengths.sum(dtype=np.int64)) / len(lengths)
    return K1 * ((1 - B) + B * lengths / mean)


def score_postings(*, idf: np.ndarray, frequencies: np.ndarray, length_terms: np.ndarray) -> np.ndarray:
    """Return score(t, p) of postings.

    Args:
        idf: (P,) float32: idf of each posting's token.
        frequencies: (P,) int: occurrences of the token in the passage.
        length_terms: (P,) float64: the passage's, from :func:`length_terms`.

    Returns:
        (P,) float32.
    """
    return (idf.astype(np.float64) * (frequencies / (length_terms + frequencies))).astype(np.float32)


def layer_token(scores: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Put the postings of one token into layers.

    Args:
        scores: (n,) float32, by ascending passage.

    Returns:
        (n,) int order of the postings, and the number of postings in each layer.
    """
    ranks = []
    rank = size = FIRST_LAYER
    while rank < len(scores):
        ranks.append(rank - 1)
        size *= _GROWTH
        rank += size
    # Equal scores share a layer, so that the layers do not depend on how a sort treats them.
    bounds = np.unique(-np.partition(-scores, ranks)[ranks])
    layers = np.searchsorted(-bounds[::-1], -scores, side="left").astype(np.uint8)
    sizes = np.bincount(layers)
    return np.argsort(layers, kind="stable"), sizes[sizes > 0].tolist()


def make_postings(tokens: np.ndarray, lengths: np.ndarray, num_tokens: int) -> Postings:
    """Score and order passages that fit into memory.

    Args:
        tokens: (sum of lengths,) int: tokens of one passage after another.
        lengths: (N,) int: number of tokens of each passage.
        num_tokens: T, different tokens.
    """
    numbers, passages, frequencies = count_tokens(tokens, lengths)
    counts = np.bincount(numbers, minlength=num_tokens)
    scores = score_postings(
        idf=idf_by_token(counts, len(lengths))[numbers],
        frequencies=frequencies,
        length_terms=length_terms(lengths)[passages],
    )
    layered = LayeredPostings.of(passages, scores, counts)
    return Postings(
        num_passages=len(lengths),
        passages=layered.passages,
        scores=layered.scores,
        first_layers=np.concatenate([[0], np.cumsum(layered.num_layers)]),
        layer_starts=np.concatenate([[0], np.cumsum(layered.layer_sizes)]),
        layer_bounds=layered.layer_bounds,
    )


def count_tokens(tokens: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the tokens of passages.

    Args:
        tokens: (sum of lengths,) int32: tokens of one passage after another.
        lengths: (N,) int32: number of tokens of each passage.

    Returns:
        Token, passage (from 0) and frequency of each posting, all (P,) int, by token and then by passage.
    """
    keys = tokens.astype(np.int64) * len(lengths) + np.repeat(np.arange(len(lengths)), lengths)
    keys.sort()
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    frequencies = np.diff(starts, append=len(keys))
    numbers, passages = np.divmod(keys[starts], len(lengths))
    return numbers.astype(np.int32), passages.astype(np.int32), frequencies.astype(np.int32)


@dataclass(frozen=True, slots=True)
class LayeredPostings:
    """Postings of consecutive tokens, in layers."""

    passages: np.ndarray
    """(P,) int32."""
    scores: np.ndarray
    """(P,) float32."""
    num_layers: np.ndarray
    """(T,) int64: layers of each token."""
    layer_sizes: np.ndarray
    """(L,) int64: postings of each layer."""
    layer_bounds: np.ndarray
    """(L,) float32: greatest score of each layer."""

    @classmethod
    def of(cls, passages: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> "LayeredPostings":
        """Order postings.

        Args:
            passages: (P,) int32, by token and then ascending.
            scores: (P,) float32.
            counts: (T,) int: postings of each token, each at least 1.
        """
        passages, scores = passages.copy(), scores.copy()
        ends = np.cumsum(counts)
        sizes: list[np.ndarray] = []
        num_layers = np.ones(len(counts), dtype=np.int64)
        done = 0
        for token in np.flatnonzero(counts > FIRST_LAYER).tolist():
            sizes.append(counts[done:token])
            start, end = int(ends[token] - counts[token]), int(ends[token])
            order, of_token = layer_token(scores[start:end])
            passages[start:end], scores[start:end] = passages[start:end][order], scores[start:end][order]
            sizes.append(np.array(of_token, dtype=np.int64))
            num_layers[token] = len(of_token)
            done = token + 1
        layer_sizes = np.concatenate([*sizes, counts[done:]]).astype(np.int64)
        starts = np.cumsum(layer_sizes) - layer_sizes
        bounds = np.maximum.reduceat(scores, starts) if len(starts) else np.zeros(0, np.float32)
        return cls(passages, scores, num_layers, layer_sizes, bounds)
