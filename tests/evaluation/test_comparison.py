import math
import random
import time
from pathlib import Path

import pytest

from workflow_r1.errors import DataError
from workflow_r1.evaluation.answers import read_answers
from workflow_r1.evaluation.comparison import Comparison, MethodFigures, MethodTest, compare_methods
from workflow_r1.evaluation.figures import wilson_interval
from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, append_rows
from workflow_r1.evaluation.statistics import (
    bootstrap_interval,
    crossed_difference_interval,
    crossed_interval,
    crossed_test,
    holm,
    mcnemar_test,
    paired_rate_interval,
    permutation_test,
)


def rows_of(
    method: str,
    scores: list[float | None],
    *,
    benchmark: str = "nq",
    seed: int = 0,
    calls: int = 1,
    cost: float | None = 0.0,
    f1: list[float | None] | None = None,
) -> list[EvaluationRow]:
    """One row per question q0, q1, ...; None is a failure."""
    return [
        EvaluationRow(
            method=method, benchmark=benchmark, question_id=f"q{index:03}", seed=seed,
            status=EvaluationStatus.FAILED if score is None else EvaluationStatus.ANSWERED,
            exact_match=score, f1=overlap, turns=calls, llm_calls=calls, tokens=100 * calls, seconds=0.5, cost=cost,
        )
        for index, (score, overlap) in enumerate(zip(scores, f1 or scores, strict=True))
    ]  # fmt: skip


def compare(path: Path, rows: list[EvaluationRow], *, reference: str | None = None) -> Comparison:
    log = path / "log.jsonl"
    log.unlink(missing_ok=True)
    append_rows(log, rows)
    return compare_methods(read_answers([log]), reference=reference)


def figures_of(comparison: Comparison, method: str, benchmark: str = "nq") -> MethodFigures:
    (found,) = [row for row in comparison.figures if (row.method, row.benchmark) == (method, benchmark)]
    return found


def test_of(comparison: Comparison, method: str, figure: str, benchmark: str = "nq") -> MethodTest:
    (found,) = [
        test for test in comparison.tests if (test.method, test.figure, test.benchmark) == (method, figure, benchmark)
    ]
    return found


test_of.__test__ = False  # type: ignore[attr-defined]


def test_figures_by_hand(tmp_path: Path) -> None:
    rows = rows_of("cot", [1, 0, 0, 1, None], f1=[1, 0.5, 0, 1, None], calls=3, cost=0.25)
    rows[1] = rows[1].model_copy(update={"status": EvaluationStatus.NO_ANSWER, "llm_calls": 7})
    figures = figures_of(compare(tmp_path, rows), "cot")
    assert figures.exact_match is not None
    assert (figures.exact_match.estimate, figures.exact_match.method) == (0.5, "Wilson")
    assert (figures.exact_match.low, figures.exact_match.high) == pytest.approx(wilson_interval(2, 4))
    assert figures.f1 == bootstrap_interval(scores=[1, 0.5, 0, 1], num_resamples=4000)
    assert figures.statuses == {"answered": 3, "no_answer": 1, "failed": 1}
    assert (figures.num_questions, figures.num_left_out, figures.num_answers, figures.num_seeds) == (4, 1, 4, 1)
    assert (figures.llm_calls, figures.turns, figures.tokens) == (4.0, 3.0, 300.0)
    assert (figures.seconds, figures.cost) == (0.5, 0.25)


def test_an_unknown_cost_stays_unknown(tmp_path: Path) -> None:
    rows = [*rows_of("cot", [1, 0], cost=0.5), *rows_of("sc", [1, 1], calls=5, cost=0.5)]
    rows[-1] = rows[-1].model_copy(update={"cost": None})
    comparison = compare(tmp_path, rows)
    assert (figures_of(comparison, "cot").cost, figures_of(comparison, "sc").cost) == (0.5, None)
    frontiers = {frontier.cost: frontier for frontier in comparison.frontiers}
    assert (frontiers["cost"].methods, frontiers["cost"].unknown) == (("cot",), ("sc",))
    assert (frontiers["llm_calls"].methods, frontiers["llm_calls"].unknown) == (("cot", "sc"), ())


def test_a_cost_that_only_a_failure_lacks_is_known(tmp_path: Path) -> None:
    rows = rows_of("cot", [1, None], cost=0.5)
    rows[-1] = rows[-1].model_copy(update={"cost": None})
    assert figures_of(compare(tmp_path, rows), "cot").cost == 0.5


def test_several_seeds_bring_their_own_spread(tmp_path: Path) -> None:
    scores = [[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 0]]
    rows = [row for seed, of_seed in enumerate(scores) for row in rows_of("cot", [*of_seed], seed=seed)]
    figures = figures_of(compare(tmp_path, rows), "cot")
    table = [list(question) for question in zip(*scores, strict=True)]
    assert figures.exact_match == crossed_interval(scores=table).clipped(low=0.0, high=1.0)
    assert (figures.num_seeds, figures.num_questions, figures.num_answers) == (3, 4, 12)


def test_scores_without_spread_still_have_an_interval(tmp_path: Path) -> None:
    rows = [row for seed in range(3) for method in ("cot", "sc") for row in rows_of(method, [0] * 10, seed=seed)]
    comparison = compare(tmp_path, rows, reference="cot")
    interval = figures_of(comparison, "cot").exact_match
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(wilson_interval(0, 10))
    assert interval.num_seeds == 3
    test = test_of(comparison, "sc", "exact_match")
    assert test.test.p_value == 1.0
    assert test.difference.high == paired_rate_interval(first=[0] * 10, second=[0] * 10).high > 0.1


def test_two_questions_that_differ_alike_under_all_seeds_say_little(tmp_path: Path) -> None:
    """Neither a p-value of 0 nor an interval of width 0: two answers of either method cannot say so much."""
    scores = {"cot": [0, 0], "sc": [1, 1]}
    rows = [row for seed in range(2) for method, each in scores.items() for row in rows_of(method, [*each], seed=seed)]
    for figure in ("exact_match", "f1"):
        test = test_of(compare(tmp_path, rows, reference="cot"), "sc", figure)
        assert test.test == mcnemar_test(first=[1, 1], second=[0, 0])
        assert test.test.p_value == 0.5
        alike = paired_rate_interval(first=[1, 1], second=[0, 0])
        assert test.difference == alike.model_copy(update={"num_seeds": 2})
        assert test.difference.low < 0.0


def test_one_question_says_little(tmp_path: Path) -> None:
    rows = [*rows_of("cot", [1], f1=[0.5]), *rows_of("sc", [0], f1=[0.75])]
    comparison = compare(tmp_path, rows, reference="cot")
    figures = figures_of(comparison, "cot")
    assert figures.exact_match is not None
    assert figures.exact_match.low == pytest.approx(wilson_interval(1, 1)[0])
    assert figures.f1 is not None
    assert (figures.f1.estimate, figures.f1.low, figures.f1.high) == (0.5, 0.0, 1.0)
    test = test_of(comparison, "sc", "f1")
    assert (test.difference.estimate, test.difference.low, test.difference.high) == (0.25, -1.0, 1.0)
    assert test.test.p_value == 1.0


def test_pairs_are_the_questions_that_both_answered(tmp_path: Path) -> None:
    cot, sc = [1, 0, 0, None, 1, 0, 0, 0], [1, 1, 1, 1, None, 1, 0, 1]
    comparison = compare(
        tmp_path,
        [
            *rows_of("cot", cot, f1=[1, 0.5, 0, None, 1, 0, 0, 0]),
            *rows_of("sc", sc, f1=[1, 1, 1, 1, None, 1, 0.5, 1]),
        ],
        reference="cot",
    )
    first, second = [1, 1, 1, 1, 0, 1], [1, 0, 0, 0, 0, 0]
    test = test_of(comparison, "sc", "exact_match")
    assert test.test == mcnemar_test(first=first, second=second)
    assert test.difference == paired_rate_interval(first=first, second=second)
    assert (test.num_left_out, test.reference) == (2, "cot")
    overlaps = {"first": [1, 1, 1, 1, 0.5, 1], "second": [1, 0.5, 0, 0, 0, 0]}
    assert test_of(comparison, "sc", "f1").test == permutation_test(**overlaps)
    assert {test.method for test in comparison.tests} == {"sc"}


def test_seeds_of_either_method_make_it_a_crossed_test(tmp_path: Path) -> None:
    cot, sc = [1, 0, 0, 1, 0], [[1, 1, 0, 1, 1], [1, 1, 1, 1, 0]]
    rows = rows_of("cot", [*cot])
    rows += [row for seed, scores in enumerate(sc) for row in rows_of("sc", [*scores], seed=seed)]
    test = test_of(compare(tmp_path, rows, reference="cot"), "sc", "exact_match")
    pair = {"first": [list(question) for question in zip(*sc, strict=True)], "second": cot}
    assert test.test == crossed_test(**pair)
    assert test.difference == crossed_difference_interval(**pair).clipped(low=-1.0, high=1.0)


def test_p_values_are_corrected_as_one_family_per_figure(tmp_path: Path) -> None:
    reference = [0] * 12
    rows = []
    for benchmark in ("nq", "popqa"):
        rows += rows_of("cot", [*reference], benchmark=benchmark)
        rows += rows_of("sc", [1] * 8 + [0] * 4, benchmark=benchmark)
        rows += rows_of("react", [1] * 2 + [0] * 10, benchmark=benchmark)
    comparison = compare(tmp_path, rows, reference="cot")
    tests = [test for test in comparison.tests if test.figure == "exact_match"]
    assert len(tests) == 4
    expected = holm(p_values=[test.test.p_value for test in tests]).tolist()
    assert [test.adjusted_p_value for test in tests] == expected
    assert max(test.adjusted_p_value / test.test.p_value for test in tests) == 4.0


def test_frontier_and_means(tmp_path: Path) -> None:
    rows = [
        *rows_of("direct", [1, 0, 0, 0], calls=1),
        *rows_of("sc", [1, 1, 0, 0], calls=5),
        *rows_of("slow", [1, 0, 0, 0], calls=9),
        *rows_of("direct", [1, 1, 1, 0], calls=1, benchmark="popqa"),
        *rows_of("broken", [None, None], calls=1),
    ]
    comparison = compare(tmp_path, rows)
    frontier = next(f for f in comparison.frontiers if (f.benchmark, f.cost) == ("nq", "llm_calls"))
    assert (frontier.methods, frontier.unknown) == (("direct", "sc"), ("broken",))
    assert {name for name, mean in comparison.means.items() if mean is None} == {"broken", "sc", "slow"}
    mean = comparison.means["direct"]
    assert mean is not None
    assert (mean.estimate, mean.num_questions) == (0.5, 8)
    # Wilson of 1 and of 3 of 4: (0.0456, 0.6994) and (0.3006, 0.9544).
    assert mean.low == pytest.approx(0.5 - math.hypot(0.25 - 0.045587, 0.75 - 0.300642) / 2, abs=1e-6)
    assert mean.high == pytest.approx(0.5 + math.hypot(0.699358 - 0.25, 0.954413 - 0.75) / 2, abs=1e-6)
    broken = figures_of(comparison, "broken")
    assert (broken.exact_match, broken.f1, broken.llm_calls, broken.num_left_out) == (None, None, None, 2)
    assert (comparison.tests, comparison.reference) == ((), None)


def test_questions_that_the_two_do_not_share_make_no_test(tmp_path: Path) -> None:
    rows = [*rows_of("cot", [1, None]), *rows_of("sc", [None, 1]), *rows_of("sc", [1], benchmark="popqa")]
    comparison = compare(tmp_path, rows, reference="cot")
    assert comparison.tests == ()
    assert len(comparison.figures) == 3


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        compare_methods({})
    with pytest.raises(DataError, match="one of cot, received 'sc'"):
        compare(tmp_path, rows_of("cot", [1]), reference="sc")


def test_the_order_of_the_log_changes_nothing(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = []
    for method in ("cot", "sc"):
        scores: list[float | None] = [float(rng.random() < 0.4) for _ in range(60)]
        # Every F1 another, so that questions are drawn one by one.
        rows += rows_of(method, scores, f1=[rng.random() for _ in scores])
    expected = compare(tmp_path, rows, reference="cot")
    rng.shuffle(rows)
    assert compare(tmp_path, rows, reference="cot") == expected
    assert Comparison.model_validate_json(expected.model_dump_json()) == expected


@pytest.mark.slow
def test_a_hundred_thousand_rows_in_seconds(tmp_path: Path) -> None:
    rng = random.Random(0)
    for method in range(10):
        scores: list[float | None] = [float(rng.random() < 0.3 + method / 50) for _ in range(10_000)]
        append_rows(
            tmp_path / "log.jsonl", rows_of(f"method {method}", scores, f1=[rng.randint(0, 30) / 30 for _ in scores])
        )
    started = time.perf_counter()
    comparison = compare_methods(read_answers([tmp_path / "log.jsonl"]), reference="method 0")
    assert time.perf_counter() - started < 30
    assert len(comparison.tests) == 18


def played(
    method: str, rewards: list[float | None], *, says_success: bool = True, seed: int = 0
) -> list[EvaluationRow]:
    """One row per instance of a task; None is a failure, and a reward above 0 a success."""
    return [
        EvaluationRow(
            method=method, benchmark="game", question_id=f"i{index}", seed=seed,
            status=EvaluationStatus.FAILED if reward is None else EvaluationStatus.ANSWERED,
            exact_match=None, f1=None, reward=reward, turns=3,
            success=None if reward is None or not says_success else float(reward > 0),
        )
        for index, reward in enumerate(rewards)
    ]  # fmt: skip


def test_a_task_is_compared_by_success_and_reward(tmp_path: Path) -> None:
    first, second = [1.0, 2.5, -1.0, 1.0, None], [-1.0, -1.0, -1.0, 1.0, 1.0]
    comparison = compare(tmp_path, [*played("new", first), *played("old", second)], reference="old")
    assert comparison.figure == "success"
    new = figures_of(comparison, "new", "game")
    assert new.exact_match is None and new.f1 is None
    assert (new.num_questions, new.num_left_out) == (4, 1)
    assert new.success is not None and new.success.estimate == 0.75
    assert (new.success.low, new.success.high) == pytest.approx(wilson_interval(3, 4))
    assert new.success_if_left_out_wrong == 0.6
    assert new.reward is not None and new.reward.estimate == 0.875
    assert new.reward.low < 0.875 < new.reward.high
    assert {test.figure for test in comparison.tests} == {"success", "reward"}
    difference = test_of(comparison, "new", "reward", "game").difference
    # Over the four instances that both played: (2 + 3.5 + 0 + 0) / 4, beyond what a share could be.
    assert difference.estimate == 1.375 and difference.high > 1.0
    assert comparison.means["new"] is not None and comparison.means["new"].estimate == 0.75


def test_a_task_without_success_is_compared_by_its_reward(tmp_path: Path) -> None:
    rows = [row for seed in (0, 1) for row in played("new", [5.0, -7.0, 3.0 + seed], says_success=False, seed=seed)]
    comparison = compare(tmp_path, rows)
    assert comparison.figure == "reward"
    figures = figures_of(comparison, "new", "game")
    assert figures.success is None and figures.success_if_left_out_wrong is None
    assert figures.reward is not None and figures.reward.estimate == pytest.approx(1.5 / 3)
    assert figures.reward.low < 0 < 1 < figures.reward.high


def test_figures_of_questions_are_written_without_those_of_tasks(tmp_path: Path) -> None:
    comparison = compare(tmp_path, [*rows_of("a", [1.0, 0.0]), *rows_of("b", [None, None])])
    for figures in comparison.figures:
        assert not {"success", "reward", "success_if_left_out_wrong"} & figures.model_dump(mode="json").keys()
    assert '"reward"' not in rows_of("a", [1.0])[0].model_dump_json()
