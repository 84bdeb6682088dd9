"""Drawing against derived values: which token a number means, and which numbers a session gets."""

import numpy as np
import pytest
import torch

from workflow_r1.policy.drawing import draw, uniform_numbers


def test_draw_inverts_the_cumulative_distribution():
    # Probabilities 0.1, 0.2, 0, 0.7: cumulative 0.1, 0.3, 0.3, 1.
    logits = torch.tensor([0.1, 0.2, 0.0, 0.7]).log().expand(6, -1)
    uniforms = torch.tensor([0.0, 0.09, 0.11, 0.29, 0.31, 1 - 2**-24])
    drawn, logprobs = draw(logits, uniforms, temperature=1.0)
    assert drawn.tolist() == [0, 0, 1, 1, 3, 3]
    torch.testing.assert_close(logprobs.exp(), torch.tensor([0.1, 0.1, 0.2, 0.2, 0.7, 0.7]))


def test_draw_never_takes_an_impossible_last_token():
    logits = torch.tensor([[0.0, 0.0, float("-inf")]])
    drawn, _ = draw(logits, torch.tensor([1 - 2**-24]), temperature=1.0)
    assert drawn.item() == 1


def test_draw_with_temperature_and_top_p():
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    drawn, logprob = draw(logits, torch.tensor([0.5]), temperature=0.5)  # 4/38, 25/38, 9/38
    assert drawn.item() == 1
    assert logprob.exp().item() == pytest.approx(25 / 38)
    # The most likely two of 0.2, 0.5, 0.3 are drawn, as 0, 0.625, 0.375; the log-probability is of all three.
    drawn, logprob = draw(logits.expand(3, -1), torch.tensor([0.0, 0.62, 0.63]), temperature=1.0, top_p=0.7)
    assert drawn.tolist() == [1, 1, 2]
    torch.testing.assert_close(logprob.exp(), torch.tensor([0.5, 0.5, 0.3]))


def test_numbers_are_those_of_seed_and_position_alone():
    seeds, positions = np.array([0, 1, 2**64 - 1, 7], dtype=np.uint64), np.array([0, 3, 5, 2**40])
    together = uniform_numbers(seeds, positions)
    alone = [uniform_numbers(seeds[row : row + 1], positions[row : row + 1])[0] for row in range(4)]
    assert together.tolist() == alone
    assert (together >= 0).all() and (together < 1).all()
    # SplitMix64 twice of seed 0 at position 0, by hand in whole numbers; the upper 24 bits are kept.
    mask, mixed = 2**64 - 1, 0
    for _ in range(2):
        mixed = (mixed + 0x9E3779B97F4A7C15) & mask
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
    assert together[0] == (mixed >> 40) / 2**24
