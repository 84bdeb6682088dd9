"""Scores of tokens in passages, and the best passages of a query among millions without looking at them all.

The scores are BM25's (Robertson et al. 1995) in Lucene's variant, one float32 for each token of each passage:

    idf(t) = ln(1 + (N - n_t + 0.5) / (n_t + 0.5))
    score(t, p) = idf(t) * f / (f + k1 * (1 - b + b * |p| / mean |p|))

N passages, n_t of them with token t, f times in passage p of |p| tokens. Precision and order of the operations are those of
bm25s 0.3, so that scores and ties are the same to the last bit.

A token's postings (passage, score) stand in *layers*, the greatest scores first; a layer's passages ascend. The greatest score
of each layer bounds what a passage can have from that layer and all after it. A query takes up layers until the bounds of
those left cannot lift an unseen passage among the best (Turtle and Flood 1995 call it MaxScore; layers by score are those of
Anh and Moffat 2006).
"""

import heapq
import math
import threading
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

K1 = 1.5
B = 0.75

FIRST_LAYER = 1024
"""Postings in a token's first layer; each further layer has four times as many."""

_GROWTH = 4

_FEW = 1 << 18
"""Passages up to which a query adds up all its postings: bounds would cost more than they save."""

_BLOCKS = 64
"""Passages of one block, of which only the greatest sum is looked at first."""

_FIRST_ROUND = 1 << 14
"""Postings that a query takes up before it first compares bounds; every round takes up as many as all before it."""

_POOL = 4
"""Passages, for each that is wanted, whose whole scores are looked up after a round."""

_CLEAR = 0.6
"""Share of the score to be reached, below which the bounds of the layers left rule out most candidates at once."""

_LOOKUP = 3
"""Postings that are added up in the time in which one candidate is looked up in one layer."""

_FEW_CANDIDATES = 64
"""Candidates that are scored exactly without another look at the bounds."""

_MOST_AT_ONCE = 4
"""Searches that run at a time: each holds one float32 for every passage."""


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


class Ranking:
    """Finds the best passages of a query. May be used by several threads at a time.

    Args:
        postings: scores of all tokens in all passages.
    """

    def __init__(self, postings: Postings) -> None:
        self._num_passages = postings.num_passages
        # Memory maps are many times as slow to slice as the arrays below them.
        self._passages = np.asarray(postings.passages)
        self._scores = np.asarray(postings.scores)
        self._first_layers = np.asarray(postings.first_layers)
        self._layer_starts = np.asarray(postings.layer_starts)
        self._layer_bounds = np.asarray(postings.layer_bounds)
        self._turns = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._unused: list[np.ndarray] = []

    def best(self, tokens: list[int], k: int) -> list[tuple[int, float]]:
        """Return the at most ``k`` passages of the greatest scores above 0, greatest first, equal ones by number.

        Args:
            tokens: tokens of the query, at least one; one that comes twice counts twice.
            k: at least 1.
        """
        with self._turns:
            try:
                sums = self._unused.pop()
            except IndexError:
                sums = np.zeros(-(-self._num_passages // _BLOCKS) * _BLOCKS, dtype=np.float32)
            passages, scores = (self._best_of_all if self._num_passages <= _FEW else self._best_by_bounds)(
                tokens, k, sums
            )
            # Not in a `finally`: what an error left in it must not be used again.
            self._unused.append(sums)
        order = best_first(scores, k)
        return list(zip(passages[order].tolist(), scores[order].tolist(), strict=True))

    def _best_of_all(self, tokens: list[int], k: int, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ascending passages, the best among them, and their scores. ``sums`` is all 0 before and after."""
        ranges = [self._range_of(token) for token in tokens]
        passages = np.concatenate([self._passages[each] for each in ranges])
        _add(sums, passages, np.concatenate([self._scores[each] for each in ranges]))
        # A block is a column of the table, so that the maxima of all are taken at once.
        table = sums.reshape(_BLOCKS, -1)
        maxima = table.max(axis=0)
        # The best passages of k blocks are k passages.
        least = np.partition(maxima, -k)[-k] if len(maxima) > k else np.float32(0)
        if least > 0:
            blocks = np.flatnonzero(maxima >= least)
            rows, columns = np.nonzero(table[:, blocks] >= least)
            found = rows * len(maxima) + blocks[columns]
            found.sort()
        else:
            found = np.flatnonzero(sums)
        scores = sums[found]
        if len(passages) * 8 < len(sums):
            sums[passages] = 0
        else:
            sums.fill(0)
        return found, scores

    def _range_of(self, token: int) -> slice:
        first, last = self._first_layers[token], self._first_layers[token + 1]
        return slice(int(self._layer_starts[first]), int(self._layer_starts[last]))

    def _best_by_bounds(self, tokens: list[int], k: int, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Like :meth:`_best_of_all`, looking only at those postings that can matter."""
        lists = {token: _TokenLayers(self, token, count) for token, count in Counter(tokens).items()}
        # Sums in another order differ by roundings.
        slack = 1 - (len(tokens) + 8) * 2.0**-23
        taken, least = self._take_up(lists, k, sums, slack)
        found, partial = _candidates(taken, sums, least * slack - _left(lists))
        found = self._narrow(found, partial, lists, least, k, sums, slack)
        exact = {token: self._scores_at(found, layers.all) for token, layers in lists.items()}
        total = np.zeros(len(found), dtype=np.float32)
        for token in tokens:
            total += exact[token]
        return found, total

    def _take_up(
        self, lists: "dict[int, _TokenLayers]", k: int, sums: np.ndarray, slack: float
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], float]:
        """Add layers to ``sums`` until no passage outside of them can be among the best, and some more.

        Returns:
            The passages of each layer with their sums after it, and a score that k passages reach.
        """
        least = 0.0
        best = np.zeros(0, dtype=np.intp)
        taken: list[tuple[np.ndarray, np.ndarray]] = []
        num_taken = 0
        waiting = [(-each.gain, token) for token, each in lists.items()]
        heapq.heapify(waiting)
        while waiting and _left(lists) >= least * slack:
            of_round = self._add_layers(lists, waiting, sums, max(_FIRST_ROUND, num_taken), least * slack)
            taken += of_round
            num_taken += sum(len(passages) for passages, _ in of_round)
            better = [passages[np.flatnonzero(values > least)] for passages, values in of_round]
            best = _greatest_sums(sums, np.concatenate([best, *better]), _POOL * k, len(of_round) + 1)
            if len(best) >= k:
                totals = sums[best]
                for layers in lists.values():
                    totals += np.float32(layers.count) * self._scores_at(best, layers.left)
                least = max(least, float(np.partition(totals, -k)[-k]))
        taken += self._add_layers(lists, waiting, sums, num_taken, least * _CLEAR)
        return taken, least

    def _add_layers(
        self,
        lists: "dict[int, _TokenLayers]",
        waiting: list[tuple[float, int]],
        sums: np.ndarray,
        most: int,
        enough: float,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Add the layers that lower the bounds most, until there are ``most`` postings or the bounds are below ``enough``.

        Returns:
            The passages of each layer and their sums after it.
        """
        added = []
        num, left = 0, _left(lists)
        while waiting and num < most and left >= enough:
            _, token = heapq.heappop(waiting)
            layers = lists[token]
            left -= layers.bound
            layer = layers.take()
            left += layers.bound
            # Indexed three times: as the type that NumPy would make of it each time.
            passages = self._passages[layer].astype(np.intp)
            added.append((passages, _add_layer(sums, passages, self._scores[layer] * np.float32(layers.count))))
            num += len(passages)
            if layers.left:
                heapq.heappush(waiting, (-layers.gain, token))
        return added

    def _narrow(
        self,
        found: np.ndarray,
        partial: np.ndarray,
        lists: "dict[int, _TokenLayers]",
        least: float,
        k: int,
        sums: np.ndarray,
        slack: float,
    ) -> np.ndarray:
        """Leave out candidates that cannot be among the best, one token's remaining layers after another."""
        left = _left(lists)
        for layers in sorted(lists.values(), key=lambda each: -each.bound):
            if len(found) <= max(_FEW_CANDIDATES, k) or not layers.left:
                break
            num = layers.left[-1].stop - layers.left[0].start
            if num < _LOOKUP * len(found) * len(layers.left):
                rest = slice(layers.left[0].start, layers.left[-1].stop)
                passages = self._passages[rest]
                sums[found] = partial
                _add(sums, passages, self._scores[rest] * np.float32(layers.count))
                partial = sums[found]
                sums[passages] = 0
                sums[found] = 0
            else:
                partial += np.float32(layers.count) * self._scores_at(found, layers.left)
            left = max(left - layers.bound, 0.0)
            least = max(least, float(np.partition(partial, -k)[-k]))
            kept = np.flatnonzero(partial >= least * slack - left)
            found, partial = found[kept], partial[kept]
        return found

    def _scores_at(self, passages: np.ndarray, layers: list[slice]) -> np.ndarray:
        """Return the scores of ascending passages in layers of one token; 0 where they lack it."""
        scores = np.zeros(len(passages), dtype=np.float32)
        # Of one type, or NumPy would copy the whole layer into the other.
        passages = passages.astype(np.int32)
        for layer in layers:
            there = self._passages[layer]
            places = np.searchsorted(there, passages)
            places[places == len(there)] = 0
            hits = np.flatnonzero(there[places] == passages)
            scores[hits] = self._scores[layer.start + places[hits]]
        return scores


class _TokenLayers:
    """The layers of one token of a query, some of them taken up."""

    __slots__ = ("_bounds", "all", "bound", "count", "gain", "left")

    def __init__(self, ranking: Ranking, token: int, count: int) -> None:
        first, last = int(ranking._first_layers[token]), int(ranking._first_layers[token + 1])
        starts = ranking._layer_starts[first : last + 1].tolist()
        self.all = [slice(start, end) for start, end in pairwise(starts)]
        self.left = self.all
        self.count = count
        self._bounds = [bound * count for bound in ranking._layer_bounds[first:last].tolist()] + [0.0]
        self._refresh()

    def take(self) -> slice:
        """Return the next layer and count it as taken."""
        layer, self.left = self.left[0], self.left[1:]
        self._bounds = self._bounds[1:]
        self._refresh()
        return layer

    def _refresh(self) -> None:
        self.bound = self._bounds[0]
        """The most that a passage can have from the layers left."""
        self.gain = 0.0
        """The fall of the bound for each posting of the next layer."""
        if self.left:
            self.gain = (self._bounds[0] - self._bounds[1]) / (self.left[0].stop - self.left[0].start)


def _add(sums: np.ndarray, passages: np.ndarray, scores: np.ndarray) -> None:
    """Add scores to the sums of their passages, one after another."""
    np.add.at(sums, passages, scores)


def _add_layer(sums: np.ndarray, passages: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Add scores to the sums of different passages; returns the new sums of these."""
    values: np.ndarray = sums[passages]
    values += scores
    sums[passages] = values
    return values


def _left(lists: dict[int, _TokenLayers]) -> float:
    """Return the most that a passage can have from all layers left."""
    return sum(layers.bound for layers in lists.values())


def _candidates(
    taken: list[tuple[np.ndarray, np.ndarray]], sums: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the passages whose sum is at least ``least``, and their sums; sets all sums to 0.

    The last layer that names a passage knows its whole sum, so that it suffices to compare what each layer knew.

    Args:
        taken: passages of each layer and their sums after it.
        sums: (N,) float32.
        least: the sum to be reached.
    """
    found = _distinct(np.concatenate([passages[np.flatnonzero(values >= least)] for passages, values in taken]))
    partial = sums[found]
    for passages, _ in taken:
        sums[passages] = 0
    return found, partial


def _greatest_sums(sums: np.ndarray, passages: np.ndarray, num: int, most_times: int) -> np.ndarray:
    """Return the ``num`` different passages of the greatest sums, ascending; each comes at most ``most_times``."""
    if len(passages) > num * most_times:
        values = sums[passages]
        passages = passages[np.argpartition(values, -num * most_times)[-num * most_times :]]
    distinct = _distinct(passages)
    if len(distinct) > num:
        distinct = np.sort(distinct[np.argpartition(sums[distinct], -num)[-num:]])
    return distinct


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """Return the different numbers, ascending. NumPy's ``unique`` takes many times as long."""
    ordered = np.sort(numbers)
    return ordered[np.flatnonzero(np.diff(ordered, prepend=-1))]


def best_first(scores: np.ndarray, k: int) -> list[int]:
    """Return the indices of the at most ``k`` greatest scores above 0, greatest first, equal ones by index.

    Args:
        scores: (N,) float.
        k: at least 1.
    """
    candidates = np.flatnonzero(scores)
    values = scores[candidates]
    if len(candidates) > k:
        # Many passages may tie with the last one taken (they share only common words): do not sort them. Selecting from
        # the small end of the negated values is 20 times quicker than from the large end when most are equal.
        least = -np.partition(-values, k - 1)[k - 1]
        above = candidates[values > least]
        candidates = np.concatenate([above, candidates[values == least][: k - len(above)]])
        values = scores[candidates]
    indices: list[int] = candidates[np.argsort(-values, kind="stable")].tolist()
    return indices
