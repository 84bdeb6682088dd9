from workflow_r1.rollout import derive_seed


def test_fixed_for_ever():
    assert derive_seed(0, "q1", 3) == 7193107057353907700


def test_parts_are_told_apart():
    seeds = [derive_seed(*parts) for parts in [(1, 2), (12,), ("1", 2), (1, "2"), (2, 1), (1, 2, ""), ()]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
