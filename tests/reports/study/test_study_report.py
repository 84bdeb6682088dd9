"""The report of a study: figures of a run by hand, contrasts seed by seed, the noise floor, and the stop rule."""

import json
from pathlib import Path

import pytest

from workflow_r1.config import dump_toml, load_run_config
from workflow_r1.config.study import StudyConfig
from workflow_r1.errors import DataError
from workflow_r1.reports.study import RunOfStudy, build_study, read_run_figures, write_table
from workflow_r1.reports.study.build import seeds_until_stop
from workflow_r1.reports.study.record import RunFigures, TunedValue

ARMS = {"turn": {}, "token": {}}


def study(**changes) -> StudyConfig:
    values = {"name": "s", "arms": ARMS, "contrasts": (("turn", "token"),), "seeds": 4, "last_evaluations": 2}
    return StudyConfig.model_validate(values | changes)


def write_run(directory: Path, evaluations: dict[int, dict[str, float]], *, steps: int = 4) -> RunOfStudy:
    """A run directory of 10 trajectories a step, each of which takes half a minute."""
    directory.mkdir(parents=True)
    (directory / "config.toml").write_text(dump_toml(load_run_config()))
    (directory / "environment.json").write_text(json.dumps({"git_revision": "abc"}))
    rows = [
        {
            "step": step, "rollout/num_trajectories": 10, "time/step_seconds": 30.0, "update/ratio_min": 1 - step / 10,
            "update/ratio_max": 1 + step / 10, "update/grad_norm": float(step),
        }
        for step in range(1, steps + 1)
    ]  # fmt: skip
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [json.dumps({"step": step, **figures}) + "\n" for step, figures in evaluations.items()]
    (directory / "evaluations.jsonl").write_text("".join(lines))
    return RunOfStudy("world", "turn", 0, directory)


def sampled(rate: float, greedy: float) -> dict[str, float]:
    return {
        "evaluation/exact_match": greedy, "evaluation/sampled/exact_match": rate, "evaluation/sampled/num_failed": 0,
        "evaluation/sampled/pass_all": rate / 2, "evaluation/sampled/flip_rate": 0.1,
    }  # fmt: skip


def test_a_run_at_its_best_of_a_negative_figure_has_not_collapsed(tmp_path):
    run = write_run(tmp_path / "run", {0: sampled(-0.6, 0.0), 2: sampled(-0.2, 0.0), 4: sampled(-0.2, 0.0)})
    assert not read_run_figures(run, study()).collapsed


def test_the_figures_of_a_run_by_hand(tmp_path):
    run = write_run(tmp_path / "run", {0: sampled(0.2, 0.0), 2: sampled(0.8, 1.0), 4: sampled(0.3, 0.6)})
    figures = read_run_figures(run, study(threshold=0.7, collapse=0.75))
    assert figures.measure == "sampled exact match"
    assert (figures.result, figures.greedy) == (pytest.approx(0.55), pytest.approx(0.8))
    assert figures.curve == ((0, 0.2), (20, 0.8), (40, 0.3))
    # Two trapezoids of equal width: (.2 + .8) / 2 and (.8 + .3) / 2.
    assert figures.area == pytest.approx((0.5 + 0.55) / 2)
    assert (figures.minutes_to_threshold, figures.trajectories_to_threshold) == (1.0, 20)
    # .55 is below three quarters of .8.
    assert figures.collapsed
    assert (figures.pass_all, figures.flip_rate) == (pytest.approx(0.275), pytest.approx(0.1))
    assert figures.update == {"ratio_min": pytest.approx(0.6), "ratio_max": pytest.approx(1.4), "grad_norm": 2.5}
    assert figures.revision == "abc"


def test_another_task_is_judged_by_its_success_greedy_where_nothing_was_sampled(tmp_path):
    run = write_run(tmp_path / "run", {0: {"evaluation/success": 0.2}, 4: {"evaluation/success": 0.4}})
    figures = read_run_figures(run, study())
    assert (figures.measure, figures.greedy) == ("greedy success", None)
    assert figures.result == pytest.approx(0.3) and not figures.collapsed
    assert figures.trajectories_to_threshold is None and figures.pass_all is None


def test_an_evaluation_that_the_infrastructure_failed_is_left_out(tmp_path):
    failed = {"evaluation/success": None, "evaluation/num_failed": 4}
    run = write_run(tmp_path / "run", {0: {"evaluation/success": 0.2}, 2: failed, 4: {"evaluation/success": 0.4}})
    figures = read_run_figures(run, study())
    assert figures.curve == ((0, 0.2), (40, 0.4)) and figures.result == pytest.approx(0.3)
    with pytest.raises(DataError, match="the infrastructure failed all"):
        read_run_figures(write_run(tmp_path / "other", {0: failed, 4: failed}), study())


def test_a_run_without_evaluations_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected evaluations, found none"):
        read_run_figures(write_run(tmp_path / "run", {}), study())


def made(arm: str, seed: int, result: float) -> RunFigures:
    return RunFigures(
        world="world", arm=arm, seed=seed, measure="sampled exact match", result=result, greedy=result, area=result,
        collapsed=result < 0.2, minutes_to_threshold=None, trajectories_to_threshold=None, pass_all=None, flip_rate=None,
        minutes=1.0, curve=((0, 0.1), (10, result)), update={"ratio_min": 0.9, "ratio_max": 1.1}, revision="abc",
    )  # fmt: skip


# Seeds differ far more than arms: unpaired, nothing could be seen.
TOKEN = (0.1, 0.4, 0.6, 0.8)
TURN = (0.2, 0.51, 0.69, 0.9)
RUNS = [made(arm, seed, values[seed]) for arm, values in (("turn", TURN), ("token", TOKEN)) for seed in range(4)]


def build(declared: StudyConfig, runs=RUNS, **changes):
    return build_study(declared, runs, num_planned=8, **changes)


def test_arms_are_compared_seed_by_seed():
    (contrast,) = build(study()).contrasts
    assert contrast.result.estimate == pytest.approx(0.1)
    # Differences .1, .11, .09, .1: standard error .00816 / 2, t = 3.182.
    assert contrast.result.high - contrast.result.estimate == pytest.approx(3.182 * 0.00816 / 2, abs=1e-4)
    assert contrast.verdict == "more"


def test_the_family_of_the_correction_is_what_the_study_declares():
    (alone,) = build(study()).contrasts
    both = build(study(contrasts=(("turn", "token"), ("token", "turn")))).contrasts
    assert [each.p_holm for each in both] == [pytest.approx(2 * alone.p_value)] * 2
    assert [each.verdict for each in both] == ["more", "less"]


def test_a_contrast_without_runs_yet_counts_in_the_family():
    (alone,) = build(study()).contrasts
    contrasts = (("turn", "token"), ("turn", "late"), ("late", "token"))
    (half,) = build(study(arms=ARMS | {"late": {}}, contrasts=contrasts)).contrasts
    assert half.p_holm == pytest.approx(3 * alone.p_value)


def test_a_difference_inside_the_noise_floor_is_none():
    """The contrast is clear, but the arm differs as much from itself under other seeds."""
    again = [made("turn again", seed, TURN[seed] + (0.12 if seed % 2 else -0.12)) for seed in range(4)]
    report = build(study(again="turn"), [*RUNS, *again])
    (noise,) = report.noise
    assert noise.floor is not None and noise.floor.high > 0.1
    (contrast,) = report.contrasts
    assert contrast.p_holm < 0.05 and contrast.verdict == "none"


def test_the_stop_rule_ends_at_the_first_seed_at_which_every_contrast_is_known():
    rule = {"half_width": 0.1, "min_seeds": 2}
    declared = study(stop=rule)
    # After two seeds: differences .1 and .11, half-width 12.7 * .00707 / sqrt(2) = .064.
    assert seeds_until_stop(declared, RUNS) == 2
    assert seeds_until_stop(study(stop=rule | {"min_seeds": 3}), RUNS) == 3
    assert seeds_until_stop(study(stop=rule | {"half_width": 1e-4}), RUNS) == 4
    report = build(declared)
    assert report.stopped_after == 2
    # Runs that were under way then change nothing.
    assert [cell.num_seeds for cell in report.cells] == [2, 2]
    assert "ended the study after 2 of 4 seeds" in write_table(report)


def test_a_contrast_that_has_all_its_seeds_does_not_hold_up_the_end():
    """The wide one has only two seeds, and no more would come."""
    arms = ARMS | {"few": {"seeds": 2}}
    declared = study(
        arms=arms, contrasts=(("turn", "token"), ("few", "token")), stop={"half_width": 0.1, "min_seeds": 2}
    )
    few = [made("few", 0, 0.9), made("few", 1, 0.1)]
    assert seeds_until_stop(declared, RUNS) == 4
    assert seeds_until_stop(declared, [*RUNS, *few]) == 2


def test_the_stop_rule_waits_for_all_arms_of_a_seed():
    late = [run for run in RUNS if (run.arm, run.seed) != ("token", 0)]
    assert seeds_until_stop(study(stop={"half_width": 9.0, "min_seeds": 2}), late) == 4


def test_the_table_says_the_smallest_difference_before_anything_else():
    tuned = [TunedValue(arm=arm, value=value, area=0.5, num_seeds=1) for arm in ARMS for value in (1e-4, 2e-4, 4e-4)]
    declared = study(
        again=None, threshold=0.5, question="Which?", hypotheses=("Neither.",),
        tune={"values": (1e-4, 2e-4, 4e-4), "seeds": (9,)},
    )  # fmt: skip
    table = write_table(build(declared, tuning=tuned, tuned={"turn": 4e-4, "token": 2e-4}))
    assert table.index("smallest difference") < table.index("| first |")
    assert "Expected beforehand:\n\n* Neither." in table
    assert "8 of 8 runs; version" in table and "commit abc" in table
    assert "| turn | token | 4 | +0.100 ± 0.013 |" in table
    assert "| turn | 0.0004 (edge) | 4 | 0.575 ± " in table and "| token | 0.0002 | 4 |" in table
    assert "| 1 of 4 |" in table  # One seed of the tokens collapsed.


def test_the_smallest_difference_is_said_for_each_number_of_seeds():
    arms = ARMS | {"few": {"seeds": 2}}
    runs = [*RUNS, made("few", 0, 0.15), made("few", 1, 0.45)]
    report = build(study(arms=arms, contrasts=(("turn", "token"), ("few", "token"))), runs)
    (noise,) = report.noise
    assert list(noise.smallest) == [4, 2] and noise.smallest[2] > noise.smallest[4] > 0
    assert f"is {noise.smallest[4]:.3f} with 4 seeds, {noise.smallest[2]:.3f} with 2 seeds." in write_table(report)


def test_one_seed_is_shown_without_an_interval():
    runs = [run for run in RUNS if run.seed == 0]
    table = write_table(build(study(), runs))
    assert (
        "fewer than two seeds" in table
        and "| turn | 1 | 0.200 |" in table
        and "inf" not in table
        and "nan" not in table
    )


def test_no_two_arms_look_alike_and_those_without_runs_take_no_colour():
    from workflow_r1.reports.drawing import COLOURS
    from workflow_r1.reports.study.pictures import styles_of

    arms = [f"arm {number:02}" for number in range(16)]
    report = build(study(arms={arm: {} for arm in arms}, contrasts=()), [made(arm, 0, 0.5) for arm in arms[2:]])
    styles = styles_of(report)
    assert list(styles) == arms[2:]
    assert len(set(styles.values())) == 14 > len(COLOURS)
    assert styles["arm 02"] == ("solid", COLOURS[0]) and styles["arm 12"] == ("dashed", COLOURS[0])


def test_curves_of_seeds_that_count_other_trajectories_are_read_at_the_same_places():
    from workflow_r1.reports.drawing import read_together

    places, values = read_together([[(0, 0.0), (10, 1.0), (20, 1.0)], [(0, 0.2), (16, 1.0), (30, 0.0)]])
    assert places == [0, 10, 16, 20]
    assert values == [pytest.approx(each) for each in ([0.0, 0.2], [1.0, 0.7], [1.0, 1.0], [1.0, 5 / 7])]
    same = [[(0, 0.1), (7, 0.3)], [(0, 0.7), (7, 0.2)]]
    assert read_together(same) == ([0, 7], [[0.1, 0.7], [0.3, 0.2]])
    assert read_together([[(0, 0.1)], []]) == ([], []) == read_together([[(0, 0.1)], [(3, 0.1)]])
    assert read_together([]) == ([], [])


def test_a_curve_does_not_jump_from_seed_to_seed(tmp_path, monkeypatch):
    """Dynamic sampling asks further questions until groups differ: the seeds count other trajectories."""
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    from workflow_r1.reports.study.pictures import draw_curves

    lines, bands = [], []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **style: lines.append((x, y)))
    monkeypatch.setattr(Axes, "fill_between", lambda self, x, low, high, **style: bands.append(x))
    runs = [
        made("turn", seed, 0.5).model_copy(update={"curve": ((0, level), (80 + 16 * seed, level))})
        for seed, level in enumerate((0.2, 0.4, 0.9))
    ]
    monkeypatch.setattr(Axes, "legend", lambda self, lines, names, **style: None)
    draw_curves(build(study(contrasts=()), runs), tmp_path)
    assert lines == [([0, 80], pytest.approx([0.5, 0.5]))] and bands == [[0, 80]]


def test_a_world_without_runs_yet_has_an_empty_panel(tmp_path, monkeypatch):
    """The report may be made while the study is at work; the legend names the arms that other worlds have."""
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    from workflow_r1.reports.study.pictures import draw_curves

    named = []
    monkeypatch.setattr(Axes, "legend", lambda self, lines, names, **style: named.append(names))
    report = build(study(worlds={"world": {}, "other": {}}))
    png, _ = draw_curves(report, tmp_path)
    assert named == [["turn", "token"]] and png.stat().st_size > 1000


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    from workflow_r1.reports.study.pictures import draw_curves, draw_forest

    report = build(study())
    names = [path.name for path in (*draw_curves(report, tmp_path), *draw_forest(report, tmp_path))]
    assert names == ["curves.png", "curves.svg", "forest.png", "forest.svg"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)
    assert draw_forest(build(study(contrasts=())), tmp_path / "none") == []
