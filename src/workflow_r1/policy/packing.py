"""Turns trajectories into the rectangular tensors that a training engine reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workflow_r1.errors import DataError
from workflow_r1.trajectory.records import Trajectory, Turn


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Trajectories as right-padded rows. Column t of every tensor describes token t itself, not its prediction."""

    input_ids: Int[Tensor, "batch time"]
    """Prompt, then turn and context tokens in turn; the pad token after the row's end."""
    attention_mask: Bool[Tensor, "batch time"]
    """True on the row's tokens, False on padding."""
    turn_ids: Int[Tensor, "batch time"]
    """The index (1, 2, ...) of the turn in which the policy wrote the token; 0 where it did not write it."""
    sampler_logprobs: Float[Tensor, "batch time"]
    """The sampler's log-probability of the policy's tokens, in nats, float32; 0 elsewhere.
    NaN where the trajectory did not keep them (demonstrations), so that their use shows."""
    is_think: Bool[Tensor, "batch time"] | None = None
    """True on the policy's tokens that belong to the think of their turn; None where nobody asked."""

    @property
    def lengths(self) -> Int[Tensor, " batch"]:
        """Tokens of each row, padding left out."""
        return self.attention_mask.sum(dim=1)

    @property
    def num_rows(self) -> int:
        """Number of trajectories."""
        return self.input_ids.shape[0]

    def rows(self, indices: Sequence[int]) -> "PackedBatch":
        """Return some rows, padded to the longest of them only."""
        index = torch.as_tensor(indices, dtype=torch.long, device=self.input_ids.device)
        longest = int(self.lengths[index].max()) if len(indices) else 0
        return PackedBatch(
            input_ids=self.input_ids[index, :longest],
            attention_mask=self.attention_mask[index, :longest],
            turn_ids=self.turn_ids[index, :longest],
            sampler_logprobs=self.sampler_logprobs[index, :longest],
            is_think=None if self.is_think is None else self.is_think[index, :longest],
        )

    def to(self, device: torch.device | str) -> "PackedBatch":
        """Return the same batch on another device."""
        return PackedBatch(
            input_ids=self.input_ids.to(device, non_blocking=True),
            attention_mask=self.attention_mask.to(device, non_blocking=True),
            turn_ids=self.turn_ids.to(device, non_blocking=True),
            sampler_logprobs=self.sampler_logprobs.to(device, non_blocking=True),
            is_think=None if self.is_think is None else self.is_think.to(device, non_blocking=True),
        )


def pack(
    trajectories: Sequence[Trajectory],
    pad_token_id: int = 0,
    *,
    num_think_tokens: Callable[[Turn], int] | None = None,
) -> PackedBatch:
    """Lay trajectories out as rows: the prompt, then for each turn its tokens and the context that follows it.

    Two trajectories, ``P`` prompt, ``a`` and ``b`` tokens of turns 1 and 2, ``E`` the end-of-turn token (sampled, so
    the policy's), ``C`` context (template and observation), ``.`` padding::

        column             0    1    2    3    4    5    6    7
        input_ids  [0]     P0   P1   a0   E    C0   C1   b0   E
                   [1]     P0   a0   a1   E    .    .    .    .
        attention  [0]     1    1    1    1    1    1    1    1
                   [1]     1    1    1    1    0    0    0    0
        turn_ids   [0]     0    0    1    1    0    0    2    2
                   [1]     0    1    1    1    0    0    0    0
        sampler_   [0]     0    0   -.3  -.1   0    0   -.7  -.2
        logprobs   [1]     0   -.4  -.9  -.1   0    0    0    0

    The token of column t is predicted from columns 0 to t-1: a model's hidden state at t-1 gives the log-probability
    that belongs into column t. Between two turns there is always at least one context token, so that a turn is also a
    maximal run of ones in ``turn_ids > 0`` (engines that know only a mask rely on it).

    Args:
        trajectories: one row each; every one with the tokens of its prompt and of all its turns.
        pad_token_id: fills the end of the shorter rows; any id of the vocabulary, since it is never read.
        num_think_tokens: counts the tokens at the beginning of a turn that are its think; fills ``is_think``.

    Raises:
        DataError: there are no trajectories, or one lacks tokens (it was written through a chat server), or its numbers
            of tokens and log-probabilities differ, or two of its turns touch.
    """
    if not trajectories:
        raise DataError("expected at least one trajectory to pack, received none")
    rows = [_row(trajectory) for trajectory in trajectories]
    shape = (len(rows), max(len(ids) for ids, _, _ in rows))
    input_ids = torch.full(shape, pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.bool)
    turn_ids = torch.zeros(shape, dtype=torch.long)
    sampler_logprobs = torch.zeros(shape, dtype=torch.float32)
    for index, (ids, turns, logprobs) in enumerate(rows):
        length = len(ids)
        input_ids[index, :length] = torch.tensor(ids, dtype=torch.long)
        attention_mask[index, :length] = True
        turn_ids[index, :length] = torch.tensor(turns, dtype=torch.long)
        sampler_logprobs[index, :length] = torch.tensor(logprobs, dtype=torch.float32)
    is_think = None
    if num_think_tokens is not None:
        is_think = torch.zeros(shape, dtype=torch.bool)
        for index, trajectory in enumerate(trajectories):
            start = len(trajectory.prompt_token_ids)
            for turn in trajectory.turns:
                is_think[index, start : start + num_think_tokens(turn)] = True
                start += len(turn.token_ids) + len(turn.context_token_ids)
    return PackedBatch(input_ids, attention_mask, turn_ids, sampler_logprobs, is_think)


def num_tokens(trajectory: Trajectory) -> int:
    """Return the length of the trajectory's row: prompt, turns and context."""
    turns = sum(len(turn.token_ids) + len(turn.context_token_ids) for turn in trajectory.turns)
    return len(trajectory.prompt_token_ids) + turns


def _row(trajectory: Trajectory) -> tuple[list[int], list[int], list[float]]:
    """Return the token ids, turn ids and sampler log-probabilities of one trajectory."""
    place = f"trajectory {trajectory.id!r}"
    if not trajectory.prompt_token_ids:
        raise DataError(
            f"{place}: expected the token ids of the prompt, found none. Trajectories of a chat server carry text only: "
            f"train on trajectories of the local sampler, or let the warm start tokenise the text"
        )
    ids = list(trajectory.prompt_token_ids)
    turns = [0] * len(ids)
    logprobs = [0.0] * len(ids)
    for position, turn in enumerate(trajectory.turns):
        if not turn.token_ids:
            raise DataError(f"{place}, turn {turn.index}: expected the token ids that were sampled, found none")
        if turn.logprobs and len(turn.logprobs) != len(turn.token_ids):
            raise DataError(
                f"{place}, turn {turn.index}: expected one log-probability per token, found {len(turn.logprobs)} "
                f"for {len(turn.token_ids)} tokens"
            )
        if position > 0 and turns[-1] > 0:
            raise DataError(f"{place}, turn {turn.index}: expected context tokens between two turns, found none")
        ids += turn.token_ids
        turns += [turn.index] * len(turn.token_ids)
        logprobs += turn.logprobs or [float("nan")] * len(turn.token_ids)
        ids += turn.context_token_ids
        turns += [0] * len(turn.context_token_ids)
        logprobs += [0.0] * len(turn.context_token_ids)
    return ids, turns, logprobs
