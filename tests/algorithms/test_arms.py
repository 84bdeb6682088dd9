"""Identities of the other clips, units, weights and presets; ``test_mutations.py`` hands them mutants, too.

The published formulas are written out as loops that share no code with the package.
"""

import math
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest
import torch
from loss_identities import RAGGED, TOLERANCE, Batch, assert_same, clipped, float64
from torch import Tensor

import workflow_r1.algorithms

IDENTITIES: list[Callable[[ModuleType], None]] = []

ENDLESS = {"clip_low": math.inf, "clip_high": math.inf}
BOUNDS = [
    {"clip": "fixed", "clip_low": 0.1, "clip_high": 0.15},
    {"clip": "fixed", "clip_low": 0.1, "clip_high": 0.15, "dual_clip": 1.3},
    {"clip": "none", **ENDLESS},
    {"clip": "sapo", **ENDLESS, "sapo_temperature_positive": 3.0, "sapo_temperature_negative": 5.0},
    {"clip": "cispo", "clip_low": 0.1, "clip_high": 0.15},
]


def identity(check: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    IDENTITIES.append(check)
    return check


@pytest.mark.parametrize("check", IDENTITIES, ids=lambda check: check.__name__)
def test_identity(check: Callable[[ModuleType], None]) -> None:
    check(workflow_r1.algorithms)


def tokens_of(batch: Batch) -> list[list[int]]:
    return [[t for turn in turns for t in turn] for turns in batch.turns()]


def ratio_of(batch: Batch, row: int, tokens: Sequence[int]) -> Tensor:
    return (sum(batch.logprobs[row, t] - batch.old_logprobs[row, t] for t in tokens) / len(tokens)).exp()


def loss_of(algorithms: ModuleType, batch: Batch, unit: str, **options):
    """The package's result for units of a kind; the think of a turn is its first half."""
    is_think = torch.zeros_like(batch.turn_ids, dtype=torch.bool)
    for i, turns in enumerate(batch.turns()):
        for turn in turns:
            is_think[i, turn[: (len(turn) + 1) // 2]] = True
    ids = algorithms.unit_ids(batch.turn_ids, unit, is_think=is_think)
    return algorithms.policy_loss(**batch.tensors, unit_ids=ids, **options)


def gradient_of(loss: Tensor, batch: Batch) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, batch.logprobs)
    return gradient


# --- Published formulas -----------------------------------------------------------------------------------------------


@identity
def token_units_with_a_soft_gate_are_sapo(algorithms: ModuleType) -> None:
    """arXiv:2511.20347: f(x) = 4 / tau sigmoid(tau (x - 1)), a mean over tokens and one over responses."""
    for seed in range(3):
        batch = Batch(RAGGED, seed)
        total = float64(0.0)
        for i, tokens in enumerate(tokens_of(batch)):
            advantage = batch.advantages[i]
            tau = 1.0 if advantage > 0 else 1.05
            for t in tokens:
                gate = 4 / tau / (1 + torch.exp(-tau * (ratio_of(batch, i, [t]) - 1)))
                total = total - gate * advantage / len(tokens) / len(RAGGED)
        preset = algorithms.PRESETS["sapo"]
        result = loss_of(algorithms, batch, preset.unit, **preset.of_loss())
        assert_same(result.loss, total, batch.logprobs)


@identity
def token_units_with_a_bounded_weight_are_cispo(algorithms: ModuleType) -> None:
    """MiniMax-M1 (arXiv:2506.13585), equations 4 and 5: the bounded ratio is a constant; a mean over all tokens."""
    for seed in range(3):
        batch = Batch(RAGGED, seed)
        terms = []
        for i, tokens in enumerate(tokens_of(batch)):
            for t in tokens:
                weight = min(max(ratio_of(batch, i, [t]).item(), 0.7), 1.3)
                terms.append(weight * batch.advantages[i] * batch.logprobs[i, t])
        result = loss_of(algorithms, batch, "token", clip="cispo", weight="batch", clip_low=0.3, clip_high=0.3)
        assert_same(result.loss, -torch.stack(terms).mean(), batch.logprobs)


@identity
def sequence_units_by_their_length_are_luspo(algorithms: ModuleType) -> None:
    """arXiv:2602.05261: GSPO's loss of each sequence, times its tokens."""
    batch = Batch(RAGGED, spread=2e-3)
    preset = algorithms.PRESETS["luspo"]
    total = float64(0.0)
    for i, tokens in enumerate(tokens_of(batch)):
        total = total - len(tokens) * clipped(ratio_of(batch, i, tokens), batch.advantages[i], 3e-4, 4e-4)
    result = loss_of(algorithms, batch, preset.unit, **preset.of_loss())
    assert 0 < result.metrics["clip_fraction_low"] + result.metrics["clip_fraction_high"] < 1
    assert_same(result.loss, total / len(RAGGED), batch.logprobs)


@identity
def token_units_by_a_constant_are_dr_grpo(algorithms: ModuleType) -> None:
    """arXiv:2503.20783; TRL's ``dr_grpo``: the sum over tokens, divided by the rows times the longest response."""
    batch = Batch(RAGGED)
    preset = algorithms.resolve_preset("dr_grpo", weight_length=32.0)
    total = float64(0.0)
    for i, tokens in enumerate(tokens_of(batch)):
        for t in tokens:
            total = total - clipped(ratio_of(batch, i, [t]), batch.advantages[i], 0.2, 0.2)
    result = loss_of(algorithms, batch, preset.unit, **preset.of_loss())
    assert_same(result.loss, total / (len(RAGGED) * 32.0), batch.logprobs)
    assert (preset.advantage, algorithms.PRESETS["dapo"].advantage) == ("group_centred", "group_normalised")


@identity
def dapo_is_a_mean_over_tokens_with_a_higher_bound(algorithms: ModuleType) -> None:
    """arXiv:2503.14476, equation 8."""
    batch = Batch(RAGGED)
    preset = algorithms.PRESETS["dapo"]
    terms = [
        clipped(ratio_of(batch, i, [t]), batch.advantages[i], 0.2, 0.28)
        for i, tokens in enumerate(tokens_of(batch))
        for t in tokens
    ]
    result = loss_of(algorithms, batch, preset.unit, **preset.of_loss())
    assert_same(result.loss, -torch.stack(terms).mean(), batch.logprobs)


@identity
def rloo_and_reinforce_are_policy_gradients(algorithms: ModuleType) -> None:
    """arXiv:2402.14740: A times the gradient of a response's log-probability, by equation 8 or by the reward alone."""
    batch = Batch(RAGGED)
    batch.old_logprobs = batch.logprobs.detach().clone()
    rewards = [1.0, 0.0, -0.5, 1.0, 0.3, 0.0]
    groups = [0, 0, 0, 1, 1, 1]
    for name in ("rloo", "reinforce"):
        preset = algorithms.PRESETS[name]
        expected = torch.zeros_like(batch.logprobs)
        for i, tokens in enumerate(tokens_of(batch)):
            others = [rewards[j] for j in range(6) if groups[j] == groups[i] and j != i]
            baseline = sum(others) / len(others) if name == "rloo" else 0.0
            expected[i, tokens] = -(rewards[i] - baseline) / len(RAGGED)
        batch.advantages = algorithms.advantages(float64(rewards), torch.tensor(groups), kind=preset.advantage)
        result = loss_of(algorithms, batch, preset.unit, **preset.of_loss())
        assert (gradient_of(result.loss, batch) - expected).abs().max() < TOLERANCE
        # The unit does not matter: nothing has moved.
        by_token = loss_of(algorithms, batch, "token", **preset.of_loss())
        assert (gradient_of(by_token.loss, batch) - expected).abs().max() < TOLERANCE


@identity
def the_second_bound_is_verls_dual_clip(algorithms: ModuleType) -> None:
    """verl's ``vanilla`` (arXiv:1912.09729): min(-3 A, PPO's loss) where A < 0, with ratios on both sides of 3."""
    batch = Batch(RAGGED, spread=2.5)
    losses, beyond = [], 0
    for i, tokens in enumerate(tokens_of(batch)):
        advantage = batch.advantages[i]
        for t in tokens:
            ratio = ratio_of(batch, i, [t])
            loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2))
            beyond += int(advantage < 0 and ratio > 3)
            losses.append(torch.minimum(-advantage * 3.0, loss) if advantage < 0 else loss)
    assert beyond > 0
    options = {"clip_low": 0.2, "clip_high": 0.2, "weight": "batch"}
    result = loss_of(algorithms, batch, "token", dual_clip=3.0, **options)
    assert_same(result.loss, torch.stack(losses).mean(), batch.logprobs)
    without = loss_of(algorithms, batch, "token", **options)
    more = result.metrics["clip_fraction_high"] - without.metrics["clip_fraction_high"]
    assert abs(more - beyond / len(losses)) < TOLERANCE


# --- Limits and equalities --------------------------------------------------------------------------------------------


@identity
def the_second_bound_is_inert_at_positive_advantages(algorithms: ModuleType) -> None:
    batch = Batch(RAGGED, spread=2.5)
    batch.advantages = batch.advantages.abs()
    options = {"clip_low": 0.2, "clip_high": 0.2}
    for unit in ("token", "turn", "sequence"):
        one, other = (loss_of(algorithms, batch, unit, dual_clip=dual, **options).loss for dual in (None, 1.01))
        assert_same(other, one, batch.logprobs)


@identity
def a_soft_gate_without_temperature_is_no_clip(algorithms: ModuleType) -> None:
    """4 / tau sigmoid(tau (s - 1)) = 2 / tau + s - 1 + O(tau^2): the gradient is that of s A."""
    batch = Batch(RAGGED)
    cold = {"sapo_temperature_positive": 1e-6, "sapo_temperature_negative": 1e-6}
    for unit in ("token", "turn", "sequence", "think_action"):
        gated = loss_of(algorithms, batch, unit, clip="sapo", **ENDLESS, **cold)
        plain = loss_of(algorithms, batch, unit, clip="none", **ENDLESS)
        assert (gradient_of(gated.loss, batch) - gradient_of(plain.loss, batch)).abs().max() < TOLERANCE
        assert gated.metrics["gradient_mass_removed"] < TOLERANCE


@identity
def a_range_without_end_is_no_clip(algorithms: ModuleType) -> None:
    batch = Batch(RAGGED)
    total = float64(0.0)
    for i, turns in enumerate(batch.turns()):
        for turn in turns:
            total = total - ratio_of(batch, i, turn) * batch.advantages[i] / len(turns) / len(RAGGED)
    for clip in ("none", "fixed"):
        result = loss_of(algorithms, batch, "turn", clip=clip, **ENDLESS)
        assert_same(result.loss, total, batch.logprobs)
        assert result.metrics["gradient_mass_removed"] == 0
    # CISPO's weight without bounds has the gradient of s A as well: s grad(log s) = grad(s).
    loose = loss_of(algorithms, batch, "turn", clip="cispo", **ENDLESS)
    assert (gradient_of(loose.loss, batch) - gradient_of(total, batch)).abs().max() < TOLERANCE


@identity
def a_weight_without_range_is_reinforce(algorithms: ModuleType) -> None:
    """CISPO with 0 / 0 ignores the ratio: the gradient is that of A log pi, however far the policy has moved."""
    batch = Batch(RAGGED)
    options = {"clip": "cispo", "clip_low": 0.0, "clip_high": 0.0, "weight": "constant", "weight_length": 1.0}
    expected = torch.zeros_like(batch.logprobs)
    for i, tokens in enumerate(tokens_of(batch)):
        expected[i, tokens] = -batch.advantages[i] / len(RAGGED)
    for unit in ("token", "turn", "sequence", "think_action"):
        gradient = gradient_of(loss_of(algorithms, batch, unit, **options).loss, batch)
        assert (gradient - expected).abs().max() < TOLERANCE


@identity
def every_bound_has_the_policy_gradient_where_nothing_has_moved(algorithms: ModuleType) -> None:
    batch = Batch(RAGGED)
    batch.old_logprobs = batch.logprobs.detach().clone()
    for unit in ("token", "turn", "sequence", "think_action"):
        plain = gradient_of(loss_of(algorithms, batch, unit, clip="none", **ENDLESS).loss, batch)
        for bound in BOUNDS:
            result = loss_of(algorithms, batch, unit, **bound)
            assert (gradient_of(result.loss, batch) - plain).abs().max() < TOLERANCE
            assert result.metrics["gradient_mass_removed"] == result.metrics["token_move_max"] == 0


@identity
def with_one_turn_the_turn_is_the_sequence_under_every_bound(algorithms: ModuleType) -> None:
    batch = Batch([[3], [7], [1], [4]])
    for bound in BOUNDS:
        for weight in ("uniform", "length", "batch", "constant"):
            options = {**bound, "weight": weight, "weight_length": 5.0}
            turn, sequence = (loss_of(algorithms, batch, unit, **options).loss for unit in ("turn", "sequence"))
            assert_same(turn, sequence, batch.logprobs)


@identity
def think_and_action_are_units_of_their_own(algorithms: ModuleType) -> None:
    """By loops over both parts of each turn; a turn without an action has one unit, and one that is all action, too."""
    batch = Batch(RAGGED)
    total, num_units = float64(0.0), 0
    for i, turns in enumerate(batch.turns()):
        halves = [(turn[: (len(turn) + 1) // 2], turn[(len(turn) + 1) // 2 :]) for turn in turns]
        parts = [part for both in halves for part in both if part]
        num_units += len(parts)
        for part in parts:
            total = total - clipped(ratio_of(batch, i, part), batch.advantages[i], 0.1, 0.15) / len(parts)
    result = loss_of(algorithms, batch, "think_action", clip_low=0.1, clip_high=0.15)
    assert result.metrics["num_units"] == num_units
    assert_same(result.loss, total / len(RAGGED), batch.logprobs)
    whole = loss_of(algorithms, batch, "turn", clip_low=0.1, clip_high=0.15).loss
    for is_think in (batch.turn_ids < 0, batch.turn_ids > 0):
        ids = algorithms.unit_ids(batch.turn_ids, "think_action", is_think=is_think)
        same = algorithms.policy_loss(**batch.tensors, unit_ids=ids, clip_low=0.1, clip_high=0.15).loss
        assert_same(same, whole, batch.logprobs)


@identity
def a_constant_that_is_the_mean_length_is_the_batch(algorithms: ModuleType) -> None:
    """sum over tokens / (N C) is the mean over all tokens where C is the trajectories' mean number of tokens."""
    batch = Batch(RAGGED)
    mean = sum(sum(row) for row in RAGGED) / len(RAGGED)
    options = {"clip_low": 0.1, "clip_high": 0.15}
    constant = loss_of(algorithms, batch, "token", weight="constant", weight_length=mean, **options).loss
    assert_same(constant, loss_of(algorithms, batch, "token", weight="batch", **options).loss, batch.logprobs)
    kl = {"logprobs": batch.logprobs, "ref_logprobs": batch.ref_logprobs}
    kl["unit_ids"] = algorithms.unit_ids(batch.turn_ids, "token")
    by_constant = algorithms.kl_loss(**kl, weight="constant", weight_length=mean)
    assert_same(by_constant, algorithms.kl_loss(**kl, weight="batch"), batch.logprobs)


@identity
def other_bounds_in_micro_batches_add_up(algorithms: ModuleType) -> None:
    batch = Batch([*RAGGED, []])
    units = algorithms.unit_ids(batch.turn_ids, "turn")
    for bound in BOUNDS:
        options = {**bound, "weight": "constant", "weight_length": 9.0}
        whole = algorithms.policy_loss(**batch.tensors, unit_ids=units, **options)
        counts = {name: whole.metrics[name] for name in ("num_trajectories", "num_units")}
        cut = [
            {name: tensor[rows] for name, tensor in batch.tensors.items()} | {"unit_ids": units[rows]}
            for rows in (slice(0, 3), slice(3, 7))
        ]
        parts = [algorithms.policy_loss(**part, **options, **counts) for part in cut]
        assert_same(sum(part.loss for part in parts), whole.loss, batch.logprobs)
        assert (torch.cat([part.mass for part in parts]) - whole.mass).abs().max() < TOLERANCE


# --- Mass, move, and the matched range --------------------------------------------------------------------------------


@identity
def mass_removed_is_what_the_gradient_lost(algorithms: ModuleType) -> None:
    """Against autograd: each token's coefficient with the clip, and without it."""
    batch = Batch(RAGGED, spread=0.6)
    correction = batch.per_token.abs() + 0.5
    for unit in ("token", "turn", "sequence", "think_action"):
        for weight in ("uniform", "length", "batch", "constant"):
            options = {"weight": weight, "weight_length": 7.0, "unit_correction": correction}
            plain = loss_of(algorithms, batch, unit, clip="none", **ENDLESS, **options)
            whole = gradient_of(plain.loss, batch).abs()
            assert abs(plain.mass.sum() - whole.sum()) < TOLERANCE
            for bound in BOUNDS:
                result = loss_of(algorithms, batch, unit, **bound, **options)
                left = gradient_of(result.loss, batch).abs()
                removed = (whole - left).clamp(min=0.0).sum() / whole.sum()
                assert abs(result.metrics["gradient_mass_removed"] - removed) < TOLERANCE
                assert (removed > 0.01) == (bound["clip"] != "none")
                if bound == BOUNDS[0]:
                    low, high = (result.metrics[f"clip_fraction_{side}"] for side in ("low", "high"))
                    assert abs((result.excess > 1).double().mean() - low - high) < TOLERANCE


@identity
def the_largest_move_of_a_token_shows_under_any_unit(algorithms: ModuleType) -> None:
    """Moves of 12 and -12 nats cancel in a turn's ratio, which is 1."""
    logprobs = float64([[12.0, -12.0, 0.5, math.nan]]).requires_grad_()
    for unit in ("token", "turn", "sequence"):
        result = algorithms.policy_loss(
            logprobs=logprobs,
            old_logprobs=float64([[0.0, 0.0, 0.0, math.inf]]),
            advantages=float64([1.0]),
            unit_ids=algorithms.unit_ids(torch.tensor([[1, 1, 2, 0]]), unit),
            clip_low=0.2,
            clip_high=0.2,
        )
        assert result.metrics["token_move_max"] == 12.0


@identity
def a_matched_range_removes_the_share_that_was_asked_for(algorithms: ModuleType) -> None:
    """On tensors that stand still the factor settles, and the mass removed is the share to within one unit's."""
    for unit, share in (("token", 0.05), ("token", 0.2), ("turn", 0.1), ("turn", 0.3), ("think_action", 0.15)):
        batch = Batch(RAGGED * 4, seed=3)
        scale = 1.0
        for _ in range(80):
            result = loss_of(algorithms, batch, unit, clip_low=0.02 * scale, clip_high=0.03 * scale)
            scale = algorithms.matched_scale(scale, excess=result.excess, mass=result.mass, share=share)
        removed = result.metrics["gradient_mass_removed"]
        one_unit = (result.mass.max() / result.mass.sum()).item()
        assert share - one_unit - 1e-6 < removed <= share + 1e-6, (unit, share, removed)
        order = torch.randperm(len(result.mass))
        again = algorithms.matched_scale(scale, excess=result.excess[order], mass=result.mass[order], share=share)
        assert abs(again - scale) < 1e-9 * scale


def matched(scale: float, excess: list[float], mass: list[float], share: float) -> float:
    return workflow_r1.algorithms.matched_scale(scale, excess=float64(excess), mass=float64(mass), share=share)


def test_the_factor_of_a_matched_range_by_hand():
    """Masses 4, 3, 2, 1 from the largest excess on: a share of .5 takes the first (.4), and the next stands at 4."""
    assert matched(1.0, [1.0, 9.0, 4.0, 2.0], [1.0, 4.0, 3.0, 2.0], 0.5) == pytest.approx(math.sqrt(4.0))
    assert matched(3.0, [1.0, 9.0, 4.0, 2.0], [1.0, 4.0, 3.0, 2.0], 0.3) == pytest.approx(3.0 * math.sqrt(9.0))
    # Units without a gradient do not count, however far they are.
    assert matched(1.0, [99.0, 9.0, 4.0], [0.0, 4.0, 6.0], 0.5) == pytest.approx(2.0)


def test_the_factor_of_a_matched_range_is_bounded():
    assert matched(2.5, [0.0, 0.0], [1.0, 1.0], 0.1) == 2.5, "nothing has moved"
    assert matched(2.5, [-1.0, -0.1], [1.0, 1.0], 0.1) == 2.5, "nothing could be clipped"
    assert matched(2.5, [], [], 0.1) == 2.5
    assert matched(1.0, [5.0, -1.0], [1.0, 9.0], 0.5) == 0.25, "a share that no range reaches narrows it by four"
    assert matched(1.0, [1e9, 1e9], [1.0, 1.0], 0.1) == 4.0
    assert matched(1e-4, [5.0, -1.0], [1.0, 9.0], 0.5) == 1e-4
    assert matched(1e4, [9.0], [1.0], 0.5) == 1e4
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="share between 0 and 1"):
            matched(1.0, [1.0], [1.0], share)


def test_the_square_root_band_is_fspos():
    """FSPO (arXiv:2509.09177) bounds the *sum* of log ratios by c sqrt(L): so is a mean of c / sqrt(L), up to rounding."""
    band, length = 1e-3, 16
    for factor, is_clipped in ((0.999, 0.0), (1.001, 1.0)):
        logprobs = torch.full((1, length), factor * band / math.sqrt(length), dtype=torch.float64)
        assert logprobs.sum() == pytest.approx(factor * band * math.sqrt(length))
        result = workflow_r1.algorithms.policy_loss(
            logprobs=logprobs,
            old_logprobs=torch.zeros(1, length, dtype=torch.float64),
            advantages=float64([1.0]),
            unit_ids=torch.ones(1, length, dtype=torch.long),
            clip_low=band,
            clip_high=band,
            clip_reference_length=1.0,
        )
        assert result.metrics["clip_fraction_high"] == is_clipped


def test_the_think_action_unit_needs_the_thinks():
    with pytest.raises(ValueError, match="expected is_think"):
        workflow_r1.algorithms.unit_ids(torch.ones(1, 2, dtype=torch.long), "think_action")


@pytest.mark.parametrize("bound", BOUNDS[:4], ids=lambda bound: bound["clip"])
def test_gradcheck(bound):
    """All but CISPO's, whose weight is a constant that the value's own gradient would differentiate."""
    batch = Batch([[3, 2], [4], [1, 1]])
    mask = batch.turn_ids > 0
    old = batch.old_logprobs.where(mask, 0.0)
    logprobs = batch.logprobs.detach().where(mask, 0.0).requires_grad_()

    def loss(values):
        return workflow_r1.algorithms.policy_loss(
            logprobs=values, old_logprobs=old, advantages=batch.advantages, unit_ids=batch.turn_ids, **bound
        ).loss

    assert torch.autograd.gradcheck(loss, (logprobs,))
