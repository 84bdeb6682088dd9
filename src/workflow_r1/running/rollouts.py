"""Trajectories sampled over questions, without a terminal."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.errors import UserError
from workflow_r1.recording.events import AnsweringStarted, OnEvent, Preparing, TrajectoryFinished, ignore
from workflow_r1.running.configuration import check_at_least, open_questions
from workflow_r1.running.interrupts import Stop, run_loop
from workflow_r1.running.policies import POLICY, open_method
from workflow_r1.running.policy_fit import note_slow_precision
from workflow_r1.running.saving import check_can_append

if TYPE_CHECKING:
    from workflow_r1.accounting import Accounts
    from workflow_r1.config import RunConfig
    from workflow_r1.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Trajectories that were sampled, scored where their questions have golden answers, or their task knows the outcome."""

    file: Path
    """JSONL of the trajectories, in the order in which they ended; absent where there are no trajectories. Compressed where
    its name ends in ``.gz``."""
    accounts: "Accounts"
    """Accounts of the services."""

    def trajectories(self) -> "Iterator[Trajectory]":
        """Read them from the file, one at a time.

        Raises:
            DataError: the file is damaged in more than its last line.
        """
        from workflow_r1.trajectory.storage import iterate_trajectories

        return iterate_trajectories(self.file) if self.file.exists() else iter(())


def roll_out(
    config: "RunConfig",
    *,
    output: Path,
    method: str = POLICY,
    limit: int | None = None,
    group_size: int = 1,
    temperature: float | None = None,
    seed: int | None = None,
    on_event: OnEvent = ignore,
    stop: Stop | None = None,
) -> Rollouts:
    """Sample trajectories over the held-out questions into a JSONL file.

    Args:
        config: configuration of the policy, its operators, its limits and its questions.
        output: the file; must not exist yet.
        method: ``policy``, or the name of a fixed workflow.
        limit: only the first so many questions.
        group_size: trajectories of each question.
        temperature: temperature of the sampling; None takes the configuration's.
        seed: seed of the sampling; None takes the configuration's.
        on_event: receives the events.
        stop: lets another thread end it; the trajectories that are finished are kept.

    Raises:
        UserError: a part of the configuration cannot be used, or the file exists.
        BudgetExceededError: the budget is used up; the trajectories that are finished are kept.
        ServiceError: a service refuses, or cannot be reached at the start.
    """
    from workflow_r1.rollout import rollout_groups
    from workflow_r1.running.parts import is_scored
    from workflow_r1.running.services import check_served_policy, check_services
    from workflow_r1.running.simulation import is_simulated
    from workflow_r1.store.lock import held_alone
    from workflow_r1.trajectory import append_trajectories
    from workflow_r1.trajectory.storage import stored_at

    check_at_least(1, group_size=group_size)
    if stored_at(output).exists():
        raise _taken(output)
    check_can_append(output, option="--output")
    on_event(Preparing("getting ready"))
    heat = config.sampling.temperature if temperature is None else temperature
    chosen = open_questions(config, limit)
    opened = open_method(config, method, temperature=heat, as_policy=True, questions=chosen)
    check_services(config.services, opened.services)
    if method == POLICY:
        check_served_policy(config.policy, config.llm)
        note_slow_precision(config, on_event)
    output.parent.mkdir(parents=True, exist_ok=True)
    total = len(chosen) * group_size
    on_event(
        AnsweringStarted(
            f"{config.titled(simulation=is_simulated(config, method))}: {opened.policy.name}", total=total, done=0
        )
    )
    done = 0

    def keep(trajectory: "Trajectory") -> None:
        nonlocal done
        done += 1
        if is_scored(config, trajectory.question) and not trajectory.stop_reason.is_infrastructure:
            trajectory = opened.score(trajectory)
        append_trajectories(output, [trajectory])
        on_event(TrajectoryFinished(done, total, trajectory))

    async def run() -> None:
        async with opened:
            await rollout_groups(
                chosen,
                policy=opened.policy,
                make_environment=opened.make_environment,
                group_size=group_size,
                seed=config.seed if seed is None else seed,
                max_concurrency=config.sampling.max_sessions,
                num_calls_left=lambda: opened.accounts.budget.num_calls_left,
                on_trajectory=keep,
            )

    with held_alone(output.with_name(f".{output.name}.lock"), place=output):
        if stored_at(output).exists():
            raise _taken(output)
        run_loop(run, stop)
    return Rollouts(output, opened.accounts)


def _taken(output: Path) -> UserError:
    return UserError(f"expected a new file, but {output} exists; choose another")
