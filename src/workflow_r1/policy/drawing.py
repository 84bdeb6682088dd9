"""Drawing of tokens: each from a uniform number that is a function of the session's seed and the token's position.

So a draw depends neither on the order in which sessions are served nor on the company that they are served in.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def draw(logits: Tensor, uniforms: Tensor, *, temperature: float, top_p: float = 1.0) -> tuple[Tensor, Tensor]:
    """Draw one token per row by the inverse of the cumulative distribution.

    Args:
        logits: ``(rows, vocabulary)``.
        uniforms: ``(rows,)`` in [0, 1).
        temperature: divides the logits; 0 takes the most likely token.
        top_p: only the most likely tokens that together reach this probability are drawn.

    Returns:
        The token of each row, and its log-probability in nats, float32: of the distribution at this temperature before
        ``top_p``; at temperature 0, of the one at temperature 1.
    """
    logits = logits.float()
    if temperature > 0 and temperature != 1:
        logits = logits / temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    if temperature == 0:
        drawn = logprobs.argmax(dim=-1, keepdim=True)
        return drawn[:, 0], logprobs.gather(-1, drawn)[:, 0]
    weights = logprobs.exp()
    if top_p < 1:
        ordered, order = weights.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        weights = torch.zeros_like(weights).scatter_(-1, order, ordered.masked_fill(before >= top_p, 0.0))
    cumulative = weights.cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Strictly below the total, so that the first sum above it belongs to a token of positive probability.
    wanted = torch.minimum(uniforms[:, None].float() * total, torch.nextafter(total, torch.zeros_like(total)))
    drawn = torch.searchsorted(cumulative, wanted, right=True).clamp_(max=logits.shape[-1] - 1)
    return drawn[:, 0], logprobs.gather(-1, drawn)[:, 0]


def uniform_numbers(seeds: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return one number in [0, 1) per row: a hash (SplitMix64, twice) of seed and position, exact in float32.

    Args:
        seeds: ``(rows,)``: seed of each row's session.
        positions: ``(rows,)``: position of the token to be drawn.
    """
    state = _mix(_mix(seeds) + positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return ((state >> np.uint64(40)).astype(np.float64) * 2.0**-24).astype(np.float32)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
