import math

import torch

from workflow_r1.algorithms import advantages, group_advantages, leave_one_out_advantages


def test_two_groups_by_hand():
    """Rewards 1, 0, 0, 1: mean 1/2, squares 4 * 1/4, std sqrt(1/3). Rewards 3, 1: mean 2, std sqrt(2)."""
    rewards = torch.tensor([1.0, 3.0, 0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    group_ids = torch.tensor([7, 0, 7, 7, 7, 0])
    a = 0.5 / (math.sqrt(1 / 3) + 1e-6)
    b = 1 / (math.sqrt(2) + 1e-6)
    expected = torch.tensor([a, b, -a, -a, a, -b], dtype=torch.float64)
    torch.testing.assert_close(group_advantages(rewards, group_ids), expected)
    expected = torch.tensor([0.5, 1, -0.5, -0.5, 0.5, -1], dtype=torch.float64)
    torch.testing.assert_close(group_advantages(rewards, group_ids, normalize_std=False), expected)
    expected = torch.tensor([2 / 3, 2, -2 / 3, -2 / 3, 2 / 3, -2], dtype=torch.float64)
    torch.testing.assert_close(leave_one_out_advantages(rewards, group_ids), expected)


def test_equal_rewards_teach_nothing():
    """0.1 + 0.1 + 0.1 is not 0.3 in binary: a rounded mean over a std of nearly 0 must not become an advantage."""
    for reward in (0.1, 1 / 3, -0.5, 1e6 + 0.1):
        rewards = torch.full((7,), reward, dtype=torch.float32)
        for kind in ("group_normalised", "group_centred", "leave_one_out"):
            assert advantages(rewards, torch.zeros(7, dtype=torch.long), kind=kind).tolist() == [0.0] * 7


def test_a_failure_of_the_infrastructure_is_left_out():
    """With the third trajectory invalid the group is 1, 0: the same as if it had two members."""
    group_ids = torch.zeros(3, dtype=torch.long)
    valid = torch.tensor([True, True, False])
    for garbage in (100.0, math.nan, math.inf):
        for kind in ("group_normalised", "group_centred", "leave_one_out"):
            got = advantages(torch.tensor([1.0, 0.0, garbage]), group_ids, kind=kind, valid=valid)
            alone = advantages(torch.tensor([1.0, 0.0]), group_ids[:2], kind=kind)
            assert got.tolist() == [*alone.tolist(), 0.0]
    nobody = torch.zeros(3, dtype=torch.bool)
    assert group_advantages(torch.ones(3), group_ids, valid=nobody).tolist() == [0.0, 0.0, 0.0]


def test_whole_numbers_and_nothing():
    assert group_advantages(torch.tensor([1, 0]), torch.tensor([1, 1]), normalize_std=False).tolist() == [0.5, -0.5]
    assert group_advantages(torch.zeros(0), torch.zeros(0, dtype=torch.long)).shape == (0,)
