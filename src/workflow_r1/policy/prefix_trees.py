"""Rows that begin alike, laid out as a tree, so that a model computes their common beginning once.

The trajectories of a group share their prompt, often their first turns, and some are equal to the last token. A decoder
gives every token a hidden state that depends on the tokens before it alone, so that a beginning shared by several rows
has one sequence of hidden states. A tree holds each of them once; a mask lets a token see the tokens on its way to
the root, and its position is its depth there. Whatever is computed from the rows' log-probabilities stays a function of
the rows: the gradients of several rows add up where their tokens are one node.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from workflow_r1.policy.packing import PackedBatch


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """Rows of a batch as one row of nodes; a node stands behind its parent.

    Rows 4 and 7, ``P0 P1 a0 a1`` and ``P0 P1 b0``::

        node         0    1    2    3    4
        input_ids    P0   P1   a0   a1   b0
        parents      -1   0    1    2    1
        depths       0    1    2    3    2

        paths        4: 0 1 2 3    7: 0 1 4
    """

    input_ids: list[int]
    """Token of each node."""
    parents: list[int]
    """Node of the token before it; -1 for the first token of a row."""
    depths: list[int]
    """Tokens before it in its row."""
    paths: dict[int, list[int]]
    """Nodes of each row, by the row's index in the batch."""

    def __len__(self) -> int:
        return len(self.input_ids)


def prefix_trees(rows: Sequence[Sequence[int]], *, hidden_size: int | None) -> list[PrefixTree]:
    r"""Lay rows out as trees; a row joins the tree of its neighbour in lexical order where that saves work.

    A tree of W nodes takes W linear passes and, since the mask is dense, W^2 pairs of attention. Per layer of hidden size
    d a linear pass takes about 24 d^2 operations, a pair 4 d: one token is worth 6 d pairs. A row of l shared and n new
    tokens saves l linear passes if it joins, and has :math:`(W + n)^2 - W^2` pairs instead of :math:`(l + n)^2`.

    Args:
        rows: token ids of each row, none of them empty.
        hidden_size: d; None lets only equal rows share.

    Returns:
        Trees in the order of their first rows; every row is in one of them.
    """
    trees: list[PrefixTree] = []
    before: Sequence[int] = ()
    path: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: list(rows[index])):
        row = rows[index]
        shared = _num_shared(before, row)
        new = len(row) - shared
        if not trees or not _pays(shared, new, width=len(trees[-1]), hidden_size=hidden_size):
            trees.append(PrefixTree([], [], [], {}))
            shared, new, path = 0, len(row), []
        tree = trees[-1]
        added = range(len(tree), len(tree) + new)
        path = [*path[:shared], *added]
        tree.input_ids.extend(row[shared:])
        tree.parents.extend(([-1] if shared == 0 else [path[shared - 1]]) if new else [])
        tree.parents.extend(added[:-1])
        tree.depths.extend(range(shared, len(row)))
        tree.paths[index] = path
        before = row
    return sorted(trees, key=lambda tree: min(tree.paths))


def _num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    length = min(len(one), len(other))
    differs = np.flatnonzero(np.asarray(one[:length]) != np.asarray(other[:length]))
    return int(differs[0]) if len(differs) else length


def _pays(shared: int, new: int, *, width: int, hidden_size: int | None) -> bool:
    if new == 0:
        return True
    if hidden_size is None:
        return False
    return 6 * hidden_size * shared + (shared + new) ** 2 > (width + new) ** 2 - width**2


@dataclass(frozen=True, slots=True)
class TreeBatch:
    """Trees as tensors: one forward pass."""

    input_ids: Int[Tensor, "trees nodes"]
    """Token of each node; the pad token after a tree's end."""
    parents: Int[Tensor, "trees nodes"]
    """Index of a node's parent in its own tree; 0 for a first token and on padding."""
    depths: Int[Tensor, "trees nodes"] | None
    """Position of each node; None where no tree holds two different rows, so that its index is its position."""
    attends: Bool[Tensor, "trees 1 nodes nodes"] | None
    """True where a node sees another one; None where no tree holds two different rows."""
    rows: list[int]
    """Rows of the batch that the trees hold."""
    nodes: Int[Tensor, "rows time"]
    """Node of each token of those rows, counted through all trees; 0 on padding."""


def tree_batch(trees: Sequence[PrefixTree], batch: PackedBatch, pad_token_id: int) -> TreeBatch:
    """Return trees as tensors on the device of the batch that they were made from."""
    shape = (len(trees), max(len(tree) for tree in trees))
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    parents, depths = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    rows = [row for tree in trees for row in tree.paths]
    nodes = np.zeros((len(rows), max(len(path) for tree in trees for path in tree.paths.values())), dtype=np.int64)
    for index, tree in enumerate(trees):
        input_ids[index, : len(tree)] = tree.input_ids
        parents[index, : len(tree)] = np.maximum(tree.parents, 0)
        depths[index, : len(tree)] = tree.depths
    place = {row: (index, tree.paths[row]) for index, tree in enumerate(trees) for row in tree.paths}
    for index, row in enumerate(rows):
        tree_index, path = place[row]
        nodes[index, : len(path)] = np.asarray(path) + tree_index * shape[1]
    branched = any(len(path) < len(tree) for tree in trees for path in tree.paths.values())

    def put(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(batch.input_ids.device)

    return TreeBatch(
        input_ids=put(input_ids),
        parents=put(parents),
        depths=put(depths) if branched else None,
        attends=put(_attends(trees, shape[1]))[:, None] if branched else None,
        rows=rows,
        nodes=put(nodes),
    )


def _attends(trees: Sequence[PrefixTree], width: int) -> NDArray[np.bool_]:
    """Return which node sees which: every node itself and its ancestors; padding sees itself, lest its softmax is empty."""
    attends = np.zeros((len(trees), width, width), dtype=np.bool_)
    attends[:, np.arange(width), np.arange(width)] = True
    for index, tree in enumerate(trees):
        for path in tree.paths.values():
            attends[index][np.ix_(path, path)] |= np.tri(len(path), dtype=np.bool_)
    return attends
