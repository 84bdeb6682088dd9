"""Every baseline by turn, against the exact gradient of a policy that chooses when to stop."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from workflow_r1.algorithms import advantages, policy_loss, spread_turns, turn_advantages, unit_ids

STOP, LEFT, RIGHT = range(3)
NUM_TURNS = 3
LOGITS = torch.tensor([[0.3, -0.2, 0.5], [-0.4, 0.6, 0.1], [0.2, 0.7, -0.5], [0.0, -0.3, 0.4]], dtype=torch.float64)
"""Probabilities of the three actions: at the start (row 0), after LEFT and RIGHT (1, 2), and in the third turn (3)."""


@dataclass(frozen=True)
class Path:
    """One trajectory of the toy task, which ends with STOP or after the third turn; in that it may STOP or go LEFT."""

    actions: tuple[int, ...]

    @property
    def states(self) -> list[int]:
        """Row of the logits at each turn: equal states follow different histories, and return in one trajectory."""
        return [0, *[action if turn < NUM_TURNS else 3 for turn, action in enumerate(self.actions[:-1], start=2)]]

    @property
    def anchors(self) -> list[int]:
        """States as the credit sees them: by the last action alone, so that one trajectory meets LEFT twice."""
        return [0, *self.actions[:-1]]

    @property
    def turn_rewards(self) -> list[float]:
        return [(0.0, 1.0, -0.6)[action] * (1 + 0.5 * turn) for turn, action in enumerate(self.actions)]

    @property
    def reward(self) -> float:
        """The turn rewards and an outcome that depends on the whole."""
        outcome = 2.0 if sum(self.actions) == 3 else 0.5 * (self.actions[-1] == STOP)
        return sum(self.turn_rewards) + outcome

    @property
    def returns(self) -> list[float]:
        return [self.reward - sum(self.turn_rewards[:turn]) for turn in range(len(self.actions))]


def every_path() -> list[Path]:
    paths = []
    for length in range(1, NUM_TURNS + 1):
        for actions in itertools.product(range(3), repeat=length):
            stops = [action == STOP for action in actions]
            at_end = stops[-1] or (length == NUM_TURNS and actions[-1] == LEFT)
            if at_end and not any(stops[:-1]):
                paths.append(Path(actions))
    return paths


PATHS = every_path()


def logprobs(logits: Tensor) -> Tensor:
    """Log-probability of each turn of each path; 0 beyond its end."""
    impossible = torch.zeros_like(LOGITS, dtype=torch.bool)
    impossible[3, RIGHT] = True
    table = logits.masked_fill(impossible, -torch.inf).log_softmax(dim=1)
    rows = [
        torch.stack([table[state, action] for state, action in zip(path.states, path.actions, strict=True)])
        for path in PATHS
    ]
    return torch.stack([torch.nn.functional.pad(row, (0, NUM_TURNS - len(row))) for row in rows])


def exact_gradient() -> Tensor:
    """Gradient of the expected reward."""
    logits = LOGITS.clone().requires_grad_()
    rewards = torch.tensor([path.reward for path in PATHS], dtype=torch.float64)
    (logprobs(logits).sum(dim=1).exp() * rewards).sum().backward()
    assert logits.grad is not None
    return logits.grad


def padded(rows: list[list[float]], fill: float = 0.0) -> Tensor:
    return torch.tensor([row + [fill] * (NUM_TURNS - len(row)) for row in rows], dtype=torch.float64)


Credit = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Advantages from returns to go, turns, states and group ids."""


def expected_gradient(credit: Credit, group_size: int) -> Tensor:
    """Expectation of the policy gradient's estimate over all groups, by enumeration."""
    groups = list(itertools.product(range(len(PATHS)), repeat=group_size))
    rows = torch.tensor(groups).flatten()
    group_ids = torch.arange(len(groups)).repeat_interleave(group_size)
    returns = padded([path.returns for path in PATHS], fill=99.0)[rows]  # Beyond the end anything may stand.
    num_turns = torch.tensor([len(path.actions) for path in PATHS])[rows]
    states = padded([[float(each) for each in path.anchors] for path in PATHS])[rows].long()
    values = credit(returns, num_turns, states, group_ids)
    logits = LOGITS.clone().requires_grad_()
    by_turn = logprobs(logits)
    probability = by_turn.detach().sum(dim=1).exp()[torch.tensor(groups)].prod(dim=1)
    (probability[group_ids] * (by_turn[rows] * values).sum(dim=1) / group_size).sum().backward()
    assert logits.grad is not None
    return logits.grad


def return_to_go(kind: str) -> Credit:
    return lambda returns, num_turns, states, ids: turn_advantages(returns, num_turns, ids, kind=kind)


def anchor_state(kind: str) -> Credit:
    return lambda returns, num_turns, states, ids: turn_advantages(returns, num_turns, ids, states=states, kind=kind)


def outcome(kind: str) -> Credit:
    def compute(returns: Tensor, num_turns: Tensor, states: Tensor, ids: Tensor) -> Tensor:
        alive = torch.arange(NUM_TURNS) < num_turns[:, None]
        return advantages(returns[:, 0], ids, kind=kind)[:, None] * alive

    return compute


@pytest.mark.parametrize("group_size", [2, 3])
@pytest.mark.parametrize("credit", [outcome, return_to_go, anchor_state])
def test_each_baseline_is_unbiased_where_the_policy_chooses_when_to_stop(credit, group_size):
    """Over all groups the estimate is the exact gradient; ``group_centred`` is (n - 1)/n of it, for all turns alike."""
    exact = exact_gradient()
    torch.testing.assert_close(expected_gradient(credit("leave_one_out"), group_size), exact, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        expected_gradient(credit("group_centred"), group_size),
        exact * (group_size - 1) / group_size,
        rtol=1e-12,
        atol=1e-13,
    )


def living_mean(returns: Tensor, num_turns: Tensor, states: Tensor, ids: Tensor) -> Tensor:
    """The construction that suggests itself: less the mean over the trajectories of the group still alive at the turn."""
    alive = torch.arange(NUM_TURNS) < num_turns[:, None]
    values = returns.where(alive, 0.0)
    sums = torch.zeros(int(ids.max()) + 1, NUM_TURNS, dtype=values.dtype).index_add(0, ids, values)
    counts = torch.zeros_like(sums).index_add(0, ids, alive.double())
    return (returns - (sums / counts.clamp(min=1))[ids]).where(alive, 0.0)


def normalised_by_turn(returns: Tensor, num_turns: Tensor, states: Tensor, ids: Tensor) -> Tensor:
    """MT-GRPO's: each turn's reward less the mean of that turn over the *others*, then summed up to the own last turn."""
    alive = torch.arange(NUM_TURNS) < num_turns[:, None]
    to_go = returns.where(alive, 0.0)
    rewards = to_go - torch.nn.functional.pad(to_go[:, 1:], (0, 1))
    size = int((ids == 0).sum())
    grouped, living = rewards.view(-1, size, NUM_TURNS), alive.view(-1, size, NUM_TURNS)
    others = (grouped.sum(dim=1, keepdim=True) - grouped) / (living.sum(dim=1, keepdim=True) - living.long()).clamp(
        min=1
    )
    compared = (grouped - others).reshape(-1, NUM_TURNS).where(alive, 0.0)
    return compared.flip(1).cumsum(dim=1).flip(1).where(alive, 0.0)


def added_step_groups(returns: Tensor, num_turns: Tensor, states: Tensor, ids: Tensor) -> Tensor:
    """GiGPO's: the outcome's advantage and, added to it, the return to go less the mean over the step group."""
    values = outcome("leave_one_out")(returns, num_turns, states, ids)
    alive = torch.arange(NUM_TURNS) < num_turns[:, None]
    key = torch.where(alive, ids[:, None] * 10 + states, -1).flatten()
    keys, index = key.unique(return_inverse=True)
    flat = returns.where(alive, 0.0).flatten()
    sums = torch.zeros(len(keys), dtype=flat.dtype).index_add(0, index, flat)
    counts = torch.zeros_like(sums).index_add(0, index, torch.ones_like(flat))
    return values + (flat - (sums / counts)[index]).view_as(returns).where(alive, 0.0)


@pytest.mark.parametrize("biased", [living_mean, normalised_by_turn, added_step_groups])
def test_the_constructions_that_suggest_themselves_point_elsewhere(biased):
    """The same enumeration sees their bias: no factor turns the expected estimate into the gradient."""
    exact, found = exact_gradient().flatten(), expected_gradient(biased, 3).flatten()
    cosine = torch.dot(exact, found) / (exact.norm() * found.norm())
    assert cosine < 0.999


def test_by_hand():
    """Returns (3, 1) and (2): turn 1 compares 3 with 2; in turn 2 the second has ended and stands there with its 2."""
    returns = torch.tensor([[3.0, 1.0], [2.0, torch.nan]], dtype=torch.float64)
    num_turns, ids = torch.tensor([2, 1]), torch.tensor([5, 5])
    got = turn_advantages(returns, num_turns, ids, kind="leave_one_out")
    assert got.tolist() == [[1.0, -1.0], [-1.0, 0.0]]
    assert turn_advantages(returns, num_turns, ids, kind="group_centred").tolist() == [[0.5, -0.5], [-0.5, 0.0]]
    # Both columns: squares 2 * 1/4 each, over 2 turns and n - 1 = 1: std sqrt(1/2).
    scale = 0.5 / (0.5**0.5 + 1e-6)
    expected = torch.tensor([[scale, -scale], [-scale, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(turn_advantages(returns, num_turns, ids), expected)


def test_a_shared_state_replaces_the_baseline_by_that_of_the_others_who_were_there():
    """State 7: the first trajectory's turn 2 (return 1) and the second's turn 1 (return 2), each the other's baseline."""
    returns = torch.tensor([[3.0, 1.0], [2.0, 0.0], [6.0, 0.0]], dtype=torch.float64)
    states = torch.tensor([[0, 7], [7, 0], [0, 7]])
    num_turns, ids = torch.tensor([2, 1, 1]), torch.zeros(3, dtype=torch.long)
    got = turn_advantages(returns, num_turns, ids, states=states, kind="leave_one_out")
    assert got.tolist() == [[3.0 - 6.0, 1.0 - 2.0], [2.0 - 1.0, 0.0], [6.0 - 3.0, 0.0]]
    alone = turn_advantages(
        returns, num_turns, ids, states=torch.tensor([[0, 1], [2, 0], [3, 0]]), kind="leave_one_out"
    )
    assert alone.tolist() == turn_advantages(returns, num_turns, ids, kind="leave_one_out").tolist()


def test_equal_returns_of_one_turn_number_and_others_in_the_same_state_stay_finite():
    """Both have returns (1, 0), so that no turn's spread is above 0; but turn 1 of one is the state of turn 2 of the other."""
    returns = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    got = turn_advantages(returns, torch.tensor([2, 2]), torch.tensor([0, 0]), states=torch.tensor([[1, 2], [2, 3]]))
    assert got.abs().max() < 2


@pytest.mark.parametrize("kind", ["group_normalised", "group_centred", "leave_one_out"])
def test_without_turn_rewards_every_turn_has_the_advantage_of_the_outcome(kind):
    rewards = torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0], dtype=torch.float64)
    ids, num_turns = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([3, 1, 0, 2, 1])
    got = turn_advantages(rewards[:, None].expand(5, 3), num_turns, ids, kind=kind)
    alive = torch.arange(3) < num_turns[:, None]
    torch.testing.assert_close(got, advantages(rewards, ids, kind=kind)[:, None] * alive)


def test_a_group_of_one_and_equal_returns_teach_nothing():
    returns = torch.tensor([[0.1 + 0.2], [0.3 + 1e-17], [5.0]])
    got = turn_advantages(returns, torch.tensor([1, 1, 1]), torch.tensor([0, 0, 1]))
    assert got.tolist() == [[0.0], [0.0], [0.0]]


def test_tokens_get_the_value_of_their_turn():
    # P P a0 E C b0 E, and a row with one turn
    turn_ids = torch.tensor([[0, 0, 1, 1, 0, 2, 2], [0, 1, 1, 0, 0, 0, 0]])
    values = torch.tensor([[0.5, -2.0], [3.0, 0.0]])
    assert spread_turns(values, turn_ids).tolist() == [
        [0.0, 0.0, 0.5, 0.5, 0.0, -2.0, -2.0],
        [0.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0],
    ]


@pytest.mark.parametrize("unit", ["token", "turn"])
@pytest.mark.parametrize("weight", ["uniform", "length", "batch", "constant"])
def test_one_weight_gives_the_plain_sum_over_turns_whatever_their_number_and_length(weight, unit):
    """``docs/explanation/credit.md`` says which: each token's gradient is its turn's advantage times one constant."""
    turn_ids = torch.tensor([[1, 1, 1, 0, 2], [1, 0, 0, 0, 0]])
    values = spread_turns(torch.tensor([[0.5, -2.0], [3.0, 0.0]], dtype=torch.float64), turn_ids)
    factors = []
    for rows in (slice(0, 2), slice(0, 1), slice(1, 2)):  # The factor depends on no other trajectory either.
        logprobs = torch.zeros(turn_ids[rows].shape, dtype=torch.float64, requires_grad=True)
        policy_loss(
            logprobs=logprobs,
            old_logprobs=logprobs.detach(),
            advantages=values[rows],
            unit_ids=unit_ids(turn_ids[rows], unit),
            clip_low=0.2,
            clip_high=0.2,
            weight=weight,
            weight_length=7.0 if weight == "constant" else None,
            num_trajectories=2,
            num_units=int(unit_ids(turn_ids[rows], unit).amax(dim=1).sum()),
        ).loss.backward()
        factors += (logprobs.grad / values[rows])[turn_ids[rows] > 0].tolist()
    is_plain_sum = factors == pytest.approx([-1 / (2 * 7)] * len(factors), rel=1e-12)
    assert is_plain_sum == (weight == "constant")
