"""Identities of the loss, in value and in gradient, at float64.

An identity takes the package to check as its argument, so that ``test_mutations.py`` can hand it mutants. The published
formulas are written out here as loops over trajectories, turns and tokens, and share no code with the package.
"""

import math
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from loss_identities import RAGGED, TOLERANCE, Batch, assert_same, clipped, float64
from torch import Tensor

import workflow_r1.algorithms

IDENTITIES: list[Callable[[ModuleType], None]] = []


def identity(check: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    IDENTITIES.append(check)
    return check


@pytest.mark.parametrize("check", IDENTITIES, ids=lambda check: check.__name__)
def test_identity(check: Callable[[ModuleType], None]) -> None:
    check(workflow_r1.algorithms)


# --- The published formulas -------------------------------------------------------------------------------------------


def textbook_grpo(batch: Batch, low: float, high: float) -> Tensor:
    """DeepSeekMath (arXiv:2402.03300), equation 3, without its KL term."""
    total = float64(0.0)
    rows = batch.turns()
    for i, turns in enumerate(rows):
        tokens = [t for turn in turns for t in turn]
        of_row = float64(0.0)
        for t in tokens:
            ratio = torch.exp(batch.logprobs[i, t]) / torch.exp(batch.old_logprobs[i, t])
            of_row = of_row + clipped(ratio, batch.advantages[i], low, high)
        total = total + of_row / len(tokens)
    return -total / len(rows)


def textbook_gspo(batch: Batch, low: float, high: float) -> Tensor:
    """GSPO (arXiv:2507.18071), equations 5 and 7."""
    total = float64(0.0)
    rows = batch.turns()
    for i, turns in enumerate(rows):
        tokens = [t for turn in turns for t in turn]
        likelihood = torch.stack([batch.logprobs[i, t] for t in tokens]).sum().exp()
        old_likelihood = torch.stack([batch.old_logprobs[i, t] for t in tokens]).sum().exp()
        ratio = (likelihood / old_likelihood) ** (1 / len(tokens))
        total = total + clipped(ratio, batch.advantages[i], low, high)
    return -total / len(rows)


def textbook_gsspo(batch: Batch, low: float, high: float) -> Tensor:
    """Workflow-R1 (arXiv:2602.01202): a mean over trajectories of the mean over their turns."""
    total = float64(0.0)
    rows = batch.turns()
    for i, turns in enumerate(rows):
        of_row = float64(0.0)
        for turn in turns:
            likelihood = torch.stack([batch.logprobs[i, t] for t in turn]).sum().exp()
            old_likelihood = torch.stack([batch.old_logprobs[i, t] for t in turn]).sum().exp()
            ratio = (likelihood / old_likelihood) ** (1 / len(turn))
            of_row = of_row + clipped(ratio, batch.advantages[i], low, high)
        total = total + of_row / len(turns)
    return -total / len(rows)


def token_loss_with_shared_ratio(batch: Batch, spans: list[list[list[int]]], low: float, high: float) -> list[list]:
    """GSPO-token's form, as verl and AT2PO write it: each token carries its span's ratio, and its own gradient."""
    losses = []
    for i, row in enumerate(spans):
        of_row = []
        for span in row:
            difference = torch.stack([batch.logprobs[i, t] - batch.old_logprobs[i, t] for t in span])
            shared = difference.mean().detach()
            for t in span:
                ratio = torch.exp(shared + batch.logprobs[i, t] - batch.logprobs[i, t].detach())
                advantage = batch.advantages[i]
                of_row.append(torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - low, 1 + high)))
        losses.append(of_row)
    return losses


def sequence_mean_of_token_means(losses: list[list]) -> Tensor:
    """verl's ``seq-mean-token-mean``, TRL's ``grpo``."""
    return torch.stack([torch.stack(row).mean() for row in losses]).mean()


def token_mean(losses: list[list]) -> Tensor:
    """verl's ``token-mean``, TRL's ``bnpo``, DAPO (arXiv:2503.14476)."""
    return torch.stack([loss for row in losses for loss in row]).mean()


# --- Identities with the published formulas ---------------------------------------------------------------------------


@identity
def token_units_are_textbook_grpo(algorithms: ModuleType) -> None:
    for seed in range(4):
        batch = Batch(RAGGED, seed)
        units = algorithms.unit_ids(batch.turn_ids, "token")
        result = algorithms.policy_loss(**batch.tensors, unit_ids=units, clip_low=0.2, clip_high=0.28)
        assert_same(result.loss, textbook_grpo(batch, 0.2, 0.28), batch.logprobs)


@identity
def sequence_units_are_textbook_gspo(algorithms: ModuleType) -> None:
    for seed in range(4):
        batch = Batch(RAGGED, seed)
        units = algorithms.unit_ids(batch.turn_ids, "sequence")
        result = algorithms.policy_loss(**batch.tensors, unit_ids=units, clip_low=0.05, clip_high=0.1)
        assert_same(result.loss, textbook_gspo(batch, 0.05, 0.1), batch.logprobs)


@identity
def turn_units_are_the_definition_of_gsspo(algorithms: ModuleType) -> None:
    for seed in range(4):
        batch = Batch(RAGGED, seed)
        units = algorithms.unit_ids(batch.turn_ids, "turn")
        result = algorithms.policy_loss(**batch.tensors, unit_ids=units, clip_low=0.1, clip_high=0.15)
        assert_same(result.loss, textbook_gsspo(batch, 0.1, 0.15), batch.logprobs)


@identity
def length_weights_are_at2po(algorithms: ModuleType) -> None:
    """AT2PO's release: the turn's ratio on each token, then a mean over tokens and a mean over trajectories."""
    for seed in range(4):
        batch = Batch(RAGGED, seed)
        units = algorithms.unit_ids(batch.turn_ids, "turn")
        result = algorithms.policy_loss(**batch.tensors, unit_ids=units, clip_low=0.1, clip_high=0.15, weight="length")
        losses = token_loss_with_shared_ratio(batch, batch.turns(), 0.1, 0.15)
        assert_same(result.loss, sequence_mean_of_token_means(losses), batch.logprobs)


@identity
def batch_weights_are_one_row_per_turn(algorithms: ModuleType) -> None:
    """AgileRL's mean over all turns, and every trainer that unrolls a trajectory into a row per turn, as GSPO rows."""
    for seed in range(4):
        batch = Batch(RAGGED, seed)
        units = algorithms.unit_ids(batch.turn_ids, "turn")
        result = algorithms.policy_loss(**batch.tensors, unit_ids=units, clip_low=0.1, clip_high=0.15, weight="batch")
        terms = []
        for i, turns in enumerate(batch.turns()):
            for turn in turns:
                difference = sum(batch.logprobs[i, t] - batch.old_logprobs[i, t] for t in turn) / len(turn)
                terms.append(clipped(difference.exp(), batch.advantages[i], 0.1, 0.15))
        assert_same(result.loss, -torch.stack(terms).mean(), batch.logprobs)


@identity
def verl_vanilla_and_trl_token(algorithms: ModuleType) -> None:
    """Both means over tokens; the inputs stay below verl's second bound, 3, for negative advantages."""
    batch = Batch(RAGGED, spread=0.3)
    units = algorithms.unit_ids(batch.turn_ids, "token")
    losses = []
    for i, turns in enumerate(batch.turns()):
        of_row = []
        for t in (t for turn in turns for t in turn):
            ratio = torch.exp((batch.logprobs[i, t] - batch.old_logprobs[i, t]).clamp(-20.0, 20.0))
            advantage = batch.advantages[i]
            first = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2))
            second = torch.minimum(-advantage * 3.0, first)
            of_row.append(second if advantage < 0 else first)
        losses.append(of_row)
    for weight, expected in (("uniform", sequence_mean_of_token_means(losses)), ("batch", token_mean(losses))):
        result = algorithms.policy_loss(**batch.tensors, unit_ids=units, clip_low=0.2, clip_high=0.2, weight=weight)
        assert_same(result.loss, expected, batch.logprobs)


@identity
def verl_gspo_and_trl_sequence(algorithms: ModuleType) -> None:
    """verl shares the ratio and keeps each token's gradient; TRL differentiates the mean. Both are one function."""
    batch = Batch(RAGGED)
    units = algorithms.unit_ids(batch.turn_ids, "sequence")
    spans = [[[t for turn in turns for t in turn]] for turns in batch.turns()]
    result = algorithms.policy_loss(**batch.tensors, unit_ids=units, clip_low=0.05, clip_high=0.1)
    verl = sequence_mean_of_token_means(token_loss_with_shared_ratio(batch, spans, 0.05, 0.1))
    assert_same(result.loss, verl, batch.logprobs)

    losses = []
    for i, (span,) in enumerate(spans):
        weights = torch.stack([batch.logprobs[i, t] - batch.old_logprobs[i, t] for t in span])
        ratio = (weights.sum() / len(span)).exp()
        of_row = -torch.minimum(ratio * batch.advantages[i], ratio.clamp(0.95, 1.1) * batch.advantages[i])
        losses.append([of_row] * len(span))
    assert_same(result.loss, sequence_mean_of_token_means(losses), batch.logprobs)
    # TRL's ``bnpo`` (a mean over tokens) of sequence ratios weighs trajectories by their length. No weight of ours
    # does: ``length`` weighs within a trajectory only.
    assert abs(result.loss.item() - token_mean(losses).item()) > 1e-4


# --- Identities among the units ---------------------------------------------------------------------------------------


@identity
def one_turn_makes_gsspo_gspo(algorithms: ModuleType) -> None:
    batch = Batch([[4], [1], [6], [3]])
    turn, sequence = (
        algorithms.policy_loss(
            **batch.tensors, unit_ids=algorithms.unit_ids(batch.turn_ids, unit), clip_low=0.1, clip_high=0.1
        ).loss
        for unit in ("turn", "sequence")
    )
    assert_same(turn, sequence, batch.logprobs)
    assert_same(turn, textbook_gspo(batch, 0.1, 0.1), batch.logprobs)


@identity
def one_token_turns_make_gsspo_grpo(algorithms: ModuleType) -> None:
    batch = Batch([[1, 1, 1], [1], [1, 1, 1, 1, 1]])
    turn, token = (
        algorithms.policy_loss(
            **batch.tensors, unit_ids=algorithms.unit_ids(batch.turn_ids, unit), clip_low=0.1, clip_high=0.1
        ).loss
        for unit in ("turn", "token")
    )
    assert_same(turn, token, batch.logprobs)
    assert_same(turn, textbook_grpo(batch, 0.1, 0.1), batch.logprobs)


@identity
def masked_equals_deleted(algorithms: ModuleType) -> None:
    """A trajectory, a turn or a token that is masked leaves the same loss, and no gradient, as one that is not there."""
    for unit in ("token", "turn", "sequence"):
        for weight in ("uniform", "length", "batch"):
            whole = Batch(RAGGED)
            whole.turn_ids[3] = 0  # a trajectory
            whole.turn_ids[4][whole.turn_ids[4] == 2] = 0  # a turn
            whole.turn_ids[0, 2] = 0  # a token
            options = {"clip_low": 0.1, "clip_high": 0.1, "weight": weight}
            masked = algorithms.policy_loss(
                **whole.tensors, unit_ids=algorithms.unit_ids(whole.turn_ids, unit), **options
            ).loss
            (gradient,) = torch.autograd.grad(masked, whole.logprobs)
            assert (gradient[whole.turn_ids == 0] == 0).all()

            rows = [i for i, turns in enumerate(whole.turns()) if turns]
            kept = [(i, [t for turn in whole.turns()[i] for t in turn]) for i in rows]
            time = max(len(tokens) for _, tokens in kept)
            index = torch.tensor([tokens + [0] * (time - len(tokens)) for _, tokens in kept])
            of_rows = torch.tensor(rows)[:, None]
            present = torch.tensor([[True] * len(tokens) + [False] * (time - len(tokens)) for _, tokens in kept])
            logprobs = whole.logprobs.detach()[of_rows, index].where(present, 0.0).requires_grad_()
            deleted = algorithms.policy_loss(
                logprobs=logprobs,
                old_logprobs=whole.old_logprobs[of_rows, index].where(present, 0.0),
                advantages=whole.advantages[rows],
                unit_ids=algorithms.unit_ids(whole.turn_ids[of_rows, index] * present, unit),
                **options,
            ).loss
            assert abs(masked.item() - deleted.item()) < TOLERANCE
            (expected,) = torch.autograd.grad(deleted, logprobs)
            assert expected.abs().max() > 1e-6
            assert (gradient[of_rows, index].where(present, 0.0) - expected).abs().max() < TOLERANCE


@identity
def micro_batches_add_up(algorithms: ModuleType) -> None:
    for unit in ("token", "turn", "sequence"):
        for weight in ("uniform", "length", "batch"):
            batch = Batch([*RAGGED, []])
            units = algorithms.unit_ids(batch.turn_ids, unit)
            options = {"clip_low": 0.1, "clip_high": 0.1, "weight": weight}
            whole = algorithms.policy_loss(**batch.tensors, unit_ids=units, **options)
            counts = {name: whole.metrics[name] for name in ("num_trajectories", "num_units")}
            parts = [
                algorithms.policy_loss(
                    **{name: tensor[rows] for name, tensor in batch.tensors.items()},
                    unit_ids=units[rows],
                    **options,
                    **counts,
                )
                for rows in (slice(0, 1), slice(1, 4), slice(4, 6), slice(6, 7))
            ]
            assert_same(sum(part.loss for part in parts), whole.loss, batch.logprobs)


@identity
def gradient_at_ratio_one_is_the_policy_gradient(algorithms: ModuleType) -> None:
    """d loss / d logprob = - w_ik A_i / (N L_ik): the clip has no say where the policy has not moved."""
    for clip in (0.0, 3e-4, 0.2):
        batch = Batch(RAGGED)
        batch.old_logprobs = batch.logprobs.detach().clone()
        for unit in ("token", "turn", "sequence"):
            ids = algorithms.unit_ids(batch.turn_ids, unit)
            expected = torch.zeros_like(batch.logprobs)
            for i, row in enumerate(ids.tolist()):
                present = set(row) - {0}
                for k in present:
                    length = row.count(k)
                    for t in (t for t, value in enumerate(row) if value == k):
                        expected[i, t] = -batch.advantages[i] / (len(RAGGED) * len(present) * length)
            result = algorithms.policy_loss(**batch.tensors, unit_ids=ids, clip_low=clip, clip_high=clip)
            (gradient,) = torch.autograd.grad(result.loss, batch.logprobs)
            assert (gradient - expected).abs().max() < TOLERANCE
            assert result.metrics["clip_fraction_low"] == result.metrics["clip_fraction_high"] == 0


@identity
def only_presence_of_ids_counts(algorithms: ModuleType) -> None:
    """Turn ids with gaps (a turn without tokens), of any size, or split by a masked token: the same units."""
    batch = Batch([[2, 3, 1], [4, 4], [1]])
    renamed = batch.turn_ids.clone()
    renamed[batch.turn_ids == 2] = 70
    renamed[batch.turn_ids == 3] = 2**40
    loss, other = (
        algorithms.policy_loss(**batch.tensors, unit_ids=ids, clip_low=0.1, clip_high=0.1).loss
        for ids in (batch.turn_ids, renamed)
    )
    assert_same(other, loss, batch.logprobs)


# --- The further switches ---------------------------------------------------------------------------------------------


@identity
def advantages_per_token_are_averaged_over_the_unit(algorithms: ModuleType) -> None:
    batch = Batch(RAGGED)
    tensors = {**batch.tensors, "advantages": batch.per_token}
    result = algorithms.policy_loss(**tensors, unit_ids=batch.turn_ids, clip_low=0.1, clip_high=0.1)
    total = float64(0.0)
    for i, turns in enumerate(batch.turns()):
        for turn in turns:
            advantage = sum(batch.per_token[i, t] for t in turn) / len(turn)
            ratio = (sum(batch.logprobs[i, t] - batch.old_logprobs[i, t] for t in turn) / len(turn)).exp()
            total = total - clipped(ratio, advantage, 0.1, 0.1) / len(turns)
    assert_same(result.loss, total / len(RAGGED), batch.logprobs)


@identity
def clip_range_follows_the_length(algorithms: ModuleType) -> None:
    batch = Batch(RAGGED)
    result = algorithms.policy_loss(
        **batch.tensors, unit_ids=batch.turn_ids, clip_low=0.1, clip_high=0.15, clip_reference_length=4.0
    )
    total = float64(0.0)
    for i, turns in enumerate(batch.turns()):
        for turn in turns:
            scale = math.sqrt(4.0 / len(turn))
            ratio = (sum(batch.logprobs[i, t] - batch.old_logprobs[i, t] for t in turn) / len(turn)).exp()
            total = total - clipped(ratio, batch.advantages[i], 0.1 * scale, 0.15 * scale) / len(turns)
    assert_same(result.loss, total / len(RAGGED), batch.logprobs)


@identity
def correction_multiplies_each_turn(algorithms: ModuleType) -> None:
    """min(C, exp(mean difference)): by hand for one turn above the cap, and in the loss for all."""
    batch = Batch(RAGGED)
    sampler = batch.ref_logprobs
    weights = algorithms.turn_correction(
        old_logprobs=batch.old_logprobs, sampler_logprobs=sampler, unit_ids=batch.turn_ids, cap=1.2
    )
    result = algorithms.policy_loss(
        **batch.tensors, unit_ids=batch.turn_ids, clip_low=0.1, clip_high=0.1, unit_correction=weights
    )
    total = float64(0.0)
    seen = []
    for i, turns in enumerate(batch.turns()):
        for turn in turns:
            factor = min(1.2, math.exp(sum((batch.old_logprobs - sampler)[i, t].item() for t in turn) / len(turn)))
            seen.append(factor)
            assert all(abs(weights[i, t].item() - factor) < TOLERANCE for t in turn)
            ratio = (sum(batch.logprobs[i, t] - batch.old_logprobs[i, t] for t in turn) / len(turn)).exp()
            total = total - factor * clipped(ratio, batch.advantages[i], 0.1, 0.1) / len(turns)
    assert max(seen) == 1.2
    assert min(seen) < 1
    assert (weights[batch.turn_ids == 0] == 0).all()
    assert_same(result.loss, total / len(RAGGED), batch.logprobs)


@identity
def metrics_are_means_over_units(algorithms: ModuleType) -> None:
    """The clip of 0.2 counts the ratios of 1.5 at a positive advantage and that of 0.5 at a negative one."""
    ratios = float64([[1.5, 1.5, 0.5, 1.0], [1.5, 0.5, 0.0, 0.0]])
    logprobs = torch.log(ratios.where(ratios > 0, 1.0))
    result = algorithms.policy_loss(
        logprobs=logprobs.requires_grad_(),
        old_logprobs=torch.zeros_like(logprobs),
        advantages=float64([1.0, -1.0]),
        unit_ids=torch.tensor([[1, 2, 3, 4], [1, 2, 0, 0]]),
        clip_low=0.2,
        clip_high=0.2,
    )
    expected = {
        "ratio_mean": (3 * 1.5 + 2 * 0.5 + 1.0) / 6,
        "ratio_min": 0.5,
        "ratio_max": 1.5,
        "clip_fraction_low": 1 / 6,
        "clip_fraction_high": 2 / 6,
        "approx_kl": (3 * (0.5 - math.log(1.5)) + 2 * (-0.5 - math.log(0.5))) / 6,
        # Weights of 1/8 and 1/4: masses of 4.5/8 and 2/4, of which the clip removes 3/8 and 0.5/4.
        "gradient_mass_removed": (3 / 8 + 0.5 / 4) / (4.5 / 8 + 2 / 4),
        "token_move_max": math.log(2.0),
        "num_units": 6.0,
        "num_trajectories": 2.0,
        "num_tokens": 6.0,
    }
    assert result.metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(result.metrics[name] - value) < TOLERANCE, name


@identity
def extreme_ratios_stay_finite(algorithms: ModuleType) -> None:
    """exp(1000) is infinite: the bound keeps loss and gradient finite, and the clip still decides."""
    logprobs = float64([[0.0], [0.0], [-1000.0], [-1000.0]]).requires_grad_()
    result = algorithms.policy_loss(
        logprobs=logprobs,
        old_logprobs=float64([[-1000.0], [-1000.0], [0.0], [0.0]]),
        advantages=float64([1.0, -1.0, 1.0, -1.0]),
        unit_ids=torch.ones(4, 1, dtype=torch.long),
        clip_low=0.2,
        clip_high=0.2,
    )
    # Terms: clipped at 1.2; bounded at -e^20; e^-20; clipped at -0.8.
    expected = -(1.2 - math.exp(20.0) + math.exp(-20.0) - 0.8) / 4
    assert abs(result.loss.item() / expected - 1) < 1e-12
    (gradient,) = torch.autograd.grad(result.loss, logprobs)
    assert gradient.isfinite().all()


@identity
def nothing_to_learn_is_zero_with_a_graph(algorithms: ModuleType) -> None:
    for rows in ([[]], [[], [], []]):
        batch = Batch(rows)
        for weight in ("uniform", "length", "batch"):
            result = algorithms.policy_loss(
                **batch.tensors, unit_ids=batch.turn_ids, clip_low=0.1, clip_high=0.1, weight=weight
            )
            (gradient,) = torch.autograd.grad(result.loss, batch.logprobs)
            assert result.loss.item() == 0
            assert (gradient == 0).all()
            assert all(math.isfinite(value) for value in result.metrics.values())
            assert result.metrics["num_units"] == 0


@identity
def only_the_policy_gets_a_gradient(algorithms: ModuleType) -> None:
    batch = Batch(RAGGED)
    batch.old_logprobs.requires_grad_()
    batch.advantages.requires_grad_()
    correction = torch.ones(len(RAGGED), dtype=torch.float64, requires_grad=True)
    result = algorithms.policy_loss(
        **batch.tensors, unit_ids=batch.turn_ids, clip_low=0.1, clip_high=0.1, unit_correction=correction
    )
    gradients = torch.autograd.grad(
        result.loss, [batch.old_logprobs, batch.advantages, correction, batch.logprobs], allow_unused=True
    )
    assert [gradient is None for gradient in gradients] == [True, True, True, False]


# --- KL ---------------------------------------------------------------------------------------------------------------


@identity
def kl_of_token_units_is_deepseekmath(algorithms: ModuleType) -> None:
    """Equations 3 and 4: pi_ref / pi - log(pi_ref / pi) - 1, a mean over tokens, then over trajectories."""
    batch = Batch(RAGGED)
    total = float64(0.0)
    for i, turns in enumerate(batch.turns()):
        tokens = [t for turn in turns for t in turn]
        for t in tokens:
            ratio = batch.ref_logprobs[i, t].exp() / batch.logprobs[i, t].exp()
            total = total + (ratio - ratio.log() - 1) / len(tokens)
    loss = algorithms.kl_loss(
        logprobs=batch.logprobs,
        ref_logprobs=batch.ref_logprobs,
        unit_ids=algorithms.unit_ids(batch.turn_ids, "token"),
    )
    assert_same(loss, total / len(RAGGED), batch.logprobs)


@identity
def kl_follows_the_weights_of_the_objective(algorithms: ModuleType) -> None:
    batch = Batch(RAGGED)
    num_turns = sum(len(row) for row in RAGGED)
    estimates = {
        "k1": lambda d: d,
        "k2": lambda d: d * d / 2,
        "k3": lambda d: (-d).exp() - 1 + d,
    }
    for kind, estimate in estimates.items():
        for weight in ("uniform", "length", "batch"):
            total = float64(0.0)
            for i, turns in enumerate(batch.turns()):
                num_tokens = sum(len(turn) for turn in turns)
                for turn in turns:
                    mean = sum(estimate(batch.logprobs[i, t] - batch.ref_logprobs[i, t]) for t in turn) / len(turn)
                    factor = {
                        "uniform": 1 / (len(RAGGED) * len(turns)),
                        "length": len(turn) / (len(RAGGED) * num_tokens),
                        "batch": 1 / num_turns,
                    }[weight]
                    total = total + factor * mean
            loss = algorithms.kl_loss(
                logprobs=batch.logprobs,
                ref_logprobs=batch.ref_logprobs,
                unit_ids=batch.turn_ids,
                kind=kind,
                weight=weight,
            )
            assert_same(loss, total, batch.logprobs)


@identity
def kl_estimates_agree_with_the_exact_kl(algorithms: ModuleType) -> None:
    """Over a whole vocabulary the expectations are sums: k1 and k3 are unbiased, and gradients are as documented."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    ref = torch.randn(1, 7, generator=generator, dtype=torch.float64).log_softmax(dim=1)
    logprobs = logits.log_softmax(dim=1)
    probs = logprobs.exp().detach()
    reverse = (logprobs.exp() * (logprobs - ref)).sum()
    forward = (ref.exp() * (ref - logprobs)).sum()
    for kind, gradient_of in (("k1", None), ("k2", reverse), ("k3", forward)):
        expectation = (probs * algorithms.kl_estimate(logprobs, ref, kind)).sum()
        if kind != "k2":
            assert abs(expectation.item() - reverse.item()) < TOLERANCE
        (got,) = torch.autograd.grad(expectation, logits, retain_graph=True)
        want = 0 if gradient_of is None else torch.autograd.grad(gradient_of, logits, retain_graph=True)[0]
        assert (got - want).abs().max() < TOLERANCE


# --- Advantages -------------------------------------------------------------------------------------------------------


@identity
def advantages_are_the_definitions(algorithms: ModuleType) -> None:
    """Groups interleaved; one trajectory without a reward, one group of one, one of equal rewards."""
    rewards = [1.0, 0.25, 0.0, 7.0, -0.5, 0.1, math.nan, 0.1, 0.1, 3.0]
    groups = [5, 5, 2, 2, 5, -3, 5, -3, -3, 9]
    valid = [not math.isnan(reward) for reward in rewards]
    expected: dict[str, list[float]] = {"group_normalised": [], "group_centred": [], "leave_one_out": []}
    for i, (reward, group) in enumerate(zip(rewards, groups, strict=True)):
        mine = [r for r, g, v in zip(rewards, groups, valid, strict=True) if g == group and v]
        others = [r for j, (r, g) in enumerate(zip(rewards, groups, strict=True)) if g == group and valid[j] and j != i]
        if not valid[i] or not others:
            row = (0.0, 0.0, 0.0)
        else:
            mean = sum(mine) / len(mine)
            std = math.sqrt(sum((r - mean) ** 2 for r in mine) / (len(mine) - 1))
            row = ((reward - mean) / (std + 1e-6), reward - mean, reward - sum(others) / len(others))
        for values, value in zip(expected.values(), row, strict=True):
            values.append(value)
    tensors = (float64(rewards), torch.tensor(groups))
    for kind, values in expected.items():
        got = algorithms.advantages(*tensors, kind=kind, valid=torch.tensor(valid))
        assert (got - float64(values)).abs().max() < TOLERANCE, kind
