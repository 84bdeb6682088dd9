"""Does the unit of the ratio matter? A toy whose success probability is exact, in seconds a run::

    python benchmarks/unit_toy/study.py --output runs/unit-toy [--seeds 30] [--doses 1,4,16,64] [--jobs 2] [--table]
    python benchmarks/unit_toy/study.py --output runs/unit-toy-late --doses 1 --staleness 0,1,4,16
    python benchmarks/unit_toy/study.py --output runs/unit-toy-worlds --doses 16 --worlds plain,dense,sparse

It leaves ``runs.jsonl``, ``runs.csv`` (the same without curves), ``table.md`` and a picture, ``doses.png``.

A trajectory has four turns of 3 to 24 tokens, and others in other worlds (``world.SHAPES``). The last token of a turn
is a decision among five; all others are fillers of a fixed grammar. Success wants the right decision in every turn, and
no wrong filler anywhere: a policy has to learn the decisions and not to spoil what it can do. The right decision
depends on the question; the fillers are common to all questions, so that a careless update breaks them everywhere. The
probability of success is computed from the policy's own probabilities (:func:`success`): no run is judged by luck.

The dose is the number of optimiser steps on one batch. Optimiser steps, trajectories and mini-batches are the same at
every dose, and so are a seed's world and its draws: arms differ in ``policy_loss`` alone. A dose of 1 is on-policy, its
ratios are 1, and arms can differ in the weight only: it is the null arm, and it is run again at every learning rate that
an arm uses elsewhere. The staleness is the number of batches that the policy has learned from since it sampled the one
that it learns from; the ratio is taken to the policy that sampled.

The learning rate of each arm is tuned in each setting (dose, staleness and world) on seeds of its own: a grid that
grows, by one rule for all, until the best rate lies inside it; one that does not is marked. One line of JSON a run; a run
that stands in the file is not repeated.
"""

import argparse
import itertools
import json
import multiprocessing
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from arms import ARMS, CONTRASTS
from report import draw_settings, write_csv, write_table
from training import STEPS, Job, Setting, run_together, setting_of
from tuning import tuned, untried
from world import SHAPES

NULL_SEEDS = 5
"""Most fresh seeds of a null arm at a rate that is not its own: its differences have next to no spread."""

MOST_TOGETHER = 15
"""Runs that are trained at once in one process."""


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="directory of runs.jsonl and of the table")
    parser.add_argument("--seeds", type=int, default=30, help="fresh seeds of each cell")
    parser.add_argument("--doses", type=numbers, default="1,4,16,64", help="optimiser steps a batch")
    parser.add_argument("--staleness", type=numbers, default="0", help="batches learned from since a batch was sampled")
    parser.add_argument("--worlds", default="plain", help=f"turns of a trajectory: {', '.join(SHAPES)}")
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=tuple(ARMS),
        default=list(ARMS),
        metavar="ARM",
        help=f"objectives: {', '.join(ARMS)}",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread")
    parser.add_argument("--table", action="store_true", help="run nothing, and print the table of what is there")
    arguments = parser.parse_args()
    if any(dose < 1 or STEPS % dose for dose in arguments.doses):
        parser.error(f"expected doses that divide {STEPS}, received {arguments.doses}")
    if min(arguments.staleness) < 0:
        parser.error(f"expected a staleness of 0 or more, received {min(arguments.staleness)}")
    worlds = arguments.worlds.split(",")
    if unknown := [world for world in worlds if world not in SHAPES]:
        parser.error(f"expected worlds among {', '.join(SHAPES)}, received {', '.join(unknown)}")
    settings = [Setting(*each) for each in itertools.product(arguments.doses, arguments.staleness, worlds)]
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "runs.jsonl"
    rows = read(file)
    if not arguments.table:
        while missing := untried(rows, arguments.arms, settings):
            rows = carry_out(missing, rows, file, arguments.jobs)
        rates = tuned(rows)
        cells = {(*cell, rates[cell]): arguments.seeds for cell in itertools.product(arguments.arms, settings)}
        for arm, setting in itertools.product(arguments.arms, settings):
            # The null arm at every rate that the arm uses, and at those of the arms that it is compared with.
            for other in (arm, *(one for one, second in CONTRASTS if second == arm and one in arguments.arms)):
                cells.setdefault((arm, setting.null, rates[other, setting]), min(NULL_SEEDS, arguments.seeds))
        rows = carry_out(
            [
                Job(*cell, seed, "fresh")
                for seed in range(arguments.seeds)
                for cell, num_seeds in cells.items()
                if seed < num_seeds
            ],
            rows, file, arguments.jobs,
        )  # fmt: skip
    table = write_table(rows, settings)
    (arguments.output / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    write_csv(rows, arguments.output / "runs.csv")
    draw_settings(rows, settings, arguments.output)


def numbers(text: str) -> list[int]:
    """Read whole numbers between commas."""
    return [int(each) for each in text.split(",")]


def read(file: Path) -> list[dict[str, Any]]:
    """Read the runs that are there; a last line that a kill cut off is dropped from the file."""
    if not file.is_file():
        return []
    text = file.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def carry_out(jobs: Iterable[Job], rows: list[dict[str, Any]], file: Path, num_processes: int) -> list[dict[str, Any]]:
    """Do the runs that are missing, and append each to the file as it ends."""
    done = {Job(row["arm"], setting_of(row), row["rate"], row["seed"], row["stage"]) for row in rows}
    together: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        if job not in done:
            rate = job.rate if job.stage == "fresh" else None
            together.setdefault((job.arm, job.setting, job.stage, rate), []).append(job)
    pieces = [
        (start, each[start : start + MOST_TOGETHER])
        for each in together.values()
        for start in range(0, len(each), MOST_TOGETHER)
    ]
    # The first seeds of every cell come before the next ones of any.
    pieces.sort(key=lambda piece: piece[0])
    commit = _commit()
    rows = list(rows)
    with file.open("a", encoding="utf-8") as out:
        for made in _mapped([piece for _, piece in pieces], num_processes):
            rows += [row | {"commit": commit} for row in made]
            out.writelines(json.dumps(row) + "\n" for row in rows[-len(made) :])
            out.flush()
    return rows


def _mapped(pieces: Sequence[Sequence[Job]], num_processes: int) -> Iterable[list[dict[str, Any]]]:
    if num_processes == 1:
        yield from map(run_together, pieces)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        yield from pool.map(run_together, pieces)


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


if __name__ == "__main__":
    main()
