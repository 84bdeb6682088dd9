"""GSsPO, GSPO and GRPO on small games, from one warm start and with equal rollouts.

Three games and word problems, each a TOML file in ``examples/``: a small policy is made and warm-started once, then every
variant trains it from there, seed by seed, with the settings of that file. Nothing but the objective differs between the
variants, each of which has the clip range of its paper (``algorithms/presets.py``). A run that is finished is not
repeated: start the command again to continue. Needs the extra ``textarena``::

    python benchmarks/games.py --output runs/games [--seeds 5] [--games lost_key secretary] [--table]

Intervals are Student's over the seeds, of means and of differences by seed. Success is greedy, on held-out instances;
the learning curve is the mean success of all trajectories that a run sampled.
"""

import argparse
import json
import math
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from workflow_r1 import train, warm_start

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

GAMES = ("lost_key", "guess_the_number", "secretary", "word_problems")
"""Configurations of the four tasks."""

VARIANTS = ("gsspo", "gspo", "grpo")
"""Presets of the objective; the first is what the others are compared with."""

_STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""0.975 quantiles of Student's t by degrees of freedom."""


def main() -> None:
    """Run what is not finished, one run after the other, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES), help="tasks")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="objectives")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each variant")
    parser.add_argument("--table", action="store_true", help="run nothing, and print the tables of what is finished")
    arguments = parser.parse_args()
    if not arguments.table:
        for game in arguments.games:
            _warm_start(game, arguments.output)
        # Seed by seed: whenever this is stopped, every variant has as many seeds as the others, or one more.
        for seed in range(arguments.seeds):
            for game in arguments.games:
                for variant in arguments.variants:
                    _train(game, variant, seed, arguments.output)
    print(write_tables(arguments.output, arguments.games))


def _start(game: str, output: Path) -> Path:
    return output / game / "start"


def _warm_start(game: str, output: Path) -> None:
    directory = _start(game, output)
    if (directory / "policy").is_dir():
        return
    print(f"{game}: warm start", flush=True)
    began = time.process_time()
    if _has_checkpoint(directory):
        warm_start(resume=directory)
    else:
        shutil.rmtree(directory, ignore_errors=True)
        warm_start(EXAMPLES / f"{game}.toml", output=directory)
    (directory / "cpu_seconds.json").write_text(json.dumps(time.process_time() - began), encoding="utf-8")


def _train(game: str, variant: str, seed: int, output: Path) -> None:
    directory = output / game / f"{variant}-{seed}"
    if (directory / "policy").is_dir():
        return
    print(f"{game}: {variant}, seed {seed}", flush=True)
    began = time.process_time()
    if _has_checkpoint(directory):
        train(resume=directory)
    else:
        shutil.rmtree(directory, ignore_errors=True)  # A run that was stopped before its first checkpoint.
        changes = {
            "policy.model": str(_start(game, output) / "policy"),
            "objective.preset": variant,
            "seed": seed,
        }
        train(EXAMPLES / f"{game}.toml", changes, output=directory)
    (directory / "cpu_seconds.json").write_text(json.dumps(time.process_time() - began), encoding="utf-8")


def _has_checkpoint(directory: Path) -> bool:
    return any((directory / "checkpoints").glob("*"))


def write_tables(output: Path, games: Sequence[str]) -> str:
    """Return the tables in Markdown: what was learnt, then the variants beside each other."""
    learnt = [
        "| task | runs | success before | success after, GSsPO | CPU minutes of a run, warm start |",
        "|---|---|---|---|---|",
    ]
    compared = [
        "| task | variant | seeds | success after | minus GSsPO | success while learning | minus GSsPO | units clipped |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for game in games:
        runs = {variant: _runs(output / game, variant) for variant in VARIANTS}
        first = runs[VARIANTS[0]]
        if not first:
            continue
        before = next(iter(first.values()))["before"]
        minutes = statistics.mean(run["minutes"] for run in first.values())
        start = _minutes(_start(game, output))
        learnt.append(
            f"| {game} | {len(first)} | {before[0]:.3f} ({before[1]:.3f} to {before[2]:.3f}) | "
            f"{_mean([run['after'] for run in first.values()])} | {minutes:.2f}, {start:.2f} |"
        )
        for variant, of_variant in runs.items():
            shared = [seed for seed in of_variant if seed in first]
            figures = []
            for key in ("after", "learning"):
                figures.append(_mean([run[key] for run in of_variant.values()]))
                differences = [of_variant[seed][key] - first[seed][key] for seed in shared]
                figures.append("" if variant == VARIANTS[0] else _mean(differences, sign=True))
            clipped = statistics.mean(run["clipped"] for run in of_variant.values()) if of_variant else math.nan
            compared.append(f"| {game} | {variant} | {len(of_variant)} | {' | '.join(figures)} | {clipped:.3f} |")
    return "\n".join([*learnt, "", *compared])


def _runs(directory: Path, variant: str) -> dict[int, dict]:
    """Figures of the finished runs of a variant, by seed."""
    found = {}
    for run in sorted(directory.glob(f"{variant}-*")):
        if not (run / "cpu_seconds.json").is_file():
            continue
        evaluations = [json.loads(line) for line in (run / "evaluations.jsonl").read_text("utf-8").splitlines()]
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
        steps = [row for row in rows if "rollout/success" in row]  # The first one may be of the start alone.
        start, end = evaluations[0], evaluations[-1]
        found[int(run.name.rpartition("-")[2])] = {
            "before": tuple(start[f"evaluation/success{part}"] for part in ("", "_low", "_high")),
            "after": end["evaluation/success"],
            "learning": statistics.mean(step["rollout/success"] for step in steps),
            "clipped": statistics.mean(
                step.get("update/clip_fraction_low", 0.0) + step.get("update/clip_fraction_high", 0.0) for step in steps
            ),
            "minutes": _minutes(run),
        }
    return found


def _minutes(directory: Path) -> float:
    file = directory / "cpu_seconds.json"
    return float(json.loads(file.read_text("utf-8"))) / 60 if file.is_file() else math.nan


def _mean(values: Sequence[float], *, sign: bool = False) -> str:
    """Write a mean with Student's 95 % interval over the seeds."""
    if not values:
        return ""
    mean = statistics.mean(values)
    shown = f"{mean:+.3f}" if sign else f"{mean:.3f}"
    if len(values) < 2:
        return shown
    half = _STUDENT[min(len(values) - 1, max(_STUDENT))] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{shown} ± {half:.3f}"


if __name__ == "__main__":
    main()
