"""The toy of the units (``benchmarks/unit_toy/``): its success is exact, and arms differ by nothing but their objective."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOY = Path(__file__).parents[2] / "benchmarks" / "unit_toy"
MODULES = ("arms", "report", "study", "training", "tuning", "world")


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TOY))
    for name in MODULES:
        sys.modules.pop(name, None)
    import training

    monkeypatch.setattr(training, "STEPS", 8)
    yield training
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_exact_success_is_the_share_of_sampled_trajectories_that_succeed(training: ModuleType) -> None:
    """2,048 trajectories of each of two policies: within four standard errors."""
    from world import GROUP_SIZE, Policies, sample, success

    policies = Policies([0, 1], [0.02, 0.02])
    batch = sample(policies, 256)
    expected = success(policies)
    assert all(0.05 < each < 0.2 for each in expected)
    target = policies.world.target.gather(
        1, batch.question[:, :, None, None].expand(-1, -1, *policies.world.target.shape[2:])
    )
    right = ((batch.tokens == target) | ~batch.present).all(3).all(2).float()
    assert right.shape == (2, 256 * GROUP_SIZE)
    # Questions are drawn evenly, so that the mean over trajectories is that over questions but for chance.
    for seen, exact in zip(right.mean(1).tolist(), expected, strict=True):
        assert abs(seen - exact) < 4 * (exact * (1 - exact) / right.shape[1]) ** 0.5


def test_runs_that_are_trained_together_are_those_that_are_trained_alone(training: ModuleType) -> None:
    setting = training.Setting(4, staleness=1)
    jobs = [training.Job("turn/length band", setting, *each, "fresh") for each in ((0.08, 0), (0.02, 3))]
    together = training.run_together(jobs)
    for job, row in zip(jobs, together, strict=True):
        (alone,) = training.run_together([job])
        assert row["curve"] == pytest.approx(alone["curve"], rel=1e-4)
        assert row["curve"][-1] > row["curve"][0]


def test_with_one_step_a_batch_units_of_one_weight_are_one_arm_and_with_more_they_are_not(
    training: ModuleType,
) -> None:
    names = ("token", "turn/length", "sequence", "token matched", "sequence unclipped")
    areas = {
        (name, dose): training.run_together([training.Job(name, training.Setting(dose), 0.16, 0, "fresh")])[0]["area"]
        for name in names
        for dose in (1, 8)
    }
    assert len({round(areas[name, 1], 5) for name in names}) == 1
    assert len({round(areas[name, 8], 5) for name in ("token", "sequence", "sequence unclipped")}) == 3


def test_a_clip_of_tokens_removes_more_of_the_decisions_than_of_the_whole(training: ModuleType) -> None:
    setting = training.Setting(8)
    row = training.run_together([training.Job("token tight", setting, 0.16, 0, "fresh")])[0]
    assert row["decisions_removed"] > 2 * row["removed"] > 0
    unclipped = training.run_together([training.Job("token unclipped", setting, 0.16, 0, "fresh")])[0]
    assert unclipped["decisions_removed"] == unclipped["removed"] == 0


def test_a_late_batch_comes_from_the_policy_before(training: ModuleType) -> None:
    """The first steps learn from the policy before training, so that the first of them has a ratio of 1 and the second none."""
    fresh, late = (
        training.run_together([training.Job("token unclipped", training.Setting(1, late), 0.16, 0, "fresh")])[0]
        for late in (0, 2)
    )
    assert fresh["kl"] == fresh["largest_move"] == 0
    assert late["kl"] > 0
    assert late["largest_move"] > 0
    assert late["curve"][0] == fresh["curve"][0]
    assert (late["dose"], late["staleness"], late["world"]) == (1, 2, "plain")


def test_worlds_differ_in_their_turns_and_begin_alike(training: ModuleType) -> None:
    from world import SHAPES, Policies, make_world, success

    starts = {name: success(Policies([0, 1, 2, 3], [0.02] * 4, shape)) for name, shape in SHAPES.items()}
    for name, shape in SHAPES.items():
        assert 0.07 < sum(starts[name]) / 4 < 0.13, name
        world = make_world(0, shape)
        assert world.length.shape[1] == shape.turns
        assert set(world.length.unique().tolist()) <= set(shape.lengths)
    mean = {name: sum(shape.lengths) / len(shape.lengths) for name, shape in SHAPES.items()}
    assert mean["dense"] * 3 == mean["sparse"] / 3 == mean["plain"] == mean["even"] == mean["uneven"] == 13.5


def test_a_run_of_an_earlier_version_is_one_of_the_plain_world(training: ModuleType) -> None:
    row = {"arm": "token", "dose": 16}
    assert training.setting_of(row) == training.Setting(16)
    assert [str(training.Setting(*each)) for each in ((16,), (1, 4), (16, 0, "sparse"))] == [
        "16",
        "1, 4 late",
        "16, sparse",
    ]


def test_a_rate_at_the_edge_makes_the_grid_grow(training: ModuleType) -> None:
    import tuning

    setting = training.Setting(64)
    rows = [
        {"arm": "token", "dose": 64, "rate": rate, "seed": seed, "stage": "tuning", "area": rate}
        for rate in tuning.RATES
        for seed in range(tuning.FIRST_TUNING_SEED, tuning.FIRST_TUNING_SEED + tuning.TUNING_SEEDS)
    ]
    assert {job.rate for job in tuning.untried(rows, ["token"], [setting])} == {0.16}
    assert tuning.tuned(rows) == {("token", setting): 0.08}
    inside = [{**row, "area": -abs(row["rate"] - 0.04)} for row in rows]
    assert tuning.untried(inside, ["token"], [setting]) == []


def test_units_are_compared_at_their_best_ranges_only_where_each_tried_as_many(training: ModuleType) -> None:
    import report
    import tuning

    setting = training.Setting(16, world="sparse")
    area = {"token": 0.5, "turn/length band": 0.6, "sequence band": 0.7, "sequence band tight": 0.8}

    def table(arms: list[str]) -> str:
        stages = [("tuning", range(1000, 1003), rate) for rate in tuning.RATES] + [("fresh", range(3), 0.04)]
        rows = [
            {"arm": arm, **setting._asdict(), "rate": rate, "seed": seed, "stage": stage, "commit": "0", "seconds": 1.0}
            | dict.fromkeys(report.MEANS, 0.0)
            | {"area": area[arm] - abs(rate - 0.04) + seed * 1e-3}
            for arm in arms
            for stage, seeds, rate in stages
            for seed in seeds
        ]
        return report.write_table(rows, [setting])

    alike, more = table(list(area)[:3]), table(list(area))
    assert "| 16, sparse | 1 | sequence band | token | 3 | +0.200" in alike
    assert "each at the best of its ranges" not in more
    for each in (alike, more):
        assert "| sequence band | 16, sparse | 0.04 |" in each
