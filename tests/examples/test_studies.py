"""The studies that ship as examples can be planned, and what they declare is consistent."""

from pathlib import Path

import pytest

from workflow_r1.config.training import TrainingConfig
from workflow_r1.running.study import StudyPlan, plan_study

STUDIES = sorted((Path(__file__).parents[2] / "examples" / "studies").glob("*.toml"))


def plan_of(name: str) -> StudyPlan:
    return plan_study(next(file for file in STUDIES if file.stem == name))


def training_of(plan: StudyPlan, world: str, arm: str) -> TrainingConfig:
    return plan.settings(world, arm, plan.study.all_seeds[0], value=None).training


def steps_a_batch(training: TrainingConfig) -> int:
    return training.epochs * -(-training.questions_per_step // training.mini_batch_questions)


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_it_can_be_planned(file: Path, tmp_path: Path) -> None:
    plan = plan_study(file, directory=tmp_path / "out")
    study = plan.study
    assert study.hypotheses and study.contrasts and study.again in study.arms
    # Every arm has as many trajectories, in every world.
    counts = set()
    for world in study.worlds:
        for arm in study.arms:
            training = training_of(plan, world, arm)
            counts.add((training.steps * training.questions_per_step, training.group_size))
            # The mean of a run's last evaluations leaves out the one before training.
            assert training.steps // training.evaluate_every >= study.last_evaluations
    assert len(counts) == 1


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_no_two_arms_are_the_same(file: Path) -> None:
    plan = plan_study(file)
    arms = [plan.settings(plan.first_world, arm, 0, value=None) for arm in plan.study.arms]
    assert len({arm.model_dump_json() for arm in arms}) == len(arms)


def test_the_study_of_the_unit_has_its_null_arms() -> None:
    plan = plan_of("unit")
    steps = {arm: steps_a_batch(training_of(plan, plan.first_world, arm)) for arm in plan.study.arms}
    null = [arm for arm, num in steps.items() if num == 1]
    assert null == ["token one step", "turn one step", "turn length one step", "sequence one step", "token on-policy"]
    assert all(plan.study.arms[arm].tuned_as is not None for arm in null)


def test_the_study_of_the_unit_crosses_units_and_clips() -> None:
    plan = plan_of("unit")
    arms = [plan.settings(plan.first_world, arm, 0, value=None) for arm in plan.study.arms]
    objectives = {
        (arm.objective.preset, arm.objective.in_effect("clip")) for arm in arms if steps_a_batch(arm.training) > 1
    }
    presets, clips = ("grpo", "gsspo", "gspo"), ("fixed", "matched", "none")
    assert objectives == {(preset, clip) for preset in presets for clip in clips}


def test_the_arms_of_a_unit_differ_in_their_range_alone() -> None:
    plan = plan_of("ranges")
    ranges: dict[tuple[str | None, float], set[str]] = {}
    for arm in plan.study.arms:
        config = plan.settings(plan.first_world, arm, 0, value=None)
        unit = (config.objective.preset, config.optimiser.learning_rate)
        ranges.setdefault(unit, set()).add(config.objective.in_effect("clip"))
    assert ranges == {("grpo", 2e-4): {"matched", "none", "fixed"}, ("gsspo", 1e-4): {"matched", "fixed"}}


def test_the_doses_differ_in_the_steps_on_one_batch_alone() -> None:
    plan = plan_of("doses")
    doses = {}
    for world in plan.study.worlds:
        (dose,) = {steps_a_batch(training_of(plan, world, arm)) for arm in plan.study.arms}
        doses[dose] = training_of(plan, world, "token band").steps * dose
    assert sorted(doses) == [1, 4, 16, 64]
    assert len(set(doses.values())) == 1


def test_trajectories_are_as_stale_as_the_study_says_and_learned_from_once() -> None:
    plan = plan_of("staleness")
    arms = [training_of(plan, world, arm) for world in plan.study.worlds for arm in plan.study.arms]
    assert {training.staleness for training in arms} == {0, 1, 4}
    # Overlapping trajectories are as fresh as they can be, and not as stale as a dose.
    assert not any(training.overlap for training in arms if training.staleness)
    assert {steps_a_batch(training) for training in arms} == {1}


def test_the_axes_of_the_world_are_padding_its_spread_and_hops() -> None:
    plan = plan_of("world-axes")
    worlds = {world: plan.settings(world, "token band", 0, value=None).embedded for world in plan.study.worlds}
    assert {world: (settings.padding, dict(settings.classes)) for world, settings in worlds.items()} == {
        "long thoughts": ((8, 8), {}),
        "uneven thoughts": ((0, 16), {}),
        "one hop": ((0, 0), {"one-hop": 1.0}),
        "three hops": ((0, 0), {"three-hop": 1.0}),
    }


def test_the_axes_of_the_world_differ_from_a_dose_by_the_world_alone() -> None:
    axes, doses = plan_of("world-axes"), plan_of("doses")
    assert list(axes.study.arms) == [arm for arm in doses.study.arms if arm.endswith("band")]
    for arm in axes.study.arms:
        at_rest = doses.settings("16 steps", arm, 0, value=1e-4)
        for world in axes.study.worlds:
            turned = axes.settings(world, arm, 0, value=None)
            for section in ("objective", "optimiser", "training", "environment", "sampling"):
                assert getattr(turned, section) == getattr(at_rest, section), (world, arm, section)
