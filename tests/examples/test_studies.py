"""The studies that ship as examples can be planned, and what they declare is consistent."""

from pathlib import Path

import pytest

from workflow_r1.running.study import plan_study

STUDIES = sorted((Path(__file__).parents[2] / "examples" / "studies").glob("*.toml"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_it_can_be_planned(file: Path, tmp_path: Path) -> None:
    plan = plan_study(file, directory=tmp_path / "out")
    study = plan.study
    assert study.contrasts and study.again in study.arms
    # Every arm has as many trajectories.
    counts = set()
    for arm in study.arms:
        training = plan.settings(plan.first_world, arm, 0, value=None).training
        groups = training.steps * training.questions_per_step
        counts.add((groups, training.group_size))
    assert len(counts) == 1


def test_the_study_of_the_unit_has_its_null_arms() -> None:
    plan = plan_study(next(file for file in STUDIES if file.stem == "unit"))
    steps = {}
    for arm in plan.study.arms:
        training = plan.settings(plan.first_world, arm, 0, value=None).training
        steps[arm] = training.questions_per_step // training.mini_batch_questions
    assert [arm for arm, num in steps.items() if num == 1] == ["token one step", "turn one step", "token on-policy"]
    assert all(plan.study.arms[arm].tuned_as is not None for arm, num in steps.items() if num == 1)
