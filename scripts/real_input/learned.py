"""Gather what the arms and seeds of ``learn.py`` reached into one table and one picture.

    python scripts/real_input/learned.py [runs/learn-real] [--output DIRECTORY]

It reads every ``ARM-seedN`` that stands in the directory, finished or not, and writes ``learned.json``, ``learned.md``,
``learned.png`` and ``learned.svg``. Nothing is run.
"""

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from answers import Figures, question_figures
from learned_pages import draw, write_page

from workflow_r1.config import load_run_config
from workflow_r1.errors import UserError
from workflow_r1.evaluation.harness import EvaluationLog
from workflow_r1.evaluation.statistics import (
    Interval,
    crossed_difference_interval,
    permutation_test,
    seed_interval,
)
from workflow_r1.recording.alarms import read_alarms
from workflow_r1.reports.run_record import read_run
from workflow_r1.reports.summary import show_trajectory
from workflow_r1.trajectory import ScoredTrajectory, Trajectory, load_trajectories
from workflow_r1.trajectory.storage import stored_at, write_atomically
from workflow_r1.workflows import trace_flow

PLANS = ("greedy", "sampled", "pass")
"""Evaluations of ``learn.py``: one greedy answer, several sampled ones, and eight for pass@8."""

SETS = {
    "held out: HotpotQA and NQ": ("hotpotqa", "nq"),
    "HotpotQA": ("hotpotqa",),
    "NQ": ("nq",),
    "transfer: 2Wiki": ("2wikimultihopqa",),
    "two hops: HotpotQA and 2Wiki": ("hotpotqa", "2wikimultihopqa"),
}
"""Sets of questions by their names: benchmarks of each."""

BENCHMARKS = ("hotpotqa", "nq", "2wikimultihopqa")
ARMS = ("gsspo", "gspo", "grpo", "sft")
RIVAL = "sft"
SERIES = {
    "trajectories": "rollout/num_trajectories",
    "reward": "rollout/reward",
    "exact_match": "rollout/exact_match",
    "searches": "rollout/calls/Search",
    "think_chars": "rollout/think_chars",
    "workflow_share": "rollout/workflow_share",
    "groups": "rollout/num_groups",
    "groups_without_signal": "rollout/num_groups_without_signal",
}
"""Quantities of ``metrics.jsonl`` that the gathered file keeps for each step."""

MAX_WORKFLOWS = 12
"""Longest list of workflows."""

Answers = dict[tuple[str, str], Figures]
"""Figures of each question, by benchmark and id."""


@dataclass(frozen=True)
class Run:
    """One arm under one seed."""

    arm: str
    seed: int
    directory: Path

    @property
    def name(self) -> str:
        """Name of its directory."""
        return self.directory.name


def main() -> int:
    """Gather, write, and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?", default=Path("runs/learn-real"), help="that of learn.py")
    parser.add_argument("--output", type=Path, help="where the files go; default: that directory")
    arguments = parser.parse_args()
    output: Path = arguments.output or arguments.directory
    try:
        gathered = gather(arguments.directory)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "learned.json", json.dumps(gathered, indent=1) + "\n")
    page = write_page(gathered)
    write_atomically(output / "learned.md", page)
    draw(gathered, output / "learned")
    print(page)
    print(f"learned.json, learned.md, learned.png and learned.svg are in {output}")
    return 0


def gather(directory: Path) -> dict[str, Any]:
    """Read all runs of a directory.

    Returns:
        What ``learned.json`` holds.

    Raises:
        UserError: no arm stands there, or no evaluation before.
    """
    runs = find_runs(directory)
    if not runs or not any(is_done(directory / "before" / plan) for plan in PLANS):
        raise UserError(f"expected {directory} to hold before/ and at least one ARM-seedN, as learn.py writes them")
    comparisons: list[dict[str, Any]] = []
    rivalry: list[dict[str, Any]] = []
    for plan in PLANS:
        if not is_done(directory / "before" / plan):
            continue
        before = read_answers(directory / "before" / plan)
        after = {
            run: read_answers(run.directory / "after" / plan) for run in runs if is_done(run.directory / "after" / plan)
        }
        for name, benchmarks in SETS.items():
            tables = make_tables(before, after, benchmarks)
            comparisons += compare(tables, plan=plan, questions=name)
            rivalry += compare_with_rival(tables, plan=plan, questions=name)
    return {
        "conditions": conditions(directory, runs),
        "runs": {run.name: [plan for plan in PLANS if is_done(run.directory / "after" / plan)] for run in runs},
        "comparisons": comparisons,
        "rivalry": rivalry,
        "training": {run.name: training_of(run) for run in runs},
        "seconds": seconds_of(directory, runs),
        "workflows": workflows_of(directory, runs),
        "example": example_of(directory, runs),
    }


def find_runs(directory: Path) -> list[Run]:
    """Find the arms and seeds of a directory, by name and number."""
    found = []
    for path in directory.glob("*-seed*"):
        matched = re.fullmatch(r"([a-z]+)-seed(\d+)", path.name)
        if matched and matched[1] in ARMS and path.is_dir():
            found.append(Run(matched[1], int(matched[2]), path))
    return sorted(found, key=lambda run: (ARMS.index(run.arm), run.seed))


def is_done(evaluation: Path) -> bool:
    """Return whether an evaluation has asked all its questions."""
    return (evaluation / "summary.json").is_file()


def read_answers(evaluation: Path) -> Answers:
    """Read the answers of an evaluation."""
    log = EvaluationLog(evaluation)
    return {
        (name, id): figures
        for name in BENCHMARKS
        for id, figures in question_figures(log.trajectories("policy", name)).items()
    }


@dataclass(frozen=True)
class Tables:
    """Answers to the questions that were answered before and after every run."""

    before: list[Figures]
    """One row for each question."""
    after: dict[str, dict[int, list[Figures]]]
    """Arm -> seed -> one row for each question, in the same order."""


def make_tables(before: Answers, after: dict[Run, Answers], benchmarks: Sequence[str]) -> Tables:
    """Pair the questions of some benchmarks."""
    ids = [key for key in before if key[0] in benchmarks and all(key in answers for answers in after.values())]
    tables: dict[str, dict[int, list[Figures]]] = {}
    for run, answers in after.items():
        tables.setdefault(run.arm, {})[run.seed] = [answers[key] for key in ids]
    return Tables([before[key] for key in ids], tables)


def column(rows: Sequence[Figures], measure: str) -> list[float]:
    """Return one figure of each question."""
    return [row[measure] for row in rows]


def table(seeds: dict[int, list[Figures]], measure: str) -> list[list[float]]:
    """Return one figure as ``(questions, seeds)``."""
    return [list(row) for row in zip(*(column(rows, measure) for rows in seeds.values()), strict=True)]


def compare(tables: Tables, *, plan: str, questions: str) -> list[dict[str, Any]]:
    """Compare each arm with the policy before it, figure by figure."""
    rows = []
    for arm, seeds in tables.after.items():
        if len(tables.before) < 2:
            continue
        measures = {}
        for measure in tables.before[0]:
            first = column(tables.before, measure)
            by_seed = [mean(column(answers, measure)) for answers in seeds.values()]
            measures[measure] = {"before": mean(first), "after": mean(by_seed), "by_seed": by_seed}
        tests = {}
        for measure in ("exact_match", "f1", "pass"):
            first, second = column(tables.before, measure), table(seeds, measure)
            test = permutation_test(first=first, second=second)
            tests[measure] = {
                "gain": as_json(seed_interval(values=[each - mean(first) for each in measures[measure]["by_seed"]])),
                "gain_over_questions": as_json(crossed_difference_interval(first=second, second=first)),
                "p_value": test.p_value,
                "up": test.num_second_better,
                "down": test.num_first_better,
            }
        rows.append(
            {
                "plan": plan,
                "questions": questions,
                "arm": arm,
                "seeds": list(seeds),
                "num_questions": len(tables.before),
                "measures": measures,
                "tests": tests,
            }
        )
    return rows


def compare_with_rival(tables: Tables, *, plan: str, questions: str) -> list[dict[str, Any]]:
    """Compare the gain of each arm with that of the rival, on the seeds and questions of both."""
    rows = []
    rival = tables.after.get(RIVAL, {})
    for arm, seeds in tables.after.items():
        both = [seed for seed in seeds if seed in rival]
        if arm == RIVAL or not both or len(tables.before) < 2:
            continue
        measures = {}
        for measure in ("exact_match", "f1", "pass"):
            own, theirs = ({seed: side[seed] for seed in both} for side in (seeds, rival))
            differences = [mean(column(own[seed], measure)) - mean(column(theirs[seed], measure)) for seed in both]
            first, second = table(theirs, measure), table(own, measure)
            test = permutation_test(first=first, second=second)
            measures[measure] = {
                "difference": as_json(seed_interval(values=differences)),
                "difference_over_questions": as_json(crossed_difference_interval(first=second, second=first)),
                "by_seed": differences,
                "p_value": test.p_value,
                "up": test.num_second_better,
                "down": test.num_first_better,
            }
        rows.append({"plan": plan, "questions": questions, "arm": arm, "seeds": both, "measures": measures})
    return rows


def as_json(interval: Interval) -> dict[str, Any]:
    """Return an interval as the page needs it; one without ends has none."""
    ends = (interval.low, interval.high) if math.isfinite(interval.low) else (None, None)
    return {"estimate": interval.estimate, "low": ends[0], "high": ends[1]}


def conditions(directory: Path, runs: Iterable[Run]) -> dict[str, Any]:
    """Say on what the figures rest."""
    revisions: set[str] = set()
    steps: set[str] = set()
    for run in runs:
        for path in run.directory.glob("**/environment.json"):
            revisions.add(str(json.loads(path.read_text()).get("git_revision") or "unknown")[:7])
        if (run.directory / "train" / "config.toml").is_file():
            training = load_run_config(run.directory / "train" / "config.toml").training
            steps.add(f"{training.steps} steps of {training.questions_per_step} x {training.group_size}")
    return {
        "revisions": sorted(revisions),
        "steps": sorted(steps),
        "demonstrations": num_lines(directory / "demonstrations.jsonl"),
        "training_questions": num_lines(directory / "train.jsonl"),
    }


def num_lines(path: Path) -> int:
    """Count the lines of a file; 0 where it is absent."""
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def training_of(run: Run) -> dict[str, Any]:
    """Return steps and alarms of a run of reinforcement learning, or the rounds of the rival."""
    if run.arm == RIVAL:
        places = sorted(run.directory.glob("round-*"), key=lambda path: int(path.name.split("-")[1]))
        return {"rounds": [round_of(place) for place in places]}
    train = run.directory / "train"
    if not (train / "metrics.jsonl").is_file() or not (train / "metrics.jsonl").stat().st_size:
        return {"steps": {}, "alarms": []}
    record = read_run(train)
    steps = {name: [row.get(key) for row in record.metrics] for name, key in SERIES.items()}
    return {"steps": steps, "alarms": [asdict(alarm) for alarm in read_alarms(train)]}


def round_of(place: Path) -> dict[str, Any]:
    """Return what a round of the rival sampled, and on how many trajectories it trained."""
    sampled = stored_at(place / "sampled.jsonl")
    figures = question_figures(load_trajectories(sampled)) if sampled.is_file() else {}
    return {
        "trajectories": num_trajectories(sampled),
        "exact_match": mean(column(list(figures.values()), "exact_match")) if figures else None,
        "searches": mean(column(list(figures.values()), "searches")) if figures else None,
        "right": num_trajectories(stored_at(place / "right.jsonl")),
        "trained_on": num_trajectories(stored_at(place / "shown.jsonl")),
    }


def num_trajectories(path: Path) -> int:
    """Count the trajectories of a file; 0 where it is absent."""
    return len(load_trajectories(path)) if path.is_file() else 0


def seconds_of(directory: Path, runs: Iterable[Run]) -> dict[str, Any]:
    """Return wall and CPU time, and memory where it was recorded, by part."""
    places = {"shared": directory, **{run.name: run.directory for run in runs}}
    files = {name: place / "seconds.json" for name, place in places.items()}
    return {name: json.loads(path.read_text()) for name, path in files.items() if path.is_file()}


def workflow_of(trajectory: Trajectory) -> str:
    """Describe the workflow of a trajectory by what each search and the answer were made of.

    ``question -> Search 1; Search 1 -> answer`` is one search with the question's words, whose passages hold the answer.
    """
    flow = trace_flow(trajectory)
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for node in flow.nodes:
        label = "invalid call" if node.state == "invalid" else node.label
        numbers[label] += 1
        names[node.id] = f"{label} {numbers[label]}" if node.kind == "call" else label.lower()
    sources: dict[str, list[str]] = {}
    for edge in flow.edges:
        sources.setdefault(edge.target, []).append(names[edge.source] if edge.kind == "data" else "nothing")
    return "; ".join(f"{' + '.join(each)} -> {names[target]}" for target, each in sources.items())


def workflows_of(directory: Path, runs: Sequence[Run]) -> dict[str, Any]:
    """Count the workflows that each arm's answers follow after it, and those among them that no demonstration holds."""
    shown = {workflow_of(each) for each in load_trajectories(directory / "demonstrations.jsonl")}
    places = {"before": [directory / "before"]}
    for run in runs:
        places.setdefault(run.arm, []).append(run.directory / "after")
    counted: dict[str, Any] = {}
    for name, folders in places.items():
        all_of, right = Counter[str](), Counter[str]()
        for trajectory in stored_answers(folders):
            workflow = workflow_of(trajectory)
            all_of[workflow] += 1
            right[workflow] += is_right(trajectory)
        total = sum(all_of.values())
        if total:
            new = {workflow: num for workflow, num in all_of.items() if workflow not in shown}
            counted[name] = {
                "trajectories": total,
                "different": len(all_of),
                "new": len(new),
                "new_share": sum(new.values()) / total,
                "new_right": sum(right[each] for each in new) / max(1, sum(new.values())),
                "most_frequent_new": [
                    {"workflow": workflow, "share": num / total, "right": right[workflow] / num}
                    for workflow, num in Counter(new).most_common(MAX_WORKFLOWS)
                ],
            }
    return {"demonstrated": len(shown), "by_arm": counted}


def stored_answers(folders: Iterable[Path]) -> Iterator[Trajectory]:
    """Yield the greedy and the sampled answers of some policies that are workflows: every turn is well formed."""
    for folder in folders:
        for plan in PLANS[:2]:
            if is_done(folder / plan):
                for name in BENCHMARKS:
                    for trajectory in EvaluationLog(folder / plan).trajectories("policy", name):
                        if trajectory.turns and all(turn.well_formed for turn in trajectory.turns):
                            yield trajectory


def example_of(directory: Path, runs: Sequence[Run]) -> dict[str, str] | None:
    """Show a question that the policy before missed and the most seeds of gsspo answer, greedily; None without one."""
    ours = [run for run in runs if run.arm == "gsspo" and is_done(run.directory / "after" / "greedy")]
    if not ours or not is_done(directory / "before" / "greedy"):
        return None
    found: list[tuple[tuple[int, int], Trajectory, Trajectory]] = []
    for name in BENCHMARKS:
        before, *after = (
            {each.question.id: each for each in EvaluationLog(place / "greedy").trajectories("policy", name)}
            for place in (directory / "before", *(run.directory / "after" for run in ours))
        )
        for id, first in before.items():
            right = [each[id] for each in after if id in each and is_right(each[id])]
            if right and not is_right(first):
                # Among equals, the one whose workflow has changed the most.
                found.append(((len(right), len(right[0].turns) - len(first.turns)), first, right[0]))
    if not found:
        return None
    (num, _), first, last = max(found, key=lambda each: each[0])
    return {"seeds": f"{num} of {len(ours)}", "before": show_trajectory(first), "after": show_trajectory(last)}


def is_right(trajectory: Trajectory) -> bool:
    """Return whether an answer is an exact match."""
    return isinstance(trajectory, ScoredTrajectory) and trajectory.reward.success is True


if __name__ == "__main__":
    sys.exit(main())
