import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workflow_r1.config import RunConfig, dump_toml
from workflow_r1.errors import DataError
from workflow_r1.evaluation.statistics import crossed_difference_interval, crossed_interval
from workflow_r1.reports import read_run
from workflow_r1.reports.comparison import compare_runs, draw_curves, make_document
from workflow_r1.reports.comparison.arms import group_runs
from workflow_r1.reports.evaluation.blocks import Grid
from workflow_r1.reports.evaluation.markdown import write_markdown
from workflow_r1.trajectory import AnswerReward, Question, ScoredTrajectory, StopReason, Turn
from workflow_r1.trajectory.index import append_indexed

STEPS = 4
GROUP = 2


def trajectory(step: int, question: str, number: int, *, right: bool, num_turns: int = 1) -> ScoredTrajectory:
    reward = AnswerReward(
        total=float(right), answer=float(right), format=0.0, exact_match=float(right), f1=float(right)
    )
    turns = tuple(
        Turn(index=index, text="<think>a</think>", token_ids=(1,), logprobs=(-1.0,), well_formed=True)
        for index in range(1, num_turns + 1)
    )
    return ScoredTrajectory(
        id=f"{step}-{question}-{number}", group_id=question, question=Question(id=question, text=f"Who is {question}?", golden_answers=("x",)),
        turns=turns, answer="x", stop_reason=StopReason.ANSWERED, reward=reward, step=step,
    )  # fmt: skip


def make_run(
    directory: Path, *, seed: int = 0, rate: float = 0.5, right: float = 0.0, held_out: float = 0.5, **changes: Any
) -> Path:
    """A run of four steps; in the last one it is asked eight questions, and right on a share of ``right``."""
    directory.mkdir(parents=True)
    config = RunConfig.model_validate({"name": directory.name, "seed": seed, **changes})
    (directory / "config.toml").write_text(dump_toml(config))
    rows = [
        {"step": step, "rollout/reward": rate, "rollout/exact_match": rate, "rollout/turns": 2.0, "rollout/num_trajectories": 16}
        for step in range(1, STEPS + 1)
    ]  # fmt: skip
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluation = {"step": STEPS, "evaluation/exact_match": held_out, "evaluation/exact_match_low": held_out - 0.1,
                  "evaluation/exact_match_high": held_out + 0.1, "evaluation/num_scored": 100, "evaluation/num_questions": 100}  # fmt: skip
    (directory / "evaluations.jsonl").write_text(json.dumps(evaluation) + "\n")
    append_indexed(
        directory / "trajectories.jsonl.gz",
        [
            trajectory(STEPS, f"q{seed}-{number}", member, right=number < 8 * right, num_turns=1 + number % 2)
            for number in range(8)
            for member in range(GROUP)
        ],
    )
    return directory


def compare(*directories: Path, confidence: float = 0.95):
    return compare_runs([read_run(directory) for directory in directories], confidence=confidence)


def differences(comparison):
    return {(each.arm, each.figure): each for each in comparison.differences}


FASTER = {"optimiser": {"learning_rate": 3e-4}}


def test_runs_that_differ_in_their_seed_alone_are_one_arm(tmp_path: Path) -> None:
    runs = [
        read_run(make_run(tmp_path / name, seed=seed, **settings))
        for name, seed, settings in (("a", 0, {}), ("b", 0, FASTER), ("c", 1, {}), ("d", 1, FASTER))
    ]
    arms = group_runs(runs)
    assert [[run.directory.name for run in arm.runs] for arm in arms] == [["a", "c"], ["b", "d"]]
    assert [arm.name for arm in arms] == ["optimiser.learning_rate=1e-06", "optimiser.learning_rate=0.0003"]


def test_equal_runs_are_told_apart_by_their_directories(tmp_path: Path) -> None:
    runs = [read_run(make_run(tmp_path / place / "run")) for place in ("old", "new")]
    assert [arm.name for arm in group_runs(runs)] == ["old/run", "new/run"]


def test_one_seed_is_paired_on_questions(tmp_path: Path) -> None:
    """Six of eight questions right, beside two of eight: four of them differ."""
    comparison = compare(make_run(tmp_path / "a", right=0.25), make_run(tmp_path / "b", right=0.75, **FASTER))
    found = differences(comparison)["optimiser.learning_rate=0.0003", "exact match, sampled"]
    expected = crossed_difference_interval(
        first=(np.arange(8) < 6).astype(float), second=(np.arange(8) < 2).astype(float)
    )
    assert (found.mean, found.reference) == (0.75, 0.25)
    assert (found.interval.estimate, found.interval.low, found.interval.high) == pytest.approx(
        (0.5, expected.low, expected.high)
    )
    assert found.interval.num_questions == 8 and found.p_value is not None
    assert comparison.sampled_steps == (4, 4)
    same = differences(comparison)["optimiser.learning_rate=0.0003", "turns, sampled"]
    assert same.interval.estimate == 0 and not same.is_found


def test_held_out_figures_of_single_runs_are_not_paired(tmp_path: Path) -> None:
    """0.9 and 0.5 of 100 questions each, Wilson's intervals [.826, .945] and [.404, .596]: .4 - .121, .4 + .106."""
    comparison = compare(make_run(tmp_path / "a", held_out=0.5), make_run(tmp_path / "b", held_out=0.9, **FASTER))
    found = differences(comparison)["optimiser.learning_rate=0.0003", "held-out exact match, greedy"]
    assert found.p_value is None and found.is_found
    assert (found.interval.estimate, found.interval.low, found.interval.high) == pytest.approx(
        (0.4, 0.279, 0.506), abs=2e-3
    )


def test_several_seeds_are_paired_by_seed(tmp_path: Path) -> None:
    held_out = [(0.5, 0.6), (0.4, 0.6), (0.6, 0.65)]
    sampled = [(0.25, 0.5), (0.5, 0.5), (0.25, 0.75)]
    directories = [
        make_run(tmp_path / f"{name}{seed}", seed=seed, held_out=held_out[seed][arm], right=sampled[seed][arm], **settings)
        for arm, (name, settings) in enumerate((("a", {}), ("b", FASTER)))
        for seed in range(3)
    ]  # fmt: skip
    found = differences(compare(*directories))
    for figure, pairs in (("held-out exact match, greedy", held_out), ("exact match, sampled", sampled)):
        difference = found["optimiser.learning_rate=0.0003", figure]
        expected = crossed_interval(scores=[other - one for one, other in pairs])
        assert (difference.interval.low, difference.interval.high) == pytest.approx((expected.low, expected.high))
        assert difference.interval.num_seeds == 3
        assert difference.mean == pytest.approx(np.mean([other for _, other in pairs]))


def test_one_common_seed_among_several_is_compared_alone(tmp_path: Path) -> None:
    directories = [
        make_run(tmp_path / "a0", right=0.25),
        make_run(tmp_path / "a1", seed=1, right=1.0),
        make_run(tmp_path / "b0", right=0.75, **FASTER),
    ]
    found = differences(compare(*directories))["optimiser.learning_rate=0.0003", "exact match, sampled"]
    assert (found.mean, found.reference, found.interval.estimate) == (0.75, 0.25, 0.5)


def test_runs_without_a_common_seed_are_compared_apart(tmp_path: Path) -> None:
    comparison = compare(make_run(tmp_path / "a", right=0.25), make_run(tmp_path / "b", seed=1, right=0.75, **FASTER))
    found = differences(comparison)["optimiser.learning_rate=0.0003", "exact match, sampled"]
    assert found.p_value is None and found.interval.method == "not paired"
    assert comparison.questions == ()


def test_question_by_question_the_most_different_first(tmp_path: Path) -> None:
    comparison = compare(make_run(tmp_path / "a", right=0.25), make_run(tmp_path / "b", right=0.75, **FASTER))
    assert [each.shares for each in comparison.questions] == [("0/2", "2/2")] * 4 + [("2/2", "2/2")] * 2 + [
        ("0/2", "0/2")
    ] * 2


def test_a_run_without_trajectories_or_evaluations_still_has_curves(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a"), make_run(tmp_path / "b", **FASTER)
    for name in ("trajectories.jsonl.gz", "trajectories.index.jsonl.gz", "evaluations.jsonl"):
        (second / name).unlink()
    comparison = compare(first, second)
    assert (comparison.differences, comparison.held_out_step) == ((), None)
    assert "no figure in common" in write_markdown(make_document(comparison), pictures=[])
    assert all(path.stat().st_size > 1000 for path in draw_curves(comparison, tmp_path))


def test_runs_of_two_tasks_are_refused(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a"), make_run(tmp_path / "b", **FASTER)
    path = second / "metrics.jsonl"
    path.write_text(path.read_text().replace("rollout/exact_match", "rollout/success"))
    with pytest.raises(DataError, match="exact match and success"):
        compare(first, second)


def test_seeds_of_one_configuration_have_a_band_and_no_difference(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"s{seed}", seed=seed, rate=0.3 + seed / 10) for seed in range(3)]
    comparison = compare(*runs)
    page = write_markdown(make_document(comparison), pictures=[])
    assert "there is no difference to test" in page and comparison.differences == ()
    svg = next(path for path in draw_curves(comparison, tmp_path) if path.suffix == ".svg").read_text()
    assert "bands reach from the lowest to the highest seed" in svg and "(3 seeds)" in svg


def test_all_right_beside_all_wrong_is_no_certainty(tmp_path: Path) -> None:
    """Eight questions of one seed: as one answer to each, McNemar's test and the adjusted Wald interval."""
    comparison = compare(make_run(tmp_path / "a", right=0.0), make_run(tmp_path / "b", right=1.0, **FASTER))
    found = next(each for each in comparison.differences if each.figure == "exact match, sampled")
    tested = sum(each.p_value is not None for each in comparison.differences)
    assert found.p_value is not None and found.p_value >= 2 * 0.5**8 and tested > 1
    # (9 - 1) / 10 -+ 1.96 sqrt((1 - .8 ** 2) / 10)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.428, 1.0), abs=1e-3)
    assert found.interval.estimate == 1.0 and found.is_found


def test_all_right_beside_all_wrong_is_no_certainty_over_seeds_either(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / f"{name}{seed}", seed=seed, right=right, **changes)
        for name, right, changes in (("a", 0.0, {}), ("b", 1.0, FASTER))
        for seed in range(2)
    ]
    found = next(each for each in compare(*runs).differences if each.figure == "exact match, sampled")
    # Eight questions of each seed: (17 - 1) / 18 -+ 1.96 sqrt((1 - .889 ** 2) / 18)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.677, 1.0), abs=1e-3)
    assert (found.interval.num_questions, found.interval.num_seeds) == (16, 2)
    assert found.p_value is not None and found.p_value >= 2 * 0.5**16


def test_questions_that_several_seeds_ask_count_once() -> None:
    from workflow_r1.reports.comparison.figures import _difference

    right, wrong = ({seed: dict.fromkeys("abcdefgh", value) for seed in range(3)} for value in (1.0, 0.0))
    found = _difference("exact match", "b", right, wrong, 0.95, is_share=True)
    # As of eight questions of one seed.
    assert found is not None and found.interval.low == pytest.approx(0.428, abs=1e-3)
    assert found.p_value == pytest.approx(2 * 0.5**8)
    # Questions that differ both ways are not alike, though no seed's mean differs.
    mixed = {seed: {"a": 1.0, "b": 0.0} for seed in range(2)}
    other = {seed: {"a": 0.0, "b": 1.0} for seed in range(2)}
    found = _difference("exact match", "b", mixed, other, 0.95, is_share=True)
    assert found is not None and found.interval.method == "t over seeds, paired by seed and question"


def test_all_right_beside_all_wrong_on_other_questions_has_a_width(tmp_path: Path) -> None:
    runs = make_run(tmp_path / "a", right=0.0), make_run(tmp_path / "b", right=1.0, seed=1, **FASTER)
    found = next(each for each in compare(*runs).differences if each.figure == "exact match, sampled")
    # Wilson's intervals of 0 and 8 in 8 reach .324 to the other side: 1 - .324 sqrt(2).
    assert (found.interval.low, found.interval.high) == pytest.approx((0.541, 1.0), abs=1e-3)


def test_steps_that_dynamic_sampling_fills_up_are_no_measure_of_place(tmp_path: Path) -> None:
    from workflow_r1.reports.comparison.pictures import _place, _size_of_step

    plain = read_run(make_run(tmp_path / "a"))
    more = read_run(make_run(tmp_path / "b", training={"dynamic_sampling": 2}))
    assert _size_of_step(plain) != _size_of_step(more)
    for row, number in zip(more.metrics, (16, 48, 32, 16), strict=True):
        row["rollout/num_trajectories"] = number
    assert [_place(more, {"step": step}, by_step=False) for step in range(5)] == [0.0, 16.0, 64.0, 96.0, 112.0]
    assert _place(more, {"step": 3}, by_step=True) == 3.0


def test_differences_are_a_table_with_their_finding(tmp_path: Path) -> None:
    comparison = compare(make_run(tmp_path / "a", right=0.0), make_run(tmp_path / "b", right=1.0, **FASTER))
    grids = [block for section in make_document(comparison).sections for block in section.blocks if isinstance(block, Grid)]  # fmt: skip
    row = next(row for row in grids[1].rows if row[0] == "exact match, sampled")
    assert row[2:4] == ("1", "0") and row[6] == "more"
