"""What identities of the loss are checked with: random batches on given turns, and a comparison in value and gradient."""

import math

import torch
from torch import Tensor

TOLERANCE = 1e-10
# One row per trajectory, one number per turn: its policy tokens. A single observation token stands between turns.
RAGGED = [[3, 1, 4], [2], [1, 1, 1, 1, 1], [7, 2], [5, 3, 2], [1]]


def float64(values: float | list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Batch:
    """Random log-probabilities on given turns; whatever is masked holds NaN, infinities or huge numbers."""

    def __init__(self, rows: list[list[int]], seed: int = 0, spread: float = 0.4) -> None:
        generator = torch.Generator().manual_seed(seed)
        time = max([sum(row) + len(row) for row in rows], default=0) + 3
        self.turn_ids = torch.zeros(len(rows), time, dtype=torch.long)
        for i, row in enumerate(rows):
            position = 2
            for turn, length in enumerate(row, start=1):
                self.turn_ids[i, position : position + length] = turn
                position += length + 1
        mask = self.turn_ids > 0
        shape = (len(rows), time)
        garbage = float64([math.nan, math.inf, -math.inf, 1e300])
        garbage = garbage[torch.randint(4, shape, generator=generator)]

        def draw(scale: float, shift: float) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64) * scale + shift

        self.logprobs = draw(0.5, -2.0).where(mask, garbage).requires_grad_()
        self.old_logprobs = (self.logprobs.detach() + draw(spread, 0.0)).where(mask, garbage.flip(0))
        self.ref_logprobs = draw(0.5, -2.0).where(mask, garbage.flip(1))
        self.per_token = draw(1.0, 0.0).where(mask, garbage)
        self.advantages = torch.randn(len(rows), generator=generator, dtype=torch.float64)
        self.advantages[:2] = float64([1.3, -0.7])[: len(rows)]

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"logprobs": self.logprobs, "old_logprobs": self.old_logprobs, "advantages": self.advantages}

    def turns(self) -> list[list[list[int]]]:
        """Return, for each trajectory and each of its turns, the positions of its tokens."""
        rows = []
        for row in self.turn_ids.tolist():
            present = sorted(set(row) - {0})
            rows.append([[t for t, turn in enumerate(row) if turn == k] for k in present])
        return rows


def assert_same(actual: Tensor, expected: Tensor | float, *sources: Tensor) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert abs(actual.item() - expected.item()) < TOLERANCE, (actual.item(), expected.item())
    for source in sources:
        (got,) = torch.autograd.grad(actual, source, retain_graph=True)
        (want,) = torch.autograd.grad(expected, source, retain_graph=True)
        assert want.abs().max() > 1e-6, "the expected gradient is 0: the comparison would prove nothing"
        assert (got - want).abs().max() < TOLERANCE


def clipped(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """PPO's term by cases: the clip counts only where it makes the objective smaller."""
    if advantage > 0:
        return advantage * (ratio if ratio < 1 + high else float64(1 + high))
    return advantage * (ratio if ratio > 1 - low else float64(1 - low))
