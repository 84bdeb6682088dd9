"""The frontier of the cost dial: a policy for each setting and seed, asked beside fixed methods.

    DIRECTORY/
      dial-0.4/seed-1/   the run of training of one setting and seed
      evaluation/        the answers of all policies and methods, and their report with the picture

Everything that is done stays done: the same plan, carried out again, continues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.errors import UserError
from workflow_r1.running.compared import SEED
from workflow_r1.running.planned import PlannedRun

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.running.evaluation import EvaluationPlan


@dataclass(frozen=True, slots=True)
class FrontierPlan:
    """Settings of the dial and what their policies are compared with."""

    config: "RunConfig"
    """Configuration of every run but for its seed, its dial and its advantage."""
    dials: tuple[float, ...]
    """Settings of ``reward.cost.dial``."""
    seeds: tuple[int, ...]
    """Seeds under which each setting is trained, and each method asked."""
    directory: Path
    """Directory of all runs and of the evaluation."""
    methods: tuple[str, ...] = ()
    """Methods beside the policies."""
    limit: int | None = None
    """Only the first so many held-out questions."""

    @property
    def runs(self) -> list[tuple[float, int]]:
        """Settings and seeds, in the order of training: every setting once before any seed comes again."""
        return [(dial, seed) for seed in self.seeds for dial in self.dials]

    def place(self, dial: float, seed: int | str) -> Path:
        """Return the run directory of a setting and a seed."""
        return self.directory / f"dial-{dial:g}" / f"seed-{seed}"

    def planned(self, dial: float, seed: int) -> PlannedRun:
        """Return the run of a setting and a seed."""
        return PlannedRun(f"dial {dial:g}, seed {seed}", self.place(dial, seed), self.settings(dial, seed))

    def settings(self, dial: float, seed: int) -> "RunConfig":
        """Return the configuration of one run."""
        from workflow_r1.config import change_settings

        objective = self.config.objective
        # With the group's standard deviation every dial above 0 would be the same one where all answers are right.
        advantage = "group_centred" if objective.advantage == "group_normalised" else objective.advantage
        return change_settings(self.config, {"seed": seed, "reward.cost.dial": dial, "objective.advantage": advantage})

    def evaluation(self) -> "EvaluationPlan":
        """Return the plan of the evaluation, once every policy is trained.

        Raises:
            UserError: there is no such method.
        """
        from workflow_r1.running.evaluation import plan_evaluation

        policies = [f"dial {dial:g}={self.place(dial, SEED)}" for dial in self.dials]
        return plan_evaluation(
            self.config, methods=[*policies, *self.methods], limit=self.limit, seeds=self.seeds, reference=f"dial {self.dials[0]:g}"
        )  # fmt: skip


def plan_frontier(
    config: "RunConfig",
    *,
    dials: Sequence[float],
    seeds: Sequence[int],
    directory: Path,
    methods: Sequence[str] = (),
    limit: int | None = None,
) -> FrontierPlan:
    """Check a plan before anything is trained.

    Args:
        config: see the plan.
        dials: see the plan.
        seeds: see the plan.
        directory: see the plan.
        methods: see the plan.
        limit: see the plan.

    Raises:
        UserError: a dial or seed comes twice, a dial is out of range, or there is no such method.
    """
    from workflow_r1.running.compared import read_methods

    for name, values in (("dial", dials), ("seed", seeds)):
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name}: expected every {name} once, received {', '.join(map(str, values)) or 'none'}")
    if any(mark in str(directory) for mark in ",="):
        raise UserError(f"output: expected a directory without a comma or an equals sign, received {directory}")
    plan = FrontierPlan(config, tuple(dials), tuple(seeds), directory, tuple(methods), limit)
    for dial, seed in plan.runs:
        plan.settings(dial, seed)  # Refuses a dial out of range.
    read_methods(config, methods, seeds=plan.seeds)
    return plan
