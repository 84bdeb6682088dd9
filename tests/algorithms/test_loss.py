import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workflow_r1.algorithms import policy_loss, turn_correction, turn_ids_from_mask, unit_ids

LOG_2 = math.log(2.0)
UNITS = ("token", "turn", "sequence")
WEIGHTS = ("uniform", "length", "batch")


def test_a_loss_worked_out_by_hand():
    """Two trajectories at old log-probabilities of 0, so that log-probabilities are log ratios.

    ===========  ============  ==============  ==============  ===============================
    trajectory   turn, tokens  log ratios      turn's ratio    term at clip 0.2 / 0.2
    ===========  ============  ==============  ==============  ===============================
    1, A = +1    1: 2          ln 4, 0         2               min(2, 1.2) = 1.2
    1, A = +1    2: 1          -ln 2           1/2             min(1/2, 0.8) = 1/2
    2, A = -2    1: 3          ln 8, 0, 0      2               min(-4, -2.4) = -4
    2, A = -2    2: 1          -ln 2           1/2             min(-1, -1.6) = -1.6
    ===========  ============  ==============  ==============  ===============================
    """
    logprobs = torch.tensor(
        [[2 * LOG_2, 0.0, 9.0, -LOG_2, 9.0, 9.0], [3 * LOG_2, 0.0, 0.0, 9.0, -LOG_2, 9.0]], dtype=torch.float64
    )
    turn_ids = torch.tensor([[1, 1, 0, 2, 0, 0], [1, 1, 1, 0, 2, 0]])
    expected = {
        ("turn", "uniform"): -((1.2 + 0.5) / 2 + (-4 - 1.6) / 2) / 2,
        ("turn", "length"): -((2 * 1.2 + 0.5) / 3 + (3 * -4 - 1.6) / 4) / 2,
        ("turn", "batch"): -(1.2 + 0.5 - 4 - 1.6) / 4,
        # Ratios 4, 1, 1/2 and 8, 1, 1, 1/2.
        ("token", "uniform"): -((1.2 + 1 + 0.5) / 3 + (-16 - 2 - 2 - 1.6) / 4) / 2,
        ("token", "batch"): -(1.2 + 1 + 0.5 - 16 - 2 - 2 - 1.6) / 7,
        # Ratios 2^(1/3) = 1.26, above the range, and 2^(2/4) = 1.41.
        ("sequence", "uniform"): -(1.2 - 2 * math.sqrt(2)) / 2,
    }
    for (unit, weight), value in expected.items():
        loss = policy_loss(
            logprobs=logprobs,
            old_logprobs=torch.zeros_like(logprobs),
            advantages=torch.tensor([1.0, -2.0], dtype=torch.float64),
            unit_ids=unit_ids(turn_ids, unit),
            clip_low=0.2,
            clip_high=0.2,
            weight=weight,
        ).loss
        assert loss.item() == pytest.approx(value, abs=1e-12), (unit, weight)


def test_gradient_worked_out_by_hand():
    """One turn of two tokens at ratio e^0.1, A = 2: d/dlogprob = -A s / L for both; clipped at 0.1, nothing."""
    logprobs = torch.tensor([[0.2, 0.0, 5.0]], dtype=torch.float64, requires_grad=True)
    arguments = {
        "logprobs": logprobs,
        "old_logprobs": torch.zeros(1, 3, dtype=torch.float64),
        "advantages": torch.tensor([2.0], dtype=torch.float64),
        "unit_ids": torch.tensor([[1, 1, 0]]),
    }
    (gradient,) = torch.autograd.grad(policy_loss(**arguments, clip_low=0.2, clip_high=0.2).loss, logprobs)
    assert gradient.tolist()[0] == pytest.approx([-math.exp(0.1), -math.exp(0.1), 0.0], abs=1e-14)
    (gradient,) = torch.autograd.grad(policy_loss(**arguments, clip_low=0.1, clip_high=0.1).loss, logprobs)
    assert gradient.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_gradcheck(unit: str, weight: str):
    generator = torch.Generator().manual_seed(3)
    logprobs = torch.randn(4, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(4, 9, generator=generator) < 0.7
    old = logprobs.detach() + 0.3 * torch.randn(4, 9, generator=generator, dtype=torch.float64)
    advantages = torch.randn(4, generator=generator, dtype=torch.float64)
    ids = unit_ids(turn_ids_from_mask(mask), unit)

    def loss(logprobs: Tensor) -> Tensor:
        return policy_loss(
            logprobs=logprobs,
            old_logprobs=old,
            advantages=advantages,
            unit_ids=ids,
            clip_low=0.15,
            clip_high=0.25,
            weight=weight,
            clip_reference_length=3.0,
        ).loss

    assert torch.autograd.gradcheck(loss, (logprobs,))


trajectories = st.lists(
    st.lists(st.integers(min_value=0, max_value=3), min_size=1, max_size=8), min_size=1, max_size=6
).map(lambda rows: torch.tensor([(row + [0] * 8)[:8] for row in rows]))


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(
    turn_ids=trajectories,
    unit=st.sampled_from(UNITS),
    weight=st.sampled_from(WEIGHTS),
    seed=st.integers(min_value=0, max_value=99),
    data=st.data(),
)
def test_any_split_into_micro_batches_is_the_whole_batch(
    turn_ids: Tensor, unit: str, weight: str, seed: int, data: st.DataObject
):
    num_rows = len(turn_ids)
    generator = torch.Generator().manual_seed(seed)
    logprobs, old, per_token = torch.randn(3, *turn_ids.shape, generator=generator, dtype=torch.float64) * 0.5
    logprobs.requires_grad_()
    ids = unit_ids(turn_ids, unit)
    part_of_row = torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=num_rows, max_size=num_rows)))
    options = {"clip_low": 0.1, "clip_high": 0.2, "weight": weight}

    def loss_of(rows: Tensor, **counts: float):
        return policy_loss(
            logprobs=logprobs[rows],
            old_logprobs=old[rows],
            advantages=per_token[rows],
            unit_ids=ids[rows],
            **options,
            **counts,
        )

    whole = loss_of(torch.arange(num_rows))
    (expected,) = torch.autograd.grad(whole.loss, logprobs)
    counts = {name: whole.metrics[name] for name in ("num_trajectories", "num_units")}
    if counts["num_units"] == 0:
        assert whole.loss.item() == 0
        return
    parts = [loss_of((part_of_row == part).nonzero()[:, 0], **counts) for part in range(3)]
    total = torch.stack([part.loss for part in parts]).sum()
    (gradient,) = torch.autograd.grad(total, logprobs)
    assert abs(total.item() - whole.loss.item()) < 1e-10
    assert (gradient - expected).abs().max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_precision_is_single_at_least(dtype: torch.dtype):
    logprobs = torch.tensor([[-1.0, -2.0, -0.5]], dtype=dtype, requires_grad=True)
    loss = policy_loss(
        logprobs=logprobs,
        old_logprobs=torch.tensor([[-1.25, -1.75, -0.75]], dtype=dtype),
        advantages=torch.tensor([1.0]),
        unit_ids=torch.tensor([[1, 1, 2]]),
        clip_low=0.2,
        clip_high=0.2,
    ).loss
    loss.backward()
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert loss.item() == pytest.approx(-(1 + 1.2) / 2, rel=1e-6)
    assert logprobs.grad.dtype == dtype


@pytest.mark.parametrize(("num_rows", "time"), [(1, 1), (1, 5), (5, 1), (3, 0), (0, 3)])
def test_small_batches(num_rows: int, time: int):
    logprobs = torch.zeros(num_rows, time, requires_grad=True)
    loss = policy_loss(
        logprobs=logprobs,
        old_logprobs=torch.zeros(num_rows, time),
        advantages=torch.ones(num_rows),
        unit_ids=torch.ones(num_rows, time, dtype=torch.long),
        clip_low=0.2,
        clip_high=0.2,
    ).loss
    loss.backward()
    assert loss.item() == (-1.0 if num_rows * time else 0.0)
    assert logprobs.grad.shape == (num_rows, time)


def test_shapes_that_do_not_fit_are_refused():
    """The tests' import hook checks shapes; two batches that broadcast would otherwise give a wrong loss quietly."""
    with pytest.raises(TypeError):
        policy_loss(
            logprobs=torch.zeros(2, 3),
            old_logprobs=torch.zeros(1, 3),
            advantages=torch.zeros(2),
            unit_ids=torch.ones(2, 3, dtype=torch.long),
            clip_low=0.2,
            clip_high=0.2,
        )


def test_counts_that_contradict_the_weight_are_refused():
    arguments = {
        "logprobs": torch.zeros(1, 2),
        "old_logprobs": torch.zeros(1, 2),
        "advantages": torch.zeros(1),
        "unit_ids": torch.ones(1, 2, dtype=torch.long),
        "clip_low": 0.2,
        "clip_high": 0.2,
        "weight": "batch",
    }
    with pytest.raises(ValueError, match="num_units together with num_trajectories"):
        policy_loss(**arguments, num_trajectories=4)
    with pytest.raises(ValueError, match="num_units to be positive, received 0"):
        policy_loss(**arguments, num_units=0)


def test_a_constant_normaliser_is_dr_grpo():
    """TRL's ``dr_grpo``: the sum over tokens / (trajectories * maximum length), so (3 * 1 - 2 * 1) / (2 * 100)."""
    loss = policy_loss(
        logprobs=torch.zeros(2, 3),
        old_logprobs=torch.zeros(2, 3),
        advantages=torch.tensor([1.0, -1.0]),
        unit_ids=unit_ids(torch.tensor([[1, 1, 1], [1, 0, 2]]), "token"),
        clip_low=0.2,
        clip_high=0.2,
        weight="batch",
        num_units=2 * 100,
    ).loss
    assert loss.item() == pytest.approx(-1 / 200)


def test_a_long_turn_is_not_punished_for_its_length():
    """A systematic difference of -0.02 per token: the mean keeps a weight of 0.98, where a sum would give e^-20."""
    weights = turn_correction(
        old_logprobs=torch.full((1, 1000), -1.02),
        sampler_logprobs=torch.full((1, 1000), -1.0),
        unit_ids=torch.ones(1, 1000, dtype=torch.long),
    )
    torch.testing.assert_close(weights, torch.full((1, 1000), math.exp(-0.02)))
