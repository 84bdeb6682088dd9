"""The toy's questions and its policies, whose probability of success is exact."""

import dataclasses
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import embedding, one_hot

from workflow_r1.algorithms import group_advantages

QUESTIONS, DECISIONS, FILLERS = 16, 5, 8
WORDS = DECISIONS + FILLERS
"""Tokens: the decisions first, then the fillers."""

WIDTH = 16
"""Hidden width of what is trained."""

GROUP_SIZE = 8
"""Trajectories of a question."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The turns of a world's trajectories."""

    turns: int
    lengths: tuple[int, ...]
    """Lengths in tokens that a turn may have, each as likely as the others."""

    @property
    def longest(self) -> int:
        """Tokens of the longest turn."""
        return max(self.lengths)

    @property
    def start_decision(self) -> float:
        """Probability of a right decision before training: .6 with four turns, and all of them right as likely with others."""
        return 0.6 ** (4 / self.turns)

    @property
    def start_filler(self) -> float:
        """Probability of a right filler before training: .995 with 50 of them, and all of them right as likely with others."""
        return 0.995 ** (50 / (self.turns * (sum(self.lengths) / len(self.lengths) - 1)))


SHAPES = {
    "plain": Shape(4, tuple(range(3, 25))),
    "dense": Shape(4, tuple(range(1, 9))),
    "sparse": Shape(4, tuple(range(9, 73))),
    "even": Shape(4, (13, 14)),
    "uneven": Shape(4, (1, 26)),
    "two turns": Shape(2, tuple(range(3, 25))),
    "eight turns": Shape(8, tuple(range(3, 25))),
}
"""Worlds by name. A decision is one token in 13.5 (dense: in 4.5, sparse: in 40.5); the probability of success before
training is about the same in all."""


@dataclasses.dataclass(frozen=True)
class World:
    """Questions of one seed, and the policy that meets them."""

    length: Tensor
    """``(questions, turns)`` tokens of each turn."""
    right: Tensor
    """``(questions, turns)`` the right decision."""
    target: Tensor
    """``(questions, turns, places)`` the right token of each place."""
    present: Tensor
    """``(questions, turns, places)`` True where a turn has that place."""
    base: Tensor
    """``(questions, turns, places, words)`` logits of the policy before training."""


@lru_cache(maxsize=8)
def make_world(seed: int, shape: Shape = SHAPES["plain"]) -> World:
    """Draw lengths, right decisions and the grammar of the fillers."""
    draw = torch.Generator().manual_seed(seed)
    size = (QUESTIONS, shape.turns)
    length = torch.tensor(shape.lengths)[torch.randint(len(shape.lengths), size, generator=draw)]
    right = torch.randint(DECISIONS, size, generator=draw)
    grammar = DECISIONS + torch.randint(FILLERS, (shape.turns, shape.longest), generator=draw)
    places = torch.arange(shape.longest)
    present = places < length[..., None]
    decides = places == length[..., None] - 1
    target = torch.where(decides, right[..., None], grammar.expand(QUESTIONS, -1, -1))
    is_right = one_hot(target, WORDS).double()
    is_decision = torch.zeros(WORDS, dtype=torch.float64)
    is_decision[:DECISIONS] = 1 / (DECISIONS - 1)
    decision, filler = shape.start_decision, shape.start_filler
    decisions = decision * is_right + (1 - decision) * (1 - is_right) * (is_decision + 1e-6)
    fillers = filler * is_right + (1 - filler) / (WORDS - 1) * (1 - is_right)
    base = torch.where(decides[..., None], decisions, fillers).log().float()
    return World(length=length, right=right, target=target, present=present, base=base)


class Policies:
    """Policies that are trained together, one a slot, each with a world, a rate and random numbers of its own.

    A slot's policy is its base logits, and a small network of what is common to questions, turns and places, which starts
    at 0. Training several at once costs a fraction of training one after the other, and changes nothing but the order of
    sums.

    Args:
        seeds: seed of each slot.
        rates: learning rate of each slot.
        shape: the turns of all their worlds.
    """

    def __init__(self, seeds: Sequence[int], rates: Sequence[float], shape: Shape = SHAPES["plain"]) -> None:
        worlds = [make_world(seed, shape) for seed in seeds]
        self.world = World(*(torch.stack([getattr(w, f.name) for w in worlds]) for f in dataclasses.fields(World)))
        self.num, self.shape = len(seeds), shape
        self.draws = [torch.Generator().manual_seed(seed + 1) for seed in seeds]
        starts = [torch.Generator().manual_seed(seed) for seed in seeds]

        def parameter(*size: int) -> Tensor:
            return torch.stack([torch.randn(*size, generator=start) for start in starts]).requires_grad_()

        self.question = parameter(QUESTIONS, WIDTH)
        self.place = parameter(shape.turns, shape.longest, WIDTH)
        self.decides = parameter(2, WIDTH)
        # The observation shows the decision before: none in the first turn.
        self.before = parameter(DECISIONS + 1, WIDTH)
        self.out = torch.zeros(self.num, WIDTH, WORDS).requires_grad_()
        self._parameters = (self.question, self.place, self.decides, self.before, self.out)
        self._moments = [(torch.zeros_like(each), torch.zeros_like(each)) for each in self._parameters]
        self._rates, self._num_updates = torch.tensor(rates), 0

    def __call__(self, slot: Tensor, question: Tensor, turn: Tensor, place: Tensor, before: Tensor) -> Tensor:
        """Log-probabilities ``(n, words)`` at n places of turns, in the order of the slots."""
        is_last = (place == self.world.length[slot, question, turn] - 1).long()
        hidden = torch.tanh(
            _look_up(self.question, slot * QUESTIONS + question)
            + _look_up(self.before, slot * (DECISIONS + 1) + before)
            + _look_up(self.place, (slot * self.shape.turns + turn) * self.shape.longest + place)
            + _look_up(self.decides, slot * 2 + is_last)
        )
        counts = torch.bincount(slot, minlength=self.num).tolist()
        learnt = torch.cat([part @ out for part, out in zip(hidden.split(counts), self.out, strict=True)])
        return (self.world.base[slot, question, turn, place] + learnt / math.sqrt(WIDTH)).log_softmax(-1)

    def update(self, loss: Tensor) -> Tensor:
        """Take one step of Adam (arXiv:1412.6980) in each slot, its gradient cut to the norm 1.

        Args:
            loss: the sum of the slots' losses.

        Returns:
            ``(slots,)`` norms before the cut.
        """
        gradients = torch.autograd.grad(loss, self._parameters)
        norms = torch.stack([each.flatten(1).square().sum(1) for each in gradients]).sum(0).sqrt()
        cut = (1.0 / (norms + 1e-6)).clamp(max=1.0)
        self._num_updates += 1
        first, second = (1 - beta**self._num_updates for beta in (0.9, 0.999))
        with torch.no_grad():
            for each, gradient, (mean, square) in zip(self._parameters, gradients, self._moments, strict=True):
                shape = (-1, *[1] * (each.ndim - 1))
                scaled = gradient * cut.reshape(shape)
                mean.lerp_(scaled, 0.1)
                square.lerp_(scaled.square(), 0.001)
                each -= self._rates.reshape(shape) * (mean / first) / ((square / second).sqrt() + 1e-8)
        return norms


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table whose last dimension is a row; its gradient is cheaper than that of an index."""
    return embedding(index, table.reshape(-1, WIDTH))


def success(policies: Policies) -> list[float]:
    """Probability that a trajectory succeeds, of each slot, mean over its questions: exact.

    A wrong decision or filler ends all hope, so that the only decision that a turn can have before it is the right one:
    the probability is the product of those of the one trajectory that succeeds.
    """
    world = policies.world
    slot, question, turn, place = world.present.nonzero(as_tuple=True)
    before = torch.where(turn > 0, world.right[slot, question, turn - 1], DECISIONS)
    with torch.no_grad():
        table = policies(slot, question, turn, place, before)
    right = table.gather(1, world.target[world.present][:, None])[:, 0]
    sums = torch.zeros(policies.num * QUESTIONS).index_add(0, slot * QUESTIONS + question, right)
    return sums.exp().reshape(policies.num, QUESTIONS).mean(1).tolist()


@dataclasses.dataclass(frozen=True)
class Batch:
    """Trajectories, ``(slots, n, turns, places)`` where not said otherwise."""

    question: Tensor
    """``(slots, n)``"""
    before: Tensor
    """``(slots, n, turns)`` the decision before each turn."""
    tokens: Tensor
    logprobs: Tensor
    present: Tensor
    advantages: Tensor
    """``(slots, n)``"""

    def rows(self, chosen: slice) -> "Batch":
        """Some of the trajectories of each slot."""
        return Batch(*(getattr(self, field.name)[:, chosen] for field in dataclasses.fields(self)))


def sample(policies: Policies, num_groups: int) -> Batch:
    """Let the policies act, and compare each trajectory with its group."""
    world, num_slots, turns = policies.world, policies.num, policies.shape.turns
    asked = [torch.randint(QUESTIONS, (num_groups,), generator=draw) for draw in policies.draws]
    question = torch.stack(asked).repeat_interleave(GROUP_SIZE, dim=1)
    num = num_groups * GROUP_SIZE
    slots = torch.arange(num_slots)[:, None]
    present, length = world.present[slots, question], world.length[slots, question]
    before = torch.full((num_slots, num, turns + 1), DECISIONS)
    tokens, logprobs = torch.zeros_like(present, dtype=torch.long), torch.zeros(present.shape)
    for turn in range(turns):
        slot, row, place = present[:, :, turn].nonzero(as_tuple=True)
        with torch.no_grad():
            table = policies(slot, question[slot, row], torch.full_like(row, turn), place, before[slot, row, turn])
        # The largest of p / e, e exponential, is a draw from p.
        counts = torch.bincount(slot, minlength=num_slots).tolist()
        noise = [
            torch.empty(count, WORDS).exponential_(generator=draw)
            for count, draw in zip(counts, policies.draws, strict=True)
        ]
        drawn = (table.exp() / torch.cat(noise)).argmax(1)
        tokens[slot, row, turn, place], logprobs[slot, row, turn, place] = drawn, table.gather(1, drawn[:, None])[:, 0]
        last = tokens[:, :, turn].gather(2, length[:, :, turn, None] - 1)[..., 0]
        before[:, :, turn + 1] = last.where(last < DECISIONS, torch.tensor(DECISIONS))
    rewards = ((tokens == world.target[slots, question]) | ~present).flatten(2).all(2).float()
    groups = torch.arange(num_slots * num_groups).repeat_interleave(GROUP_SIZE)
    return Batch(
        question=question,
        before=before[:, :, :turns],
        tokens=tokens,
        logprobs=logprobs,
        present=present,
        advantages=group_advantages(rewards.flatten(), groups).reshape(rewards.shape),
    )
