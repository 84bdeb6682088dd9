"""The best passages of a query among millions, without looking at all postings.

A query takes up the layers of its tokens' postings (``postings``) that promise most, until the bounds of those left cannot
lift an unseen passage among the best (Turtle and Flood 1995 call it MaxScore; layers by score are those of Anh and Moffat
2006). The passages that remain are scored exactly.
"""

import heapq
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from workflow_r1.retrieval.postings import Postings

_FEW = 1 << 20
"""Passages up to which a query adds up all its postings: bounds would cost more than they save."""

_BLOCKS = 64
"""Passages of one block, of which only the greatest sum is looked at first."""

_FIRST_ROUND = 1 << 14
"""Postings that a query takes up before it first compares bounds."""

_MORE = 3
"""Postings that every further round takes up, for each of those before it."""

_POOL = 4
"""Passages, for each that is wanted, whose whole scores are looked up after a round."""

_CLEAR = 0.6
"""Share of the score to be reached, below which the bounds of the layers left rule out most candidates at once."""

_LOOKUP = 3
"""Postings that are added up in the time in which one candidate is looked up in one layer."""

_FEW_CANDIDATES = 64
"""Candidates that are scored exactly without another look at the bounds."""


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
        self._unused: list[np.ndarray] = []

    def best(self, tokens: list[int], k: int) -> list[tuple[int, float]]:
        """Return the at most ``k`` passages of the greatest scores above 0, greatest first, equal ones by number.

        Args:
            tokens: tokens of the query, at least one; one that comes twice counts twice.
            k: at least 1.
        """
        if self._num_passages > _FEW:
            passages, scores = self._best_by_bounds(tokens, k)
        else:
            try:
                sums = self._unused.pop()
            except IndexError:
                sums = np.zeros(-(-self._num_passages // _BLOCKS) * _BLOCKS, dtype=np.float32)
            passages, scores = self._best_of_all(tokens, k, sums)
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

    def _best_by_bounds(self, tokens: list[int], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Like :meth:`_best_of_all`, looking only at those postings that can matter."""
        lists = {token: _TokenLayers(self, token, count) for token, count in Counter(tokens).items()}
        # Sums in another order differ by roundings.
        slack = 1 - (len(tokens) + 8) * 2.0**-23
        passages, sums, least = self._take_up(lists, k, slack)
        kept = np.flatnonzero(sums >= least * slack - _left(lists))
        found = self._narrow(passages[kept], sums[kept], lists, least, k, slack)
        exact = {token: self._scores_at(found, layers.all) for token, layers in lists.items()}
        total = np.zeros(len(found), dtype=np.float32)
        for token in tokens:
            total += exact[token]
        return found, total

    def _take_up(self, lists: "dict[int, _TokenLayers]", k: int, slack: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Take up layers until no passage outside of them can be among the best, and some more.

        Returns:
            Their passages, ascending, the sum of each, and a score that k passages reach.
        """
        least = 0.0
        num_taken = 0
        passages, sums = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
        waiting = [(-each.gain, token) for token, each in lists.items()]
        heapq.heapify(waiting)
        while waiting and _left(lists) >= least * slack:
            layers = _take(lists, waiting, most=max(_FIRST_ROUND, _MORE * num_taken), enough=least * slack)
            if _left(lists) < least * slack:
                layers += _take(lists, waiting, most=num_taken, enough=least * _CLEAR)
            passages, sums = self._add_layers(passages, sums, layers)
            num_taken += _size(layers)
            best = np.argpartition(sums, -_POOL * k)[-_POOL * k :] if len(sums) > _POOL * k else np.arange(len(sums))
            if len(best) >= k:
                best.sort()
                totals = sums[best]
                for each in lists.values():
                    totals += np.float32(each.count) * self._scores_at(passages[best], each.left)
                least = max(least, float(np.partition(totals, -k)[-k]))
        return passages, sums, least

    def _add_layers(
        self, passages: np.ndarray, sums: np.ndarray, layers: list["_Layer"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add the scores of layers to the sums of ascending passages; returns all passages and their sums.

        They are sorted: sums in an array of all passages would be fetched from memory one by one.
        """
        keys = np.concatenate([passages, *(self._passages[layer.place] for layer in layers)]).astype(np.int64)
        scores = np.concatenate([sums, *(self._scores_of(layer) for layer in layers)])
        keys <<= 32
        # A score is above 0: its bits are a number of 31 bits.
        keys |= scores.view(np.int32)
        keys.sort()
        scores = (keys & 0x7FFFFFFF).astype(np.int32).view(np.float32)
        keys >>= 32
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        return keys[starts].astype(np.int32), np.add.reduceat(scores, starts)

    def _scores_of(self, layer: "_Layer") -> np.ndarray:
        scores = self._scores[layer.place]
        return scores if layer.count == 1 else scores * np.float32(layer.count)

    def _narrow(
        self,
        found: np.ndarray,
        partial: np.ndarray,
        lists: "dict[int, _TokenLayers]",
        least: float,
        k: int,
        slack: float,
    ) -> np.ndarray:
        """Leave out candidates that cannot be among the best, one token's remaining layers after another."""
        left = _left(lists)
        for layers in sorted(lists.values(), key=lambda each: -each.bound):
            if len(found) <= max(_FEW_CANDIDATES, k) or not layers.left:
                break
            rest = slice(layers.left[0].start, layers.left[-1].stop)
            if rest.stop - rest.start < _LOOKUP * len(found) * len(layers.left):
                # No passage stands in two layers of a token.
                passages = self._passages[rest]
                places = np.searchsorted(found, passages)
                places[places == len(found)] = 0
                hits = np.flatnonzero(found[places] == passages)
                partial[places[hits]] += np.float32(layers.count) * self._scores[rest][hits]
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
        # Both have one type, or NumPy would copy the whole layer into the other.
        passages = passages.astype(np.int32)
        for layer in layers:
            there = self._passages[layer]
            places = np.searchsorted(there, passages)
            places[places == len(there)] = 0
            hits = np.flatnonzero(there[places] == passages)
            scores[hits] = self._scores[layer.start + places[hits]]
        return scores


@dataclass(frozen=True, slots=True)
class _Layer:
    """Postings whose passages ascend."""

    place: slice
    """Place among all postings."""
    count: int
    """Times that the query has their token."""


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

    def take(self) -> _Layer:
        """Return the next layer and count it as taken."""
        place, self.left = self.left[0], self.left[1:]
        self._bounds = self._bounds[1:]
        self._refresh()
        return _Layer(place, self.count)

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


def _take(
    lists: dict[int, _TokenLayers], waiting: list[tuple[float, int]], *, most: int | None, enough: float
) -> list[_Layer]:
    """Take the layers that lower the bounds most, until they have ``most`` postings or the bounds are below ``enough``."""
    taken = []
    num, left = 0, _left(lists)
    while waiting and (most is None or num < most) and left >= enough:
        _, token = heapq.heappop(waiting)
        layers = lists[token]
        left -= layers.bound
        taken.append(layers.take())
        left += layers.bound
        num += _size(taken[-1:])
        if layers.left:
            heapq.heappush(waiting, (-layers.gain, token))
    return taken


def _size(layers: list[_Layer]) -> int:
    """Return the number of postings."""
    return sum(layer.place.stop - layer.place.start for layer in layers)


def _left(lists: dict[int, _TokenLayers]) -> float:
    """Return the most that a passage can have from all layers left."""
    return sum(layers.bound for layers in lists.values())


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
