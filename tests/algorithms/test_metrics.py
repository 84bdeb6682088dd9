import math

import pytest
import torch

from workflow_r1.algorithms import policy_loss, resolve_preset, turn_metrics, unit_ids


def test_turn_metrics_by_hand():
    """Old log-probabilities of 0. First turns have ratios 2 (A = 1, clipped) and 1/2 (A = 1, not); turn 3 has 1."""
    log_2 = math.log(2.0)
    nan = math.nan
    logprobs = torch.tensor([[log_2, log_2, nan, 0.0], [-log_2, nan, nan, nan]], dtype=torch.float64)
    turn_ids = torch.tensor([[1, 1, 0, 3], [1, 0, 0, 0]])
    metrics = turn_metrics(
        logprobs=logprobs,
        old_logprobs=torch.zeros_like(logprobs),
        advantages=torch.ones(2, dtype=torch.float64),
        turn_ids=turn_ids,
        clip_low=0.2,
        clip_high=0.2,
        ref_logprobs=torch.zeros_like(logprobs),
        entropy=torch.tensor([[1.0, 3.0, nan, 5.0], [4.0, nan, nan, nan]], dtype=torch.float64),
    )
    assert metrics == pytest.approx(
        {
            "turn_1/ratio_mean": 1.25,
            "turn_1/ratio_min": 0.5,
            "turn_1/ratio_max": 2.0,
            "turn_1/clip_fraction": 0.5,
            "turn_1/approx_kl": ((1 - log_2) + (-0.5 + log_2)) / 2,
            "turn_1/kl": ((-0.5 + log_2) + (1 - log_2)) / 2,
            "turn_1/entropy": (2.0 + 4.0) / 2,
            "turn_1/num_tokens": 3,
            "turn_1/num_units": 2,
            "turn_3/ratio_mean": 1.0,
            "turn_3/ratio_min": 1.0,
            "turn_3/ratio_max": 1.0,
            "turn_3/clip_fraction": 0.0,
            "turn_3/approx_kl": 0.0,
            "turn_3/kl": 0.0,
            "turn_3/entropy": 5.0,
            "turn_3/num_tokens": 1,
            "turn_3/num_units": 1,
        },
        abs=1e-12,
    )


def test_late_turns_and_absent_inputs_are_left_out():
    tensors = {name: torch.zeros(1, 3) for name in ("logprobs", "old_logprobs")}
    arguments = {**tensors, "advantages": torch.ones(1), "clip_low": 0.2, "clip_high": 0.2}
    metrics = turn_metrics(**arguments, turn_ids=torch.tensor([[1, 2, 3]]), max_turns=2)
    assert {key.split("/")[0] for key in metrics} == {"turn_1", "turn_2"}
    assert not {key.split("/")[1] for key in metrics} & {"kl", "entropy"}
    assert turn_metrics(**arguments, turn_ids=torch.zeros(1, 3, dtype=torch.long)) == {}


def test_the_clip_range_follows_the_length_here_too():
    """Ratio 1.15 at a clip of 0.2: outside once a turn of 4 tokens gets half the range of a turn of 1."""
    metrics = turn_metrics(
        logprobs=torch.full((1, 5), math.log(1.15)),
        old_logprobs=torch.zeros(1, 5),
        advantages=torch.ones(1),
        turn_ids=torch.tensor([[1, 2, 2, 2, 2]]),
        clip_low=0.2,
        clip_high=0.2,
        clip_reference_length=1.0,
    )
    assert (metrics["turn_1/clip_fraction"], metrics["turn_2/clip_fraction"]) == (0.0, 1.0)


@pytest.mark.parametrize(("unit", "first", "second"), [("turn", 0.0, 1.0), ("token", 0.5, 1.0), ("sequence", 1.0, 1.0)])
def test_what_is_clipped_follows_the_unit_of_the_objective(unit, first, second):
    """Ratios of 2, 1/2 and 2 at A = 1: the first turn's mean ratio is 1, the sequence's above the range."""
    logprobs = torch.tensor([[math.log(2.0), -math.log(2.0), math.nan, math.log(2.0)]], dtype=torch.float64)
    turn_ids = torch.tensor([[1, 1, 0, 2]])
    metrics = turn_metrics(
        logprobs=logprobs,
        old_logprobs=torch.zeros_like(logprobs),
        advantages=torch.ones(1, dtype=torch.float64),
        turn_ids=turn_ids,
        unit_ids=unit_ids(turn_ids, unit),
        clip_low=0.2,
        clip_high=0.2,
    )
    assert (metrics["turn_1/clip_fraction"], metrics["turn_2/clip_fraction"]) == (first, second)
    assert metrics["turn_1/ratio_mean"] == pytest.approx(1.0)


def test_the_second_bound_of_a_negative_advantage_counts_too():
    """Ratios 4 and 2 at A = -1 and a dual clip of 3: the first turn's gradient is removed, as ``policy_loss`` says."""
    tensors = {
        "logprobs": torch.tensor([[math.log(4.0), math.nan, math.log(2.0)]], dtype=torch.float64),
        "old_logprobs": torch.zeros(1, 3, dtype=torch.float64),
        "advantages": -torch.ones(1, dtype=torch.float64),
    }
    turn_ids, preset = torch.tensor([[1, 0, 2]]), resolve_preset("gsspo", dual_clip=3.0)
    metrics = turn_metrics(**tensors, turn_ids=turn_ids, **preset.of_range())
    assert (metrics["turn_1/clip_fraction"], metrics["turn_2/clip_fraction"]) == (1.0, 0.0)
    whole = policy_loss(**tensors, unit_ids=turn_ids, **preset.of_loss()).metrics
    assert (whole["clip_fraction_low"], whole["clip_fraction_high"]) == (0.0, 0.5)
