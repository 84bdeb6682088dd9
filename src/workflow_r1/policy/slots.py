"""The numbers of every session, in arrays with a row per slot, so that a step of the sampler works on all of them at once."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FIRST_WIDTH = 64
"""Tokens of a turn that there is room for at first."""


@dataclass(slots=True)
class Slots:
    """The sessions' numbers, a row per slot. Only the rows of open sessions mean anything."""

    length: NDArray[np.int64]
    """``(slots,)``: tokens in the cache."""
    seed: NDArray[np.uint64]
    """``(slots,)``: seed of the session's draws."""
    temperature: NDArray[np.float64]
    """``(slots,)``: sampling temperature."""
    decoding: NDArray[np.bool_]
    """``(slots,)``: whether a turn is under way whose last token is still to be fed."""
    last: NDArray[np.int64]
    """``(slots,)``: that token."""
    left: NDArray[np.int64]
    """``(slots,)``: tokens that the turn may still have."""
    count: NDArray[np.int64]
    """``(slots,)``: tokens that the turn has."""
    tokens: NDArray[np.int64]
    """``(slots, width)``: tokens of the turn."""
    logprobs: NDArray[np.float32]
    """``(slots, width)``: their log-probabilities."""

    @classmethod
    def empty(cls, num: int) -> Self:
        """Return slots without a session."""
        return cls(
            length=np.zeros(num, dtype=np.int64),
            seed=np.zeros(num, dtype=np.uint64),
            temperature=np.zeros(num, dtype=np.float64),
            decoding=np.zeros(num, dtype=bool),
            last=np.zeros(num, dtype=np.int64),
            left=np.zeros(num, dtype=np.int64),
            count=np.zeros(num, dtype=np.int64),
            tokens=np.zeros((num, FIRST_WIDTH), dtype=np.int64),
            logprobs=np.zeros((num, FIRST_WIDTH), dtype=np.float32),
        )

    def open(self, slot: int, *, seed: int, temperature: float) -> None:
        """Begin a session with an empty cache."""
        self.length[slot] = 0
        self.decoding[slot] = False
        self.seed[slot] = seed % 2**64
        self.temperature[slot] = temperature

    def move(self, source: int, target: int) -> None:
        """Copy a session's row over another."""
        for field in fields(self):
            held = getattr(self, field.name)
            held[target] = held[source]

    def begin_turn(self, slot: int, num_tokens: int) -> None:
        """Begin a turn of at most ``num_tokens`` tokens."""
        if self.tokens.shape[1] < num_tokens:
            width = max(num_tokens, 2 * self.tokens.shape[1])
            self.tokens, self.logprobs = _widen(self.tokens, width), _widen(self.logprobs, width)
        self.left[slot] = num_tokens
        self.count[slot] = 0

    def append(self, rows: NDArray[np.int64], drawn: NDArray[np.int64], logprobs: NDArray[np.float32]) -> None:
        """Append a drawn token to the turn of each row."""
        at = self.count[rows]
        self.tokens[rows, at] = drawn
        self.logprobs[rows, at] = logprobs
        self.count[rows] = at + 1
        self.left[rows] -= 1
        self.last[rows] = drawn
        self.decoding[rows] = True

    def turn(self, slot: int) -> tuple[list[int], list[float]]:
        """Return the tokens of the turn so far, and their log-probabilities."""
        count = int(self.count[slot])
        return self.tokens[slot, :count].tolist(), self.logprobs[slot, :count].tolist()


def _widen(array: NDArray[Any], width: int) -> NDArray[Any]:
    wider = np.zeros((array.shape[0], width), dtype=array.dtype)
    wider[:, : array.shape[1]] = array
    return wider
