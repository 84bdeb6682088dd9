"""Attention for a batch whose rows have different lengths, new tokens and pasts, without padding the model's other work.

A step of the sampler is one forward pass of the model over one packed row: first a token for each slot that is
decoding, then the new tokens (prompt, observation) of the slots that are not yet. Everything but attention treats
tokens alike, so nothing is padded there. Attention takes the packed tokens apart again::

    packed     a7  b3  c9 | d0 d1 d2 d3  e5 e6          letter: slot, number: position
    decoding   [a7] [b3] [c9]                           queries (3, 1), keys of slots a..c up to the longest
    filling    [d0 d1 d2 d3] [e5 e6 .  . ]              queries (2, 4), keys of slots d, e

What is filled is cut into such rectangles by size (:func:`cut_filling`), so that a long prompt makes no other row long.
Where the compiled function is at hand, it takes the rows that decode and those with few new tokens, without a rectangle.

Keys and values are written into their slot before anything is attended to, and a query at position p sees the positions
0..p of its own slot. Older contents of a slot beyond that (an earlier session's tokens) are never seen.
"""

import contextlib
import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface

from workflow_r1.policy.compiled import Compiled

ATTENTION_NAME = "workflow_r1_ragged"
"""Name under which transformers finds :func:`ragged_attention`."""

FEW_TOKENS = 32
"""Most new tokens of a slot that the compiled function takes; with more, torch's products of matrices are quicker."""

UNCUT_PAIRS = 2**20
"""Pairs of a query and a key, padding among them, up to which what is filled is attended to in one call."""

MOST_PAIRS = 2**22
"""Most pairs of several rows in one call: bounds the mask at 16 MiB in float32."""

CALL_PAIRS = 2**12
"""Pairs that take as long as a further call."""

LARGE_PAGE_RUN = 2**16
"""Longest run of one head's keys in a slot, in bytes, for which the cache is kept in large pages (of 2 MiB on Linux)."""


class SlotCache:
    """Keys and values of every slot, per layer ``(slots, key-value heads, length, head dim)``.

    Memory is ``2 * layers * slots * heads * length * head dim`` numbers. Slots and length grow by doubling as they are
    needed, so it is at most twice in each what the sessions hold; growing one layer at a time, the peak is one layer
    more.
    """

    def __init__(self) -> None:
        self.num_slots = 0
        self.length = 0
        self._keys: list[Tensor | None] = []
        self._values: list[Tensor | None] = []

    def reserve(self, num_slots: int, length: int) -> None:
        """Make room for so many slots of so many tokens; their contents are kept."""
        if num_slots <= self.num_slots and length <= self.length:
            return
        self.num_slots = _grow(self.num_slots, num_slots, smallest=8)
        self.length = _grow(self.length, length, smallest=128)
        for store in (self._keys, self._values):
            for layer, old in enumerate(store):
                if old is not None:
                    store[layer] = None
                    new = _zeros(old, self.num_slots, old.shape[1], self.length, old.shape[3])
                    new[: old.shape[0], :, : old.shape[2]] = old
                    store[layer] = new
                    del old

    def write(
        self,
        layer: int,
        key: Tensor,
        value: Tensor,
        slots: Tensor,
        positions: Tensor,
        *,
        compiled: Compiled | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Put new tokens into their slots.

        Args:
            layer: index of the layer.
            key: ``(tokens, heads, head dim)``.
            value: ``(tokens, heads, head dim)``.
            slots: slot of each token.
            positions: position of each token.
            compiled: stores them, where it is given.

        Returns:
            All keys and values of the layer.
        """
        while len(self._keys) <= layer:
            self._keys.append(None)
            self._values.append(None)
        result = []
        for store, new in ((self._keys, key), (self._values, value)):
            held = store[layer]
            if held is None:
                # Zeros, since a masked key still enters a product, and NaN from unset memory times 0 is NaN.
                held = store[layer] = _zeros(new, self.num_slots, new.shape[1], self.length, new.shape[2])
            if compiled is None:
                held[slots, :, positions] = new
            else:
                compiled.store(held, new, slots, positions)
            result.append(held)
        return result[0], result[1]

    def copy(self, source: int, targets: Sequence[int], length: int) -> None:
        """Copy the first tokens of a slot over those of other slots."""
        for held in (*self._keys, *self._values):
            if held is not None:
                for target in targets:
                    held[target, :, :length] = held[source, :, :length]


def _grow(held: int, needed: int, *, smallest: int) -> int:
    size = max(held, smallest)
    while size < needed:
        size *= 2
    return size


def _zeros(like: Tensor, *shape: int) -> Tensor:
    """Return zeros of the type and on the device of ``like``.

    On a CPU they are the operating system's own zero pages, which take no memory until they are written to. Large pages
    are quicker to find, and are asked for while a run of one head's tokens is so short that all of them will be used.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    memory = mmap.mmap(-1, math.prod(shape) * like.element_size())
    if hasattr(mmap, "MADV_HUGEPAGE") and shape[-2] * shape[-1] * like.element_size() <= LARGE_PAGE_RUN:
        with contextlib.suppress(OSError):  # A kernel without large pages.
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=like.dtype).view(shape)


@dataclass(slots=True)
class AttentionGroup:
    """Rows that attend in one call: as many queries each, padded."""

    queries: Tensor | None
    """``(rows * queries,)``: index of each query among the packed tokens; None where it is the identity."""
    rows: int
    """Number of rows."""
    slots: Tensor | None
    """Slot of each row; None where the rows are the slots 0, 1, ... in order, which needs no copy of the keys."""
    positions: Tensor
    """``(rows, queries)``: position of each query; anything for padding."""
    length: int
    """Keys of each row that are looked at."""
    outputs: Tensor | None
    """Indices of the real outputs among the ``rows * queries``, in packed order; None where all are real."""
    is_whole: bool = False
    """True where the rows are whole contexts, from position 0: then a causal pass needs no mask."""
    masks: dict[int | None, Tensor] = field(default_factory=dict)
    """Additive mask ``(rows, 1, queries, length)`` per sliding window, made when first needed."""

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Return the additive mask: a query sees its own slot up to itself, at most ``window`` positions."""
        found = self.masks.get(window)
        if found is None:
            keys = torch.arange(self.length, device=self.positions.device)
            queries = self.positions.unsqueeze(-1)
            hidden = keys > queries
            if window is not None:
                hidden |= keys <= queries - window
            found = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
            found = self.masks[window] = found.masked_fill_(hidden, float("-inf")).unsqueeze(1)
        return found


@dataclass(slots=True)
class RaggedBatch:
    """One packed row of tokens and how attention takes it apart."""

    cache: SlotCache
    """Cache of keys and values."""
    slots: Tensor
    """``(tokens,)``: slot of each packed token."""
    positions: Tensor
    """``(tokens,)``: its position within the slot."""
    groups: Sequence[AttentionGroup]
    """Groups in packed order, after the direct tokens."""
    compiled: Compiled | None = None
    """The compiled function; None where torch attends to everything."""
    num_direct: int = 0
    """Packed tokens, the first ones, that the compiled function attends for."""


def cut_filling(sizes: NDArray[np.int64], starts: NDArray[np.int64], *, few: int = 0) -> list[NDArray[np.int64]]:
    """Cut the slots that are filled into groups of rows that attend together.

    Padded to its longest row and context, a group costs its rows times both. Rows are taken from the longest context to
    the shortest, and one joins the group before it where that costs no more than a call of its own.

    Args:
        sizes: ``(filling,)``: new tokens of each slot.
        starts: ``(filling,)``: tokens in its cache before.
        few: slots with at most so many new tokens are a group of their own, the first, whatever their sizes.

    Returns:
        Indices of the members of each group. The first may be empty; all others have members.
    """
    totals = starts + sizes
    direct = np.flatnonzero(sizes <= few)
    rest = np.flatnonzero(sizes > few)
    if len(rest) and len(rest) * int(sizes[rest].max()) * int(totals[rest].max()) <= UNCUT_PAIRS:
        return [direct, rest]
    groups: list[list[int]] = []
    pairs, width, length = 0, 0, 0
    for index in rest[np.lexsort((-sizes[rest], -totals[rest]))].tolist():
        size, total = int(sizes[index]), int(totals[index])
        joined = (len(groups[-1]) + 1) * max(width, size) * max(length, total) if groups else 0
        if groups and joined <= min(pairs + size * total + CALL_PAIRS, MOST_PAIRS):
            groups[-1].append(index)
            pairs, width, length = joined, max(width, size), max(length, total)
        else:
            groups.append([index])
            pairs, width, length = size * total, size, total
    return [direct, *(np.asarray(group, dtype=np.int64) for group in groups)]


def attention_groups(
    *,
    decoding: NDArray[np.int64],
    filling: Sequence[NDArray[np.int64]],
    sizes: Sequence[NDArray[np.int64]],
    positions: NDArray[np.int64],
    num_direct: int = 0,
    device: torch.device,
) -> list[AttentionGroup]:
    """Return how attention takes a packed row apart: the slots that decode, then each group that is filled.

    Args:
        decoding: ``(decoding,)``: slots with one new token each, in ascending order; empty where the compiled function
            takes them.
        filling: slots with further new tokens, group by group in packed order.
        sizes: numbers of new tokens of those slots.
        positions: ``(tokens,)``: position of every packed token within its slot.
        num_direct: packed tokens, the first ones, that belong to no group.
        device: where the tensors go.
    """
    groups = []
    first = num_direct
    if len(decoding):
        alone = not num_direct and not len(filling)
        groups.append(_decoding_group(decoding, positions[first : first + len(decoding)], device, alone=alone))
        first += len(decoding)
    for slots, lengths in zip(filling, sizes, strict=True):
        num, width = int(lengths.sum()), int(lengths.max())
        real = np.arange(width) < lengths[:, None]
        queries = np.zeros(real.shape, dtype=np.int64)
        queries[real] = np.arange(first, first + num)
        at = np.zeros(real.shape, dtype=np.int64)
        at[real] = positions[first : first + num]
        groups.append(
            AttentionGroup(
                queries=put(queries.reshape(-1), device),
                rows=len(slots),
                slots=put(slots, device),
                positions=put(at, device),
                length=int(at.max()) + 1,
                outputs=None if real.all() else put(np.flatnonzero(real), device),
                is_whole=not at[:, 0].any() and at.size * (int(at.max()) + 1) > UNCUT_PAIRS,
            )
        )
        first += num
    return groups


def _decoding_group(
    decoding: NDArray[np.int64], positions: NDArray[np.int64], device: torch.device, *, alone: bool
) -> AttentionGroup:
    num, span, length = len(decoding), int(decoding[-1]) + 1, int(positions.max()) + 1
    if num == span:
        return AttentionGroup(
            queries=None if alone else put(decoding, device),
            rows=num,
            slots=None,
            positions=put(positions[:, None], device),
            length=length,
            outputs=None,
        )
    if 2 * num >= span:
        # A few idle slots in between cost less than a copy of all the others' keys.
        queries = np.zeros(span, dtype=np.int64)
        queries[decoding] = np.arange(num)
        at = np.zeros((span, 1), dtype=np.int64)
        at[decoding, 0] = positions
        return AttentionGroup(
            queries=put(queries, device),
            rows=span,
            slots=None,
            positions=put(at, device),
            length=length,
            outputs=put(decoding, device),
        )
    return AttentionGroup(
        queries=put(np.arange(num), device),
        rows=num,
        slots=put(decoding, device),
        positions=put(positions[:, None], device),
        length=length,
        outputs=None,
    )


def put(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on the device."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)


def ragged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    ragged: RaggedBatch | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each slot; the interface is that of transformers' attention functions.

    Args:
        module: the attention layer.
        query: ``(1, heads, tokens, head dim)``.
        key: ``(1, key-value heads, tokens, head dim)``; written into the cache here.
        value: ``(1, key-value heads, tokens, head dim)``.
        attention_mask: not used.
        ragged: the batch; it reaches us through the keyword arguments of the model's forward.
        scaling: factor of the scores; None is ``head dim ** -0.5``.
        sliding_window: most positions that a query sees.
        softcap: bound of the scores, as Gemma 2 has it.

    Returns:
        ``(1, tokens, heads, head dim)``, and no weights.
    """
    if ragged is None:
        raise ValueError("expected the ragged batch among the arguments of attention: this model does not pass them on")
    attended = attend_ragged(
        int(module.layer_idx),  # type: ignore[arg-type]
        *(each[0].transpose(0, 1) for each in (query, key, value)),
        ragged=ragged,
        scaling=scaling,
        sliding_window=sliding_window,
        softcap=softcap,
    )
    return attended.unsqueeze(0), None


def attend_ragged(
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    ragged: RaggedBatch,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Put new keys and values into the cache and attend within each slot.

    Args:
        layer: index of the layer.
        query: ``(tokens, heads, head dim)``, packed.
        key: ``(tokens, key-value heads, head dim)``, likewise.
        value: as ``key``.
        ragged: the batch, which takes the tokens apart.
        scaling: factor of the scores; None is ``head dim ** -0.5``.
        sliding_window: most positions that a query sees.
        softcap: bound of the scores.

    Returns:
        ``(tokens, heads, head dim)``.
    """
    num_heads, num_kv_heads = query.shape[1], key.shape[1]
    if torch.is_autocast_enabled(key.device.type):
        # Rotated keys come in float32; every product would round them so, each time that they are seen.
        key, value = (each.to(torch.get_autocast_dtype(key.device.type)) for each in (key, value))
    keys, values = ragged.cache.write(layer, key, value, ragged.slots, ragged.positions, compiled=ragged.compiled)
    per_kv = num_heads // num_kv_heads
    outputs = []
    if ragged.compiled is not None and ragged.num_direct:
        num = ragged.num_direct
        direct, slots, positions = query[:num].to(keys.dtype), ragged.slots[:num], ragged.positions[:num]
        outputs.append(
            ragged.compiled.attend(
                direct, keys, values, slots, positions, scaling=scaling, window=sliding_window, softcap=softcap
            )
        )
    for group in ragged.groups:
        taken = query if group.queries is None else query.index_select(0, group.queries)
        num_queries = taken.shape[0] // group.rows
        if group.is_whole and softcap is None and (sliding_window is None or group.length <= sliding_window):
            outputs.append(_attend_whole(taken, keys, values, group, scaling))
            continue
        # Query heads that share a key-value head are further queries of it: (rows, kv heads, heads per kv * queries, dim).
        taken = taken.view(group.rows, num_queries, num_kv_heads, per_kv, -1).permute(0, 2, 3, 1, 4)
        taken = taken.reshape(group.rows, num_kv_heads, per_kv * num_queries, -1)
        if group.slots is None:
            seen_keys, seen_values = keys[: group.rows, :, : group.length], values[: group.rows, :, : group.length]
        else:
            seen_keys = keys[:, :, : group.length].index_select(0, group.slots)
            seen_values = values[:, :, : group.length].index_select(0, group.slots)
        mask = group.mask(sliding_window, taken.dtype)
        if num_queries > 1 and per_kv > 1:
            mask = mask.repeat(1, 1, per_kv, 1)
        attended = _attend(taken, seen_keys, seen_values, mask, scaling, softcap)
        attended = attended.view(group.rows, num_kv_heads, per_kv, num_queries, -1).permute(0, 3, 1, 2, 4)
        attended = attended.reshape(group.rows * num_queries, num_heads, -1)
        outputs.append(attended if group.outputs is None else attended.index_select(0, group.outputs))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _attend_whole(query: Tensor, keys: Tensor, values: Tensor, group: AttentionGroup, scaling: float | None) -> Tensor:
    """Let whole contexts attend to themselves: no mask is made, and what lies behind a query costs nothing."""
    rows = query.view(group.rows, -1, *query.shape[1:]).transpose(1, 2)
    key, value = (held[:, :, : group.length].index_select(0, group.slots) for held in (keys, values))  # type: ignore[arg-type]
    attended = nn.functional.scaled_dot_product_attention(
        rows, key, value, is_causal=True, scale=scaling, enable_gqa=rows.shape[1] != keys.shape[1]
    )
    attended = attended.transpose(1, 2).flatten(0, 1)
    return attended if group.outputs is None else attended.index_select(0, group.outputs)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None, softcap: float | None
) -> Tensor:
    # On a CPU two products beat the fused kernel for a single query (by 3 to 8% of a whole rollout).
    fused = softcap is None and (query.shape[2] > 1 or query.device.type != "cpu")
    if fused:
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = torch.matmul(query, key.transpose(-1, -2))
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    return torch.matmul(torch.softmax(scores + mask, dim=-1, dtype=torch.float32).to(value.dtype), value)


AttentionInterface.register(ATTENTION_NAME, ragged_attention)
