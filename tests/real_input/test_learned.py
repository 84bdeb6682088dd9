"""The report that gathers the arms and seeds of the long run into one table and one picture."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from workflow_r1.evaluation.harness import EvaluationLog, make_row
from workflow_r1.rewards import score_trajectory
from workflow_r1.trajectory import OperatorCall, Question, ScoredTrajectory, StopReason, Trajectory, Turn
from workflow_r1.trajectory.storage import append_trajectories

SCRIPT = Path(__file__).parents[2] / "scripts" / "real_input" / "learned.py"
QUESTIONS = ("hotpotqa-0", "hotpotqa-1", "nq-0", "nq-1")


def answered(id: str, *, right: bool, queries: tuple[str, ...] = ("q",), number: int = 0) -> Trajectory:
    """A trajectory whose last passage shows both answers."""
    shown = [*["[1] Rome"] * (len(queries) - 1), "[1] It is Paris or Oslo."]
    turns = [
        Turn(
            index=index,
            text=f"<think>so</think><tool>Search: {query}</tool>",
            well_formed=True,
            calls=(OperatorCall(operator="Search", input=query, observation=text, valid=True),),
        )
        for index, (query, text) in enumerate(zip(queries, shown, strict=True), start=1)
    ]
    answer = "Paris" if right else "Oslo"
    turns.append(Turn(index=len(turns) + 1, text=f"<think>so</think><answer>{answer}</answer>", well_formed=True))
    question = Question(id=id, text="Which city?", golden_answers=("Paris",), dataset=id.split("-")[0])
    return Trajectory(
        id=f"{id}-{number}", group_id=id, question=question, turns=tuple(turns), answer=answer, stop_reason=StopReason.ANSWERED
    )  # fmt: skip


def write_evaluation(directory: Path, trajectories: Iterable[Trajectory]) -> None:
    directory.mkdir(parents=True)
    log = EvaluationLog(directory)
    for trajectory in trajectories:
        scored: ScoredTrajectory = score_trajectory(trajectory)
        benchmark = trajectory.question.dataset
        log.keep(make_row(scored, method="policy", benchmark=benchmark, seed=0, repeat=0), scored)
    (directory / "summary.json").write_text("{}")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Before: one of four right. gsspo: three right, by two searches, under both seeds; sft: two, then one."""
    write_evaluation(tmp_path / "before" / "greedy", [answered(id, right=id == "nq-0") for id in QUESTIONS])
    append_trajectories(tmp_path / "demonstrations.jsonl", [answered("d", right=True)])
    (tmp_path / "seconds.json").write_text('{"warmstart": {"wall": 20.0, "cpu": 10.0}}')
    for seed in (0, 1):
        write_evaluation(
            tmp_path / f"gsspo-seed{seed}" / "after" / "greedy",
            [answered(id, right=id != "hotpotqa-1", queries=("Which city", "Rome")) for id in QUESTIONS],
        )
    for seed, right in ((0, ("nq-0", "nq-1")), (1, ("nq-0",))):
        place = tmp_path / f"sft-seed{seed}"
        write_evaluation(place / "after" / "greedy", [answered(id, right=id in right) for id in QUESTIONS])
        (place / "round-0").mkdir()
        sampled = [answered("nq-9", right=number < 2, number=number) for number in range(8)]
        append_trajectories(place / "round-0" / "sampled.jsonl", sampled)
    train = tmp_path / "gsspo-seed0" / "train"
    train.mkdir()
    (train / "config.toml").write_text("")
    rows = [
        {"step": step, "rollout/reward": reward, "rollout/exact_match": reward, "rollout/num_groups": 8,
         "rollout/num_trajectories": 64, "rollout/num_groups_without_signal": step}
        for step, reward in ((1, 0.25), (2, 0.75))
    ]  # fmt: skip
    (train / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    alarm = {"kind": "one_workflow", "step": 2, "message": "all search once", "remedy": "sample hotter"}
    (train / "alarms.jsonl").write_text(f"{json.dumps(alarm)}\n")
    (tmp_path / "grpo-seed0").mkdir()
    return tmp_path


def gathered(runs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), str(runs)], capture_output=True, text=True, check=False)


def test_gains_are_taken_over_seeds_and_questions(runs: Path) -> None:
    done = gathered(runs)
    assert done.returncode == 0, done.stderr
    written = json.loads((runs / "learned.json").read_text())
    of = {(row["arm"], row["questions"]): row for row in written["comparisons"]}
    ours = of["gsspo", "held out: HotpotQA and NQ"]
    assert (ours["seeds"], ours["num_questions"]) == ([0, 1], 4)
    assert ours["measures"]["exact_match"] == {"before": 0.25, "after": 0.75, "by_seed": [0.75, 0.75]}
    test = ours["tests"]["exact_match"]
    # Equal under both seeds; of four sign patterns of two questions, two are as far from 0.
    assert test["gain"] == {"estimate": 0.5, "low": 0.5, "high": 0.5}
    assert (test["p_value"], test["up"], test["down"]) == (0.5, 2, 0)
    assert of["gsspo", "NQ"]["measures"]["exact_match"]["after"] == 1.0
    figures = ours["measures"]
    assert (figures["searches"]["before"], figures["searches"]["after"]) == (1, 2)
    assert (figures["several"]["after"], figures["several_right"]["after"]) == (1, 0.75)
    assert figures["shown"]["after"] == 1

    # sft gains .25 and 0, with 12.706 = t(.975, 1) the half-width is 12.706 * .125.
    theirs = of["sft", "held out: HotpotQA and NQ"]["tests"]["exact_match"]["gain"]
    assert theirs["estimate"] == pytest.approx(0.125)
    assert theirs["high"] - theirs["estimate"] == pytest.approx(12.706 * 0.125, rel=1e-3)
    (rivals,) = (row for row in written["rivalry"] if row["questions"] == "held out: HotpotQA and NQ")
    assert (rivals["arm"], rivals["seeds"]) == ("gsspo", [0, 1])
    assert rivals["measures"]["exact_match"]["by_seed"] == [0.25, 0.5]


def test_the_page_says_what_else_there_is(runs: Path) -> None:
    page = gathered(runs).stdout
    written = json.loads((runs / "learned.json").read_text())
    assert written["runs"]["grpo-seed0"] == []
    assert "Without an evaluation so far, and so in no table of answers: grpo-seed0." in page
    training = written["training"]
    assert training["sft-seed0"]["rounds"] == [
        {"trajectories": 8, "exact_match": 0.25, "searches": 1, "right": 0, "trained_on": 0}
    ]
    assert training["gsspo-seed0"]["steps"]["groups_without_signal"] == [1, 2]
    assert "| gsspo-seed0 | 2 | the end | all follow one workflow | all search once |" in page
    workflows = written["workflows"]["by_arm"]
    assert workflows["before"]["new"] == 0 and workflows["before"]["trajectories"] == 4
    assert workflows["gsspo"]["new_share"] == 1 and workflows["gsspo"]["new_right"] == 0.75
    assert written["seconds"] == {"shared": {"warmstart": {"wall": 20.0, "cpu": 10.0}}}
    assert written["example"]["seeds"] == "2 of 2"
    assert all((runs / f"learned.{kind}").stat().st_size for kind in ("png", "svg", "md"))


def test_an_empty_directory_is_a_mistake(tmp_path: Path) -> None:
    done = gathered(tmp_path)
    assert done.returncode == 2
    assert "as learn.py writes them" in done.stderr
    assert not list(tmp_path.iterdir())
