"""Recorder of a run's files, accounts, watches and events, for every engine."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from workflow_r1.accounting import Accounts, Spent
from workflow_r1.accounting.budget import Tally
from workflow_r1.errors import CheckpointError, ServiceUnavailableError
from workflow_r1.recording.alarms import Alarm, to_row
from workflow_r1.recording.events import (
    AlarmOver,
    AlarmRaised,
    EvaluationFinished,
    Event,
    HeldOutScored,
    OnEvent,
    ServicesBooked,
    StepFinished,
    TrajectoryFinished,
    WarmstartProgress,
    Warned,
    ignore,
)
from workflow_r1.recording.health import ContentionWatch, RunWatch
from workflow_r1.recording.metrics import Metrics
from workflow_r1.recording.run_files import ALARMS, EVALUATIONS, METRICS, SERVICES, SPENT, RunFiles
from workflow_r1.recording.run_lock import hold_run_directory
from workflow_r1.rollout.outage import check_served
from workflow_r1.trajectory import Trajectory


class RunRecorder:
    """Writes a run directory and reports its events.

    Use it inside :meth:`holding`, which keeps every other process out of the directory.

    Args:
        directory: the run directory.
        on_event: receives the events.
        accounts: accounts of the environments' services; None where this process meters nothing.
        writes: False in a process that leaves files and events to another one of the same run.
        has_clip: False where the objective clips to no range, so that its watch asks for none.
    """

    def __init__(
        self,
        directory: Path,
        *,
        on_event: OnEvent = ignore,
        accounts: Accounts | None = None,
        writes: bool = True,
        has_clip: bool = True,
    ) -> None:
        self.directory = directory
        self.accounts = accounts
        self.writes = writes
        self._on_event = on_event if writes else ignore
        self._counts_spent = False
        self._has_clip = has_clip
        self._watch = RunWatch(has_clip=has_clip)
        self._contention = ContentionWatch()

    # ------------------------------------------------------------------------------------------------ start and resume

    @contextmanager
    def holding(self, *, resume: bool) -> Iterator[None]:
        """Hold the run directory alone, and write the amounts spent at the end, however the run ends.

        Args:
            resume: True where the run continues. Otherwise the directory must not hold a run yet.

        Raises:
            UserError: another process is at work there, a new run would overwrite an old one, or the disk is full.
        """
        with hold_run_directory(self.directory) if self.writes else nullcontext() as left:
            self._files = RunFiles(self.directory, resume=resume, writes=self.writes)
            if left is not None:
                self.warn(
                    f"{left} ended here without a message, killed for example; its half-written files were removed"
                )
            try:
                yield
            finally:
                if self._counts_spent:
                    self.write_spent()

    def continue_from(
        self, file_lengths: Mapping[str, int], *, watched: Mapping[str, float] | None = None, tally: Tally | None = None
    ) -> None:
        """Put files, watch and budget back to where the run continues.

        Args:
            file_lengths: lengths at the checkpoint, in bytes; empty for a new run.
            watched: memory of the watch there; None lets it read the kept steps again.
            tally: common count of several processes with one budget.

        Raises:
            CheckpointError: a file is shorter than it was, or the kept metrics cannot be read.
            ConfigError: money is limited, and how much was spent is unknown.
        """
        self._files.cut_back(file_lengths)
        self._watch = RunWatch(watched, has_clip=self._has_clip)
        if watched is None and self.writes:
            for row in self._kept_steps():
                self._watch.observe(row)
        if self.accounts is not None:
            spent = Spent.read(self.directory / SPENT) if self.writes else Spent()
            self.accounts.budget.restart(spent, tally=tally)
            self._counts_spent = True

    @property
    def file_lengths(self) -> dict[str, int]:
        """Length of each file in bytes, for a checkpoint."""
        return self._files.lengths()

    @property
    def watched(self) -> dict[str, float]:
        """Memory of the watch, for a checkpoint."""
        return self._watch.remembered

    def _kept_steps(self) -> Iterator[Metrics]:
        file = self.directory / METRICS
        for number, line in enumerate(file.read_bytes().splitlines() if file.exists() else (), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                is_step = row["step"] > 0
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise CheckpointError(
                    f"{file}:{number}: expected the metrics of a step, found text that cannot be read as such ({error}): put the "
                    f"line back, or start a new run"
                ) from None
            if is_step:
                yield row

    # ---------------------------------------------------------------------------------------------------------- events

    def tell(self, event: Event) -> None:
        """Pass on an event that leaves nothing in the files."""
        self._on_event(event)

    def warn(self, message: str) -> None:
        """Report a mishap that the run survives and a person should know."""
        self._on_event(Warned(message))

    def count(self, total: int) -> Callable[[Trajectory], None]:
        """Return a callback that turns finished trajectories into events.

        Args:
            total: trajectories under way in all.
        """
        done = 0

        def count(trajectory: Trajectory) -> None:
            nonlocal done
            done += 1
            self._on_event(TrajectoryFinished(done, total, trajectory))

        return count

    # ----------------------------------------------------------------------------------------------------------- files

    def record_trajectories(self, trajectories: Sequence[Trajectory], *, step: int) -> None:
        """Write a step's trajectories."""
        self._files.append_trajectories(trajectories, step=step)

    def report_failures(self, trajectories: Sequence[Trajectory], step: int) -> None:
        """Report the number of a step's trajectories that the infrastructure failed.

        Raises:
            ServiceUnavailableError: all trajectories failed, or no service served a call; another step would use up the
                questions and teach nothing.
        """
        failed = [trajectory for trajectory in trajectories if trajectory.stop_reason.is_infrastructure]
        if not failed:
            return
        example = failed[0].error or failed[0].stop_reason.value
        if len(failed) == len(trajectories):
            raise ServiceUnavailableError(
                f"all {len(failed)} trajectories of step {step} failed, the first with: {example}"
            )
        check_served(trajectories)
        self.warn(f"step {step}: {len(failed)} of {len(trajectories)} trajectories failed, the first with: {example}")

    def record_step(self, row: Metrics, *, num_steps: int) -> None:
        """Write the line of a step, and the alarms that begin or end with it."""
        step = int(row["step"] or 0)
        self._files.append(METRICS, row)
        for change in self._watch.observe(row, is_last=step == num_steps):
            self._files.append(ALARMS, to_row(change))
            self._on_event(AlarmRaised(change) if isinstance(change, Alarm) else AlarmOver(change))
        self._on_event(StepFinished(step, num_steps, row))

    def record_start(self, evaluation: Metrics) -> None:
        """Write the line before the first step: the figures of the policy that has not been trained yet, if there are any."""
        if evaluation:
            self._files.append(METRICS, {"step": 0, **evaluation})

    def record_evaluation(self, metrics: Metrics, step: int) -> None:
        """Write the figures of an evaluation."""
        self._files.append(EVALUATIONS, {"step": step, **metrics})
        self._on_event(EvaluationFinished(step, metrics))

    def record_warmstart_step(self, row: Metrics, *, num_steps: int) -> None:
        """Write the line of an optimiser step of the warm start."""
        self._files.append(METRICS, row)
        self._on_event(WarmstartProgress(int(row["step"] or 0), num_steps, row))

    def record_held_out(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the figures of demonstrations that the warm start never trains on."""
        self._files.append(EVALUATIONS, {"step": step, **metrics})
        self._on_event(HeldOutScored(step, metrics))

    def book_services(self, step: int, stage: Literal["training", "evaluation"]) -> None:
        """Write the usage of services since the last time."""
        if self.accounts is None:
            return
        row: dict[str, Any] = {"step": step, "stage": stage, **self.accounts.ledger.take()}
        self._files.append(SERVICES, row)
        self.write_spent()
        self._on_event(ServicesBooked(step, stage, row, self.accounts.budget.describe()))

    def write_spent(self) -> None:
        """Write the amounts spent on services in all."""
        if self.writes and self.accounts is not None:
            self.accounts.budget.spent.write(self.directory / SPENT)

    # ------------------------------------------------------------------------------------------------------ contention

    def watch_processors(self, *, wall_seconds: float, cpu_seconds: float) -> None:
        """Say once where work on this CPU waits for other programs.

        Args:
            wall_seconds: wall time of a piece of work which waits for nothing but the processors.
            cpu_seconds: CPU time of this process meanwhile, all threads together.
        """
        message = self._contention.observe(wall_seconds=wall_seconds, cpu_seconds=cpu_seconds)
        if message is not None:
            self.warn(message)
