"""Does the unit of the ratio matter? A toy whose success probability is exact, in seconds a run::

    python benchmarks/unit_toy.py --output runs/unit-toy [--seeds 30] [--doses 1,4,16,64] [--jobs 2] [--table]

It leaves ``runs.jsonl``, ``table.md`` and a picture, ``doses.png``.

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
from torch.nn.functional import embedding, one_hot

from workflow_r1.algorithms import (
    PolicyLoss,
    UnitKind,
    WeightKind,
    group_advantages,
    matched_scale,
    policy_loss,
    unit_ids,
)
from workflow_r1.algorithms.units import find_units, mean_per_unit
from workflow_r1.evaluation.statistics import holm
from workflow_r1.evaluation.student import t_quantile, t_two_sided_p
from workflow_r1.reports.drawing import INK, MUTED, dress, opened_figure, save_figure
from workflow_r1.reports.study.pictures import COLOURS

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

MOST_TOGETHER = 15
"""Runs that are trained at once in one process."""

COLLAPSED = 0.5
"""A run collapses where its end is below this share of its best moment."""


Job = tuple[str, int, float, int, str]
"""Arm, dose, learning rate, seed, and the stage that wants the run: ``tuning`` or ``fresh``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """One objective."""

    unit: UnitKind
    weight: WeightKind
    clip_low: float = 0.2
    clip_high: float = 0.2
    reference_length: float | None = None
    """Length at which the clip range is the given one (FSPO's square-root band, arXiv:2509.09177)."""
    share: float | None = None
    """If set, the range is adapted after each batch until it removes this share of the gradient's mass."""

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
    "token matched": Arm("token", "uniform", reference_length=1.0, share=0.05),
    "turn/length matched": Arm("turn", "length", reference_length=1.0, share=0.05),
    "sequence matched": Arm("sequence", "uniform", reference_length=1.0, share=0.05),
    "token unclipped": Arm("token", "uniform", 1.0, NEVER),
    "turn/length unclipped": Arm("turn", "length", 1.0, NEVER),
    "token tight": Arm("token", "uniform", 0.1, 0.1),
    "turn/length band tight": Arm("turn", "length", 0.1, 0.1, reference_length=1.0),
    "sequence band tight": Arm("sequence", "uniform", 0.1, 0.1, reference_length=1.0),
    "token wide": Arm("token", "uniform", 0.5, 1.0),
    "token widest": Arm("token", "uniform", 0.8, 4.0),
    "turn/length band wide": Arm("turn", "length", 0.5, 1.0, reference_length=1.0),
    "turn/length band widest": Arm("turn", "length", 0.8, 4.0, reference_length=1.0),
    "sequence band wide": Arm("sequence", "uniform", 0.5, 1.0, reference_length=1.0),
    "sequence band widest": Arm("sequence", "uniform", 0.8, 4.0, reference_length=1.0),
    "sequence unclipped": Arm("sequence", "uniform", 1.0, NEVER),
}
"""Arms by name. Ranges: .2 is PPO's and the paper's default; narrow is AT2PO's; the sequence's is GSPO's. A matched range
begins as the band; 5% is the share of ``examples/studies/unit.toml``. Wide lets a ratio halve and double, widest change
by a factor of 5, each over the root of the unit's length."""

RANGES = {
    "token": ("token tight", "token", "token wide", "token widest", "token unclipped"),
    "turn": (
        "turn/length band tight", "turn/length band", "turn/length band wide", "turn/length band widest",
        "turn/length unclipped",
    ),
    "sequence": (
        "sequence band tight", "sequence band", "sequence band wide", "sequence band widest", "sequence unclipped",
    ),
}  # fmt: skip
"""The ranges that each unit tries, by one budget: .1, .2, wide, widest (over the root of the length) and none. The tuning
seeds choose one for each dose."""

SHOWN = (
    "token", "token unclipped", "turn/length", "turn/length narrow", "turn/length band", "sequence", "sequence band",
)  # fmt: skip
"""Arms whose areas the picture shows: the published ranges, and one of each unit that does well."""

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
    ("turn/length matched", "token matched"),
    ("sequence matched", "token matched"),
    ("turn/length matched", "sequence matched"),
)
"""Pairs of arms that are compared, chosen before the first run; but the matched ones when fifteen seeds of the others had
shown that the range matters. Units at the best of their :data:`RANGES` are a family of their own, chosen when thirty
seeds of all these had shown that a token's range of .2 is too narrow."""

DRAWN = (
    ("turn/length", "token"),
    ("turn/length band", "token"),
    ("turn/length unclipped", "token unclipped"),
    ("turn/length matched", "token matched"),
    ("turn/length band", "sequence band"),
    ("turn/length matched", "sequence matched"),
)
"""Contrasts of the picture: unit against unit."""


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


class Policies:
    """Policies that are trained together, one a slot, each with a world, a rate and random numbers of its own.

    A slot's policy is its base logits, and a small network of what is common to questions, turns and places, which starts
    at 0. Training several at once costs a fraction of training one after the other, and changes nothing but the order of
    sums.

    Args:
        seeds: seed of each slot.
        rates: learning rate of each slot.
    """

    def __init__(self, seeds: Sequence[int], rates: Sequence[float]) -> None:
        worlds = [make_world(seed) for seed in seeds]
        self.world = World(*(torch.stack([getattr(w, f.name) for w in worlds]) for f in dataclasses.fields(World)))
        self.num = len(seeds)
        self.draws = [torch.Generator().manual_seed(seed + 1) for seed in seeds]
        starts = [torch.Generator().manual_seed(seed) for seed in seeds]

        def parameter(*shape: int) -> Tensor:
            return torch.stack([torch.randn(*shape, generator=start) for start in starts]).requires_grad_()

        self.question = parameter(QUESTIONS, WIDTH)
        self.place = parameter(TURNS, LONGEST, WIDTH)
        self.decides = parameter(2, WIDTH)
        # The observation shows the decision before: none in the first turn.
        self.before = parameter(DECISIONS + 1, WIDTH)
        self.out = torch.zeros(self.num, WIDTH, WORDS).requires_grad_()
        self._parameters = (self.question, self.place, self.decides, self.before, self.out)
        self._moments = [(torch.zeros_like(each), torch.zeros_like(each)) for each in self._parameters]
        self._rates, self._num_updates = torch.tensor(rates), 0

    def __call__(self, slot: Tensor, question: Tensor, turn: Tensor, place: Tensor, before: Tensor) -> Tensor:
        """Log-probabilities ``(n, words)`` at n places of turns, in the order of the slots."""
        is_last = (place == self.world.length[slot, question, turn] - 1).long()
        hidden = torch.tanh(
            _look_up(self.question, slot * QUESTIONS + question)
            + _look_up(self.before, slot * (DECISIONS + 1) + before)
            + _look_up(self.place, (slot * TURNS + turn) * LONGEST + place)
            + _look_up(self.decides, slot * 2 + is_last)
        )
        counts = torch.bincount(slot, minlength=self.num).tolist()
        learnt = torch.cat([part @ out for part, out in zip(hidden.split(counts), self.out, strict=True)])
        return (self.world.base[slot, question, turn, place] + learnt / math.sqrt(WIDTH)).log_softmax(-1)

    def update(self, loss: Tensor) -> Tensor:
        """Take one step of Adam (arXiv:1412.6980) in each slot, its gradient cut to the norm 1.

        Args:
            loss: the sum of the slots' losses.

        Returns:
            ``(slots,)`` norms before the cut.
        """
        gradients = torch.autograd.grad(loss, self._parameters)
        norms = torch.stack([each.flatten(1).square().sum(1) for each in gradients]).sum(0).sqrt()
        cut = (1.0 / (norms + 1e-6)).clamp(max=1.0)
        self._num_updates += 1
        first, second = (1 - beta**self._num_updates for beta in (0.9, 0.999))
        with torch.no_grad():
            for each, gradient, (mean, square) in zip(self._parameters, gradients, self._moments, strict=True):
                shape = (-1, *[1] * (each.ndim - 1))
                scaled = gradient * cut.reshape(shape)
                mean.lerp_(scaled, 0.1)
                square.lerp_(scaled.square(), 0.001)
                each -= self._rates.reshape(shape) * (mean / first) / ((square / second).sqrt() + 1e-8)
        return norms


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table whose last dimension is a row; its gradient is cheaper than that of an index."""
    return embedding(index, table.reshape(-1, WIDTH))


def success(policies: Policies) -> list[float]:
    """Probability that a trajectory succeeds, of each slot, mean over its questions: exact.

    A wrong decision or filler ends all hope, so that the only decision that a turn can have before it is the right one:
    the probability is the product of those of the one trajectory that succeeds.
    """
    world = policies.world
    slot, question, turn, place = world.present.nonzero(as_tuple=True)
    before = torch.where(turn > 0, world.right[slot, question, turn - 1], DECISIONS)
    with torch.no_grad():
        table = policies(slot, question, turn, place, before)
    right = table.gather(1, world.target[world.present][:, None])[:, 0]
    sums = torch.zeros(policies.num * QUESTIONS).index_add(0, slot * QUESTIONS + question, right)
    return sums.exp().reshape(policies.num, QUESTIONS).mean(1).tolist()


@dataclasses.dataclass(frozen=True)
class Batch:
    """Trajectories, ``(slots, n, turns, places)`` where not said otherwise."""

    question: Tensor
    """``(slots, n)``"""
    before: Tensor
    """``(slots, n, turns)`` the decision before each turn."""
    tokens: Tensor
    logprobs: Tensor
    present: Tensor
    advantages: Tensor
    """``(slots, n)``"""

    def rows(self, chosen: slice) -> "Batch":
        """Some of the trajectories of each slot."""
        return Batch(*(getattr(self, field.name)[:, chosen] for field in dataclasses.fields(self)))


def sample(policies: Policies, num_groups: int) -> Batch:
    """Let the policies act, and compare each trajectory with its group."""
    world, num_slots = policies.world, policies.num
    asked = [torch.randint(QUESTIONS, (num_groups,), generator=draw) for draw in policies.draws]
    question = torch.stack(asked).repeat_interleave(GROUP_SIZE, dim=1)
    num = num_groups * GROUP_SIZE
    slots = torch.arange(num_slots)[:, None]
    present, length = world.present[slots, question], world.length[slots, question]
    before = torch.full((num_slots, num, TURNS + 1), DECISIONS)
    tokens, logprobs = torch.zeros_like(present, dtype=torch.long), torch.zeros(present.shape)
    for turn in range(TURNS):
        slot, row, place = present[:, :, turn].nonzero(as_tuple=True)
        with torch.no_grad():
            table = policies(slot, question[slot, row], torch.full_like(row, turn), place, before[slot, row, turn])
        # The largest of p / e, e exponential, is a draw from p.
        counts = torch.bincount(slot, minlength=num_slots).tolist()
        noise = [
            torch.empty(count, WORDS).exponential_(generator=draw)
            for count, draw in zip(counts, policies.draws, strict=True)
        ]
        drawn = (table.exp() / torch.cat(noise)).argmax(1)
        tokens[slot, row, turn, place], logprobs[slot, row, turn, place] = drawn, table.gather(1, drawn[:, None])[:, 0]
        last = tokens[:, :, turn].gather(2, length[:, :, turn, None] - 1)[..., 0]
        before[:, :, turn + 1] = last.where(last < DECISIONS, torch.tensor(DECISIONS))
    rewards = ((tokens == world.target[slots, question]) | ~present).flatten(2).all(2).float()
    groups = torch.arange(num_slots * num_groups).repeat_interleave(GROUP_SIZE)
    return Batch(
        question=question,
        before=before[:, :, :TURNS],
        tokens=tokens,
        logprobs=logprobs,
        present=present,
        advantages=group_advantages(rewards.flatten(), groups).reshape(rewards.shape),
    )


def run_together(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Train several runs of one arm and dose.

    Args:
        jobs: runs that differ in rate and seed alone.

    Returns:
        A row of each. ``clipped``, ``removed`` (share of the gradient's mass), ``decisions_removed`` (share of its mass on
        decisions) and ``kl`` are means over all of them.
    """
    torch.set_num_threads(1)
    (name, dose, *_), began = jobs[0], time.process_time()
    policies, clip = Policies([job[3] for job in jobs], [job[2] for job in jobs]), Clip(ARMS[name], len(jobs))
    curves, moves, norms, metrics = [success(policies)], [], [], []
    size = GROUPS * GROUP_SIZE
    for step in range(STEPS):
        place = step % dose
        if place == 0:
            batch = sample(policies, dose * GROUPS)
        norm, move, of_step = _update(policies, batch.rows(slice(place * size, (place + 1) * size)), clip)
        if place == dose - 1:
            clip.adapt()
        norms.append(norm)
        moves.append(move)
        metrics.append(of_step)
        if (step + 1) % 4 == 0:
            curves.append(success(policies))
    seconds = (time.process_time() - began) / len(jobs)
    largest, norm = torch.stack(moves).max(0).values.tolist(), torch.stack(norms).mean(0).tolist()
    rows = []
    for slot, (arm, _, rate, seed, stage) in enumerate(jobs):
        curve = [each[slot] for each in curves]
        end = statistics.mean(curve[-4:])
        rows.append(
            {
                "arm": arm,
                "dose": dose,
                "rate": rate,
                "seed": seed,
                "stage": stage,
                "area": statistics.mean(curve),
                "end": end,
                "collapsed": end < COLLAPSED * max(curve),
                "curve": [round(value, 5) for value in curve],
                **{key: statistics.mean(each[key] for each in metrics) for key in metrics[0]},
                "norm": norm[slot],
                "largest_move": largest[slot],
                "seconds": seconds,
            }
        )
    return rows


class Clip:
    """The clip of an arm, with a range of its own in each slot where it is matched.

    Args:
        arm: the objective.
        num_slots: runs that are trained together.
    """

    def __init__(self, arm: Arm, num_slots: int) -> None:
        self._arm = arm
        self._scales = [1.0] * num_slots
        self._seen: list[list[PolicyLoss]] = [[] for _ in range(num_slots)]

    @property
    def unit(self) -> UnitKind:
        """What shares a ratio."""
        return self._arm.unit

    def losses(
        self, *, logprobs: Tensor, old: Tensor, advantages: Tensor, turn_ids: Tensor, num: int
    ) -> list[PolicyLoss]:
        """Compute the loss of all slots in one, or of each where ranges differ.

        Args:
            logprobs: ``(slots * num, time)``.
            old: likewise, under the policy that sampled.
            advantages: ``(slots * num,)``.
            turn_ids: ``(slots * num, time)``; 0 where no token is.
            num: trajectories of one slot; it normalises the loss, so that the losses of slots add up.

        Returns:
            One loss over all slots where they share a range, else one a slot, in their order.
        """
        arm, is_matched = self._arm, self._arm.share is not None
        rows = num if is_matched else len(logprobs)
        results = [
            policy_loss(
                logprobs=logprobs[start : start + rows],
                old_logprobs=old[start : start + rows],
                advantages=advantages[start : start + rows],
                unit_ids=unit_ids(turn_ids[start : start + rows], arm.unit),
                clip_low=arm.clip_low * scale,
                clip_high=arm.clip_high * scale,
                clip_reference_length=arm.reference_length,
                weight=arm.weight,
                num_trajectories=num,
            )
            for start, scale in zip(range(0, len(logprobs), rows), self._scales, strict=is_matched)
        ]
        if is_matched:
            for seen, result in zip(self._seen, results, strict=True):
                seen.append(result)
        return results

    def adapt(self) -> None:
        """Choose the ranges of the next batch."""
        if self._arm.share is not None:
            self._scales = [
                matched_scale(
                    scale,
                    excess=torch.cat([each.excess for each in seen]),
                    mass=torch.cat([each.mass for each in seen]),
                    share=self._arm.share,
                )
                for scale, seen in zip(self._scales, self._seen, strict=True)
            ]
            self._seen = [[] for _ in self._scales]


def _update(policies: Policies, rows: Batch, clip: Clip) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Take one optimiser step; returns each slot's gradient norm and largest token move, and the metrics of all."""
    slot, row, turn, place = rows.present.nonzero(as_tuple=True)
    table = policies(slot, rows.question[slot, row], turn, place, rows.before[slot, row, turn])
    chosen = table.gather(1, rows.tokens[rows.present][:, None])[:, 0]
    shape = (policies.num * rows.question.shape[1], TURNS * LONGEST)
    logprobs = torch.zeros_like(rows.logprobs).index_put((slot, row, turn, place), chosen).reshape(shape)
    old = rows.logprobs.reshape(shape)
    turn_ids = (torch.arange(1, TURNS + 1)[:, None] * rows.present).reshape(shape)
    results = clip.losses(
        logprobs=logprobs,
        old=old,
        advantages=rows.advantages.flatten(),
        turn_ids=turn_ids,
        num=rows.question.shape[1],
    )
    norms = policies.update(torch.stack([result.loss for result in results]).sum())
    moves = ((logprobs.detach() - old).abs() * (turn_ids > 0)).reshape(policies.num, -1).max(1).values
    decides = torch.zeros_like(rows.logprobs)
    decides[slot, row, turn, place] = (place == policies.world.length[slot, rows.question[slot, row], turn] - 1).float()
    # Tokens of a unit share its mass evenly.
    units = find_units(unit_ids(turn_ids, clip.unit))
    mass = torch.cat([result.mass for result in results]) * mean_per_unit(decides.reshape(shape), units)
    excess = torch.cat([result.excess for result in results])
    metrics = {
        name: statistics.mean(result.metrics[name] for result in results)
        for name in ("clip_fraction_low", "clip_fraction_high", "gradient_mass_removed", "approx_kl")
    }
    return (
        norms,
        moves,
        {
            "clipped": metrics["clip_fraction_low"] + metrics["clip_fraction_high"],
            "removed": metrics["gradient_mass_removed"],
            "decisions_removed": (mass[excess > 1].sum() / mass.sum().clamp(min=1e-30)).item(),
            "kl": metrics["approx_kl"],
        },
    )


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
    draw_doses(rows, doses, arguments.output)


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
    together: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        if job not in done:
            arm, dose, rate, _, stage = job
            together.setdefault((arm, dose, stage, rate if stage == "fresh" else None), []).append(job)
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
    return jobs


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
    lines += _best_ranges(fresh_cells(rows, rates), areas, doses)
    lines += [
        "**Cells**",
        "",
        "| arm | dose | rate | seeds | area | end | collapsed | units clipped | mass removed | of decisions | KL to the sampler | largest token move | on-policy at this rate |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (arm, dose), rate in sorted(rates.items(), key=lambda each: (each[0][1], list(ARMS).index(each[0][0]))):
        cell = list(fresh.get((arm, dose, rate), {}).values())
        # Arms of one weight are one arm where ratios are 1, as the null table shows.
        same = tuned_as(arm, 1)
        if not cell or dose not in doses or (dose == 1 and arm != same):
            continue
        on_policy = [row["area"] for row in fresh.get((same, 1, rate), {}).values()]
        tried = areas[tuned_as(arm, dose), dose]
        edge = " (edge)" if rate in (min(tried), max(tried)) else ""
        # Runs of an earlier version do not say what their clip removed.
        mean = {
            key: statistics.mean([row[key] for row in cell if key in row] or [math.nan])
            for key in ("area", "end", "collapsed", "clipped", "removed", "decisions_removed", "kl", "largest_move")
        }
        lines.append(
            f"| {arm} | {dose} | {rate:g}{edge} | {len(cell)} | {mean['area']:.3f} | {mean['end']:.3f} | {mean['collapsed']:.2f} | "
            f"{mean['clipped']:.3f} | {mean['removed']:.3f} | {mean['decisions_removed']:.3f} | {mean['kl']:.2g} | "
            f"{mean['largest_move']:.1f} | {statistics.mean(on_policy) if on_policy else math.nan:.3f} |".replace(
                "nan", ""
            )
        )
    return "\n".join(lines)


def _best_ranges(
    fresh: dict[tuple[str, int], dict[int, dict[str, Any]]],
    tuning: dict[tuple[str, int], dict[float, dict[int, float]]],
    doses: Sequence[int],
) -> list[str]:
    """Write the contrasts of units, each with the range and the rate that its tuning seeds like best."""
    found = []
    for dose in doses:
        if dose == 1 or any((arm, dose) not in tuning for arms in RANGES.values() for arm in arms):
            continue
        best = {unit: max(arms, key=lambda arm: _best_area(tuning[arm, dose])) for unit, arms in RANGES.items()}
        for one, other in (("turn", "token"), ("sequence", "token"), ("turn", "sequence")):
            cells = [fresh.get((best[unit], dose), {}) for unit in (one, other)]
            seeds = sorted(set(cells[0]) & set(cells[1]))
            if len(seeds) > 1:
                area, end = (
                    _paired([cells[0][seed][key] - cells[1][seed][key] for seed in seeds]) for key in ("area", "end")
                )
                found.append((best[one], best[other], dose, len(seeds), area, end))
    if not found:
        return []
    corrected = holm(p_values=[area[2] for *_, area, _ in found])
    return [
        "**Units, each at the best of its ranges**",
        "",
        "| first | minus second | dose | seeds | area | p (Holm) | end |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one} | {other} | {dose} | {num} | {area[0]:+.3f} ± {area[1]:.3f} | {p:.3g} | {end[0]:+.3f} ± {end[1]:.3f} |"
            for (one, other, dose, num, area, end), p in zip(found, corrected, strict=True)
        ),
        "",
    ]


def _best_area(tried: dict[float, dict[int, float]]) -> float:
    return max(statistics.mean(areas.values()) for areas in tried.values())


def draw_doses(rows: Sequence[dict[str, Any]], doses: Sequence[int], directory: Path) -> None:
    """Draw ``doses.png`` and ``doses.svg``: unit against unit by dose, for each kind of range, and the area of each arm.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    fresh = fresh_cells(rows, tuned(rows))
    if not fresh:
        return
    with opened_figure(11.0, 4.4) as figure:
        contrasts, areas = figure.subplots(1, 2)
        dress(
            contrasts,
            "Unit against unit, each at its own rate",
            "optimiser steps on a batch",
            "difference in area, 95%",
        )
        contrasts.axhline(0.0, color=MUTED, linewidth=0.8)
        for place, ((one, other), colour) in enumerate(zip(DRAWN, COLOURS, strict=False)):
            points = []
            for column, dose in enumerate(doses):
                cells = [fresh.get((arm, dose), {}) for arm in (one, other)]
                seeds = sorted(set(cells[0]) & set(cells[1]))
                if len(seeds) > 1:
                    mean, half, _ = _paired([cells[0][seed]["area"] - cells[1][seed]["area"] for seed in seeds])
                    points.append((column + 0.06 * (place - len(DRAWN) / 2), mean, half))
            if points:
                at, means, halves = zip(*points, strict=True)
                contrasts.errorbar(
                    at, means, yerr=halves, color=colour, marker="o", markersize=4, capsize=3, linewidth=1.2,
                    label=f"{one} minus {other}",
                )  # fmt: skip
        dress(areas, "Units and ranges", "optimiser steps on a batch", "area: mean success over the run")
        for arm, colour in zip(SHOWN, COLOURS, strict=False):
            columns = [column for column, dose in enumerate(doses) if fresh.get((arm, dose))]
            heights = [statistics.mean(row["area"] for row in fresh[arm, doses[column]].values()) for column in columns]
            areas.plot(columns, heights, color=colour, marker="o", markersize=4, linewidth=1.4, label=arm)
        for axes in (contrasts, areas):
            axes.set_xticks(range(len(doses)), [str(dose) for dose in doses])
        contrasts.legend(frameon=False, fontsize="small", loc="upper left", labelcolor=INK)
        areas.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)
        save_figure(figure, directory / "doses")


def fresh_cells(
    rows: Sequence[dict[str, Any]], rates: dict[tuple[str, int], float]
) -> dict[tuple[str, int], dict[int, dict[str, Any]]]:
    """Return the fresh runs of each arm and dose at its own rate, by seed."""
    cells: dict[tuple[str, int], dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["stage"] == "fresh" and rates.get((row["arm"], row["dose"])) == row["rate"]:
            cells.setdefault((row["arm"], row["dose"]), {})[row["seed"]] = row
    return cells


def _paired(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the differences by seed, half of Student's 95 % interval, and the two-sided p-value."""
    mean, degrees = statistics.mean(differences), len(differences) - 1
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    if error == 0:
        return mean, 0.0, 1.0 if mean == 0 else 0.0
    return mean, t_quantile(confidence=0.95, degrees=degrees) * error, t_two_sided_p(mean / error, degrees=degrees)


if __name__ == "__main__":
    main()
