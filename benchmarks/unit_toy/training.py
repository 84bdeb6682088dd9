"""One run of the toy, or several of one arm and dose together."""

import statistics
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from arms import ARMS, Arm
from torch import Tensor
from world import GROUP_SIZE, SHAPES, Batch, Policies, sample, success

from workflow_r1.algorithms import PolicyLoss, UnitKind, matched_scale, policy_loss, unit_ids
from workflow_r1.algorithms.units import find_units, mean_per_unit


class Setting(NamedTuple):
    """The conditions under which arms are compared: how far a batch's policy lags, and in what world."""

    dose: int = 1
    """Optimiser steps on one batch."""
    staleness: int = 0
    """Batches that the policy has learned from since it sampled the one it learns from."""
    world: str = "plain"
    """Name of a shape in :data:`world.SHAPES`."""

    @property
    def null(self) -> "Setting":
        """The setting of this world in which all ratios are 1."""
        return Setting(world=self.world)

    def __str__(self) -> str:
        late = f", {self.staleness} late" if self.staleness else ""
        return f"{self.dose}{late}" + (f", {self.world}" if self.world != "plain" else "")


class Job(NamedTuple):
    """A run."""

    arm: str
    setting: Setting
    rate: float
    seed: int
    stage: str
    """The stage that wants the run: ``tuning`` or ``fresh``."""


def setting_of(row: dict[str, Any]) -> Setting:
    """Return the setting of a run's row; rows of earlier versions have neither staleness nor world."""
    return Setting(row["dose"], row.get("staleness", 0), row.get("world", "plain"))


STEPS = 256
"""Optimiser steps of a run."""

GROUPS = 4
"""Questions of a mini-batch, with a group of trajectories each."""

COLLAPSED = 0.5
"""A run collapses where its end is below this share of its best moment."""


def run_together(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Train several runs of one arm and setting.

    Args:
        jobs: runs that differ in rate and seed alone.

    Returns:
        A row of each. ``clipped``, ``removed`` (share of the gradient's mass), ``decisions_removed`` (share of its mass on
        decisions) and ``kl`` are means over all of them.
    """
    torch.set_num_threads(1)
    name, (dose, staleness, world), *_ = jobs[0]
    began = time.process_time()
    policies = Policies([job.seed for job in jobs], [job.rate for job in jobs], SHAPES[world])
    clip, waiting = Clip(ARMS[name], len(jobs)), deque[Batch]()
    curves, moves, norms, metrics = [success(policies)], [], [], []
    size = GROUPS * GROUP_SIZE
    for step in range(STEPS):
        place = step % dose
        if place == 0:
            # The policy before training samples the first batches, as a buffer that is filled before the first step.
            while len(waiting) <= staleness:
                waiting.append(sample(policies, dose * GROUPS))
            batch = waiting.popleft()
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
    for slot, (arm, setting, rate, seed, stage) in enumerate(jobs):
        curve = [each[slot] for each in curves]
        end = statistics.mean(curve[-4:])
        rows.append(
            {
                "arm": arm,
                **setting._asdict(),
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
        """The unit that shares a ratio."""
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
    shape = (policies.num * rows.question.shape[1], rows.present[0, 0].numel())
    logprobs = torch.zeros_like(rows.logprobs).index_put((slot, row, turn, place), chosen).reshape(shape)
    old = rows.logprobs.reshape(shape)
    turn_ids = (torch.arange(1, policies.shape.turns + 1)[:, None] * rows.present).reshape(shape)
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
