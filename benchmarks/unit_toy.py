"""Does the unit of the ratio matter? A toy whose success probability is exact, in seconds a run::

    python benchmarks/unit_toy.py --output runs/unit-toy [--seeds 30] [--doses 1,4,16,64] [--jobs 2] [--table]

A trajectory has four turns of 3 to 24 tokens. The last token of a turn is a decision among five; all others are fillers
of a fixed grammar. Success wants the right decision in every turn, and no wrong filler anywhere: a policy has to learn
the decisions and not to spoil what it can do. The right decision depends on the question; the fillers are common to all
questions, so that a careless update breaks them everywhere. The probability of success is computed from the policy's
own probabilities (:func:`success`): no run is judged by luck.

The dose is the number of optimiser steps on one batch. Optimiser steps, trajectories and mini-batches are the same at
every dose, and so are a seed's world and its draws: arms differ in ``policy_loss`` alone. A dose of 1 is on-policy, its
ratios are 1, and arms can differ in the weight only: it is the null arm, and it is run again at every learning rate that
an arm uses elsewhere.

The learning rate of each arm is tuned at each dose on seeds of its own: a grid that grows, by one rule for all, until
the best rate lies inside it; one that does not is marked. One line of JSON a run; a run that stands in the file is not repeated.
"""

import argparse
import dataclasses
import itertools
import json
import math
import multiprocessing
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from workflow_r1.algorithms import group_advantages, policy_loss, unit_ids
from workflow_r1.evaluation.statistics import holm
from workflow_r1.evaluation.student import t_quantile, t_two_sided_p

QUESTIONS, TURNS, SHORTEST, LONGEST = 16, 4, 3, 24
DECISIONS, FILLERS = 5, 8
WORDS = DECISIONS + FILLERS
"""Tokens: the decisions first, then the fillers."""

START_DECISION, START_FILLER = 0.6, 0.995
"""Probabilities of what is right, before training."""

WIDTH = 16
"""Hidden width of what is trained."""

STEPS = 256
"""Optimiser steps of a run."""

GROUPS, GROUP_SIZE = 4, 8
"""A mini-batch: questions, and trajectories of each."""

RATES = (0.02, 0.04, 0.08)
"""Learning rates that every arm tries; where the best is the first or last that was tried, the next one is tried too."""

MOST_RATES = 8
"""Learning rates after which an arm tries no more."""

FIRST_TUNING_SEED, TUNING_SEEDS = 1000, 3

NULL_SEEDS = 5
"""Most fresh seeds of a null arm at a rate that is not its own: its differences have next to no spread."""

COLLAPSED = 0.5
"""A run collapses where its end is below this share of its best moment."""


Job = tuple[str, int, float, int, str]
"""Arm, dose, learning rate, seed, and the stage that wants the run: ``tuning`` or ``fresh``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """One objective."""

    unit: str
    weight: str
    clip_low: float = 0.2
    clip_high: float = 0.2
    reference_length: float | None = None
    """Length at which the clip range is the given one (FSPO's square-root band, arXiv:2509.09177)."""

    @property
    def weighs_turns(self) -> bool:
        """True where tokens of a short turn weigh more than those of a long one."""
        return self.unit == "turn" and self.weight == "uniform"


NEVER = 1e9
"""A clip range that no ratio leaves."""

ARMS = {
    "token": Arm("token", "uniform"),
    "turn/uniform": Arm("turn", "uniform"),
    "turn/length": Arm("turn", "length"),
    "turn/length narrow": Arm("turn", "length", 3e-3, 4e-3),
    "turn/length band": Arm("turn", "length", reference_length=1.0),
    "sequence": Arm("sequence", "uniform", 3e-4, 4e-4),
    "sequence band": Arm("sequence", "uniform", reference_length=1.0),
    "token unclipped": Arm("token", "uniform", 1.0, NEVER),
    "turn/length unclipped": Arm("turn", "length", 1.0, NEVER),
}
"""Arms by name. Ranges: .2 is PPO's and the paper's default; narrow is AT2PO's; the sequence's is GSPO's."""

CONTRASTS = (
    ("turn/length", "token"),
    ("turn/length band", "token"),
    ("sequence band", "token"),
    ("turn/length band", "sequence band"),
    ("turn/uniform", "turn/length"),
    ("turn/length", "turn/length unclipped"),
    ("turn/length", "turn/length band"),
    ("turn/length narrow", "turn/length band"),
    ("sequence", "sequence band"),
    ("turn/length unclipped", "token unclipped"),
)
"""Pairs of arms that are compared, chosen before the first run."""


# ----------------------------------------------------------------------------------------------------------- the world


@dataclasses.dataclass(frozen=True)
class World:
    """Questions of one seed, and the policy that meets them."""

    length: Tensor
    """``(questions, turns)`` tokens of each turn."""
    right: Tensor
    """``(questions, turns)`` the right decision."""
    target: Tensor
    """``(questions, turns, places)`` the right token of each place."""
    present: Tensor
    """``(questions, turns, places)`` True where a turn has that place."""
    base: Tensor
    """``(questions, turns, places, words)`` logits of the policy before training."""


@lru_cache(maxsize=8)
def make_world(seed: int) -> World:
    """Draw lengths, right decisions and the grammar of the fillers."""
    draw = torch.Generator().manual_seed(seed)
    length = torch.randint(SHORTEST, LONGEST + 1, (QUESTIONS, TURNS), generator=draw)
    right = torch.randint(DECISIONS, (QUESTIONS, TURNS), generator=draw)
    grammar = DECISIONS + torch.randint(FILLERS, (TURNS, LONGEST), generator=draw)
    places = torch.arange(LONGEST)
    present = places < length[..., None]
    decides = places == length[..., None] - 1
    target = torch.where(decides, right[..., None], grammar.expand(QUESTIONS, TURNS, LONGEST))
    is_right = one_hot(target, WORDS).double()
    is_decision = torch.zeros(WORDS, dtype=torch.float64)
    is_decision[:DECISIONS] = 1 / (DECISIONS - 1)
    decision = START_DECISION * is_right + (1 - START_DECISION) * (1 - is_right) * (is_decision + 1e-6)
    filler = START_FILLER * is_right + (1 - START_FILLER) / (WORDS - 1) * (1 - is_right)
    base = torch.where(decides[..., None], decision, filler).log().float()
    return World(length=length, right=right, target=target, present=present, base=base)


class Policy(torch.nn.Module):
    """The base logits, and a small network of what is common to questions, turns and places, which starts at 0."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)

        def parameter(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(*shape, generator=draw))

        self.world = world
        self.question = parameter(QUESTIONS, WIDTH)
        self.place = parameter(TURNS, LONGEST, WIDTH)
        self.decides = parameter(2, WIDTH)
        # The observation shows the decision before: none in the first turn.
        self.before = parameter(DECISIONS + 1, WIDTH)
        self.out = torch.nn.Parameter(torch.zeros(WIDTH, WORDS))

    def forward(self, question: Tensor, turn: Tensor, place: Tensor, before: Tensor) -> Tensor:
        """Log-probabilities ``(n, words)`` at n places of turns."""
        is_last = (place == self.world.length[question, turn] - 1).long()
        hidden = torch.tanh(
            self.question[question] + self.before[before] + self.place[turn, place] + self.decides[is_last]
        )
        logits = self.world.base[question, turn, place] + hidden @ self.out / math.sqrt(WIDTH)
        return logits.log_softmax(-1)


def success(policy: Policy) -> float:
    """Probability that a trajectory succeeds, mean over questions: exact.

    A wrong decision or filler ends all hope, so that the only decision that a turn can have before it is the right one:
    the probability is the product of those of the one trajectory that succeeds.
    """
    world = policy.world
    question, turn, place = world.present.nonzero(as_tuple=True)
    before = torch.where(turn > 0, world.right[question, turn - 1], DECISIONS)
    with torch.no_grad():
        table = policy(question, turn, place, before)
    right = table.gather(1, world.target[world.present][:, None])[:, 0]
    return float(torch.zeros(QUESTIONS).index_add(0, question, right).exp().mean())


@dataclasses.dataclass(frozen=True)
class Batch:
    """Trajectories, ``(n, turns, places)`` where not said otherwise."""

    question: Tensor
    """``(n,)``"""
    before: Tensor
    """``(n, turns)`` the decision before each turn."""
    tokens: Tensor
    logprobs: Tensor
    turn_ids: Tensor
    """``(n, turns * places)``"""
    advantages: Tensor
    """``(n,)``"""

    def rows(self, chosen: slice) -> "Batch":
        """Some of the trajectories."""
        return Batch(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))


def sample(policy: Policy, num_groups: int, draw: torch.Generator) -> Batch:
    """Let the policy act, and compare each trajectory with its group."""
    world = policy.world
    question = torch.randint(QUESTIONS, (num_groups,), generator=draw).repeat_interleave(GROUP_SIZE)
    num = len(question)
    before = torch.full((num, TURNS + 1), DECISIONS)
    tokens, logprobs = torch.zeros(num, TURNS, LONGEST, dtype=torch.long), torch.zeros(num, TURNS, LONGEST)
    present = world.present[question]
    for turn in range(TURNS):
        row, place = present[:, turn].nonzero(as_tuple=True)
        with torch.no_grad():
            table = policy(question[row], torch.full_like(row, turn), place, before[row, turn])
        # The largest of p / e, e exponential, is a draw from p.
        drawn = (table.exp() / torch.empty_like(table).exponential_(generator=draw)).argmax(1)
        tokens[row, turn, place], logprobs[row, turn, place] = drawn, table.gather(1, drawn[:, None])[:, 0]
        last = tokens[:, turn].gather(1, world.length[question, turn][:, None] - 1)[:, 0]
        before[:, turn + 1] = last.where(last < DECISIONS, torch.tensor(DECISIONS))
    rewards = ((tokens == world.target[question]) | ~present).flatten(1).all(1).float()
    ids = torch.arange(num_groups).repeat_interleave(GROUP_SIZE)
    return Batch(
        question=question,
        before=before[:, :TURNS],
        tokens=tokens,
        logprobs=logprobs,
        turn_ids=(torch.arange(1, TURNS + 1)[:, None] * present).flatten(1),
        advantages=group_advantages(rewards, ids),
    )


def run(job: Job) -> dict[str, Any]:
    """Train once.

    Args:
        job: arm, dose, learning rate, seed, and the stage that wants it.
    """
    torch.set_num_threads(1)
    name, dose, rate, seed, stage = job
    arm, began = ARMS[name], time.process_time()
    world = make_world(seed)
    policy = Policy(world, seed)
    optimiser = torch.optim.Adam(policy.parameters(), lr=rate)
    draw = torch.Generator().manual_seed(seed + 1)
    curve, figures = [success(policy)], []
    for step in range(STEPS):
        place = step % dose
        if place == 0:
            batch = sample(policy, dose * GROUPS, draw)
        rows = batch.rows(slice(place * GROUPS * GROUP_SIZE, (place + 1) * GROUPS * GROUP_SIZE))
        figures.append(_update(policy, optimiser, rows, arm))
        if (step + 1) % 4 == 0:
            curve.append(success(policy))
    end = statistics.mean(curve[-4:])
    return {
        "arm": name,
        "dose": dose,
        "rate": rate,
        "seed": seed,
        "stage": stage,
        "area": statistics.mean(curve),
        "end": end,
        "collapsed": end < COLLAPSED * max(curve),
        "curve": [round(value, 5) for value in curve],
        **{key: statistics.mean(each[key] for each in figures) for key in ("clipped", "kl", "norm")},
        "largest_move": max(each["move"] for each in figures),
        "seconds": time.process_time() - began,
    }


def _update(policy: Policy, optimiser: torch.optim.Optimizer, rows: Batch, arm: Arm) -> dict[str, float]:
    row, turn, place = (rows.turn_ids > 0).reshape(rows.tokens.shape).nonzero(as_tuple=True)
    table = policy(rows.question[row], turn, place, rows.before[row, turn])
    chosen = table.gather(1, rows.tokens[row, turn, place][:, None])[:, 0]
    logprobs = torch.zeros_like(rows.logprobs).index_put((row, turn, place), chosen).flatten(1)
    old = rows.logprobs.flatten(1)
    result = policy_loss(
        logprobs=logprobs,
        old_logprobs=old,
        advantages=rows.advantages,
        unit_ids=unit_ids(rows.turn_ids, arm.unit),
        clip_low=arm.clip_low,
        clip_high=arm.clip_high,
        clip_reference_length=arm.reference_length,
        weight=arm.weight,
    )
    optimiser.zero_grad()
    result.loss.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0))
    optimiser.step()
    moves = (logprobs.detach() - old).abs() * (rows.turn_ids > 0)
    metrics = result.metrics
    return {
        "clipped": metrics["clip_fraction_low"] + metrics["clip_fraction_high"],
        "kl": metrics["approx_kl"],
        "norm": norm,
        "move": float(moves.max()),
    }


# ----------------------------------------------------------------------------------------------------------- the study


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="directory of runs.jsonl and of the table")
    parser.add_argument("--seeds", type=int, default=30, help="fresh seeds of each cell")
    parser.add_argument("--doses", default="1,4,16,64", help="optimiser steps a batch")
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=list(ARMS), help="objectives")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread")
    parser.add_argument("--table", action="store_true", help="run nothing, and print the table of what is there")
    arguments = parser.parse_args()
    doses = [int(dose) for dose in arguments.doses.split(",")]
    if any(STEPS % dose for dose in doses):
        parser.error(f"expected doses that divide {STEPS}, received {arguments.doses}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "runs.jsonl"
    rows = read(file)
    if not arguments.table:
        while missing := untried(rows, arguments.arms, doses):
            rows = carry_out(missing, rows, file, arguments.jobs)
        rates = tuned(rows)
        cells = {(arm, dose, rates[arm, dose]): arguments.seeds for arm in arguments.arms for dose in doses}
        for arm, dose in itertools.product(arguments.arms, doses):
            # The null arm at every rate that the arm uses, and at those of the arms that it is compared with.
            for other in (arm, *(one for one, second in CONTRASTS if second == arm and one in arguments.arms)):
                cells.setdefault((arm, 1, rates[other, dose]), min(NULL_SEEDS, arguments.seeds))
        rows = carry_out(
            [
                (*cell, seed, "fresh")
                for seed in range(arguments.seeds)
                for cell, num_seeds in cells.items()
                if seed < num_seeds
            ],
            rows, file, arguments.jobs,
        )  # fmt: skip
    table = write_table(rows, doses)
    (arguments.output / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)


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
    done = {tuple(row[key] for key in ("arm", "dose", "rate", "seed", "stage")) for row in rows}
    missing = [job for job in jobs if job not in done]
    commit = _commit()
    rows = list(rows)
    with file.open("a", encoding="utf-8") as out:
        for row in _mapped(missing, num_processes):
            row["commit"] = commit
            out.write(json.dumps(row) + "\n")
            out.flush()
            rows.append(row)
    return rows


def _mapped(jobs: Sequence[Job], num_processes: int) -> Iterable[dict[str, Any]]:
    if num_processes == 1:
        yield from map(run, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        yield from pool.map(run, jobs, chunksize=4)


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def untried(rows: Sequence[dict[str, Any]], arms: Sequence[str], doses: Sequence[int]) -> list[Job]:
    """Return the runs of tuning that are still to be done: the grid, then one rate beyond it where the best is at its edge."""
    areas = tuning_areas(rows)
    jobs: list[Job] = []
    for dose, arm in itertools.product(doses, arms):
        if tuned_as(arm, dose) != arm:
            continue
        tried = areas.get((arm, dose), {})
        wanted = set(RATES) | set(tried)
        if all(len(tried.get(rate, {})) == TUNING_SEEDS for rate in wanted) and len(wanted) < MOST_RATES:
            best = _best(tried)
            wanted |= {best / 2} if best == min(tried) else {best * 2} if best == max(tried) else set()
        jobs += [
            (arm, dose, rate, seed, "tuning")
            for rate in sorted(wanted)
            for seed in range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + TUNING_SEEDS)
            if seed not in tried.get(rate, {})
        ]
    # By seed: the worlds are made once.
    return sorted(jobs, key=lambda job: job[3])


def tuned_as(arm: str, dose: int) -> str:
    """Return the arm whose rate an arm takes: with ratios of 1, arms of one weight are one arm, as the null table shows."""
    if dose > 1:
        return arm
    return next(name for name, each in ARMS.items() if each.weighs_turns == ARMS[arm].weighs_turns)


def tuning_areas(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], dict[float, dict[int, float]]]:
    """Areas of the runs of tuning, by arm and dose, by rate, by seed."""
    areas: dict[tuple[str, int], dict[float, dict[int, float]]] = {}
    for row in rows:
        if row["stage"] == "tuning":
            of_rate = areas.setdefault((row["arm"], row["dose"]), {}).setdefault(row["rate"], {})
            of_rate[row["seed"]] = row["area"]
    return areas


def tuned(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """Return the best learning rate of each arm at each dose, by the mean area of the tuning seeds."""
    best = {cell: _best(tried) for cell, tried in tuning_areas(rows).items()}
    doses = {dose for _, dose in best}
    return {
        (arm, dose): best[tuned_as(arm, dose), dose]
        for arm in ARMS
        for dose in doses
        if (tuned_as(arm, dose), dose) in best
    }


def _best(tried: dict[float, dict[int, float]]) -> float:
    return max(tried, key=lambda rate: statistics.mean(tried[rate].values()))


# ----------------------------------------------------------------------------------------------------------- the table


def write_table(rows: Sequence[dict[str, Any]], doses: Sequence[int]) -> str:
    """Write the null arms first, then every contrast by dose, then the cells."""
    rates, areas = tuned(rows), tuning_areas(rows)
    fresh: dict[tuple[str, int, float], dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["stage"] == "fresh":
            fresh.setdefault((row["arm"], row["dose"], row["rate"]), {})[row["seed"]] = row
    commits = sorted({row["commit"] or "unknown" for row in rows})
    lines = [
        f"Commit {', '.join(commits)}; {len(rows)} runs, {sum(row['seconds'] for row in rows) / 60:.0f} CPU minutes, "
        f"{statistics.median(row['seconds'] for row in rows):.1f} s a run. Area: mean exact success over the run.",
        "",
    ]
    sections = (
        ("Null arms: one optimiser step a batch, at the rate that the first arm uses at the dose in brackets", True),
        ("Contrasts: each arm at its own rate", False),
    )
    for title, is_null in sections:
        found = []
        for one, other in CONTRASTS:
            for dose in doses:
                if (one, dose) not in rates or (other, dose) not in rates:
                    continue
                if is_null:
                    # Both arms at one rate, so that nothing but the weight can differ.
                    cells = [fresh.get((arm, 1, rates[one, dose]), {}) for arm in (one, other)]
                else:
                    cells = [fresh.get((arm, dose, rates[arm, dose]), {}) for arm in (one, other)]
                seeds = sorted(set(cells[0]) & set(cells[1]))
                if len(seeds) > 1 and (not is_null or dose > 1):
                    found.append((one, other, dose, cells, seeds))
        if not found:
            continue
        statements = [
            [_paired([cells[0][seed][key] - cells[1][seed][key] for seed in seeds]) for key in ("area", "end")]
            for *_, cells, seeds in found
        ]
        corrected = holm(p_values=[both[0][2] for both in statements])
        lines += [
            f"**{title}**",
            "",
            "| first | minus second | dose | seeds | area | p (Holm) | end |",
            "|---|---|---|---|---|---|---|",
        ]
        for (one, other, dose, _, seeds), (area, end), p in zip(found, statements, corrected, strict=True):
            shown = f"1 [{dose}]" if is_null else str(dose)
            lines.append(
                f"| {one} | {other} | {shown} | {len(seeds)} | {area[0]:+.3f} ± {area[1]:.3f} | {p:.3g} | "
                f"{end[0]:+.3f} ± {end[1]:.3f} |"
            )
        lines.append("")
    lines += [
        "**Cells**",
        "",
        "| arm | dose | rate | seeds | area | end | collapsed | units clipped | KL to the sampler | largest token move | on-policy at this rate |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (arm, dose), rate in sorted(rates.items(), key=lambda each: (each[0][1], list(ARMS).index(each[0][0]))):
        cell = list(fresh.get((arm, dose, rate), {}).values())
        if not cell or dose not in doses:
            continue
        on_policy = [row["area"] for row in fresh.get((arm, 1, rate), {}).values()]
        tried = areas[tuned_as(arm, dose), dose]
        edge = " (edge)" if rate in (min(tried), max(tried)) else ""
        mean = {
            key: statistics.mean(row[key] for row in cell)
            for key in ("area", "end", "collapsed", "clipped", "kl", "largest_move")
        }
        lines.append(
            f"| {arm} | {dose} | {rate:g}{edge} | {len(cell)} | {mean['area']:.3f} | {mean['end']:.3f} | {mean['collapsed']:.2f} | "
            f"{mean['clipped']:.3f} | {mean['kl']:.2g} | {mean['largest_move']:.1f} | "
            f"{statistics.mean(on_policy) if on_policy else math.nan:.3f} |"
        )
    return "\n".join(lines)


def _paired(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the differences by seed, half of Student's 95 % interval, and the two-sided p-value."""
    mean, degrees = statistics.mean(differences), len(differences) - 1
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    if error == 0:
        return mean, 0.0, 1.0 if mean == 0 else 0.0
    return mean, t_quantile(confidence=0.95, degrees=degrees) * error, t_two_sided_p(mean / error, degrees=degrees)


if __name__ == "__main__":
    main()
