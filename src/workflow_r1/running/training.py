"""One run of training without a terminal, whichever engine trains.

:func:`train` prepares, makes the run directory, follows the engine, and leaves the run's report behind. It reports its
progress as events (``recording.events``).
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_r1.errors import (
    BudgetExceededError,
    CheckpointError,
    ConfigError,
    DataError,
    UserError,
)
from workflow_r1.recording.events import (
    EvaluationFinished,
    Event,
    OnEvent,
    RunOpened,
    RunStarted,
    StepFinished,
    StopRequested,
    Warned,
    ignore,
)
from workflow_r1.recording.run_files import EVALUATIONS, METRICS, trajectories_file
from workflow_r1.running.configuration import Overrides, open_config
from workflow_r1.running.engines import ENGINES, Cause, Engine, EngineRun, Outcome
from workflow_r1.running.interrupts import Stop
from workflow_r1.running.processes import joined
from workflow_r1.running.run_directory import check_place, discard_if_unused, make_run_directory, write_description
from workflow_r1.running.saving import check_can_make

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.recording.metrics import Metrics
    from workflow_r1.reports import Tracker
    from workflow_r1.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Outcome of a run of training, and the places of its results."""

    directory: Path
    """The run directory (``docs/reference/run-directory.md``)."""
    cause: Cause
    """``finished``: all steps are done.

    ``interrupted``: a resume continues. ``budget``: a resume with a higher limit continues.
    """
    step: int
    """Steps that are complete and kept."""
    evaluation: "Metrics"
    """The last held-out figures, keys ``evaluation/...`` or ``held_out/...``; empty where there were no held-out questions."""
    exceeded: BudgetExceededError | None = None
    """The reached limit and the amount spent, where the cause is ``budget``."""

    @property
    def policy_directory(self) -> Path | None:
        """The trained policy in Hugging Face format; None where the run saved none yet."""
        policy = self.directory / "policy"
        return policy if policy.is_dir() else None

    def metrics(self) -> list[dict[str, Any]]:
        """Read the rows of ``metrics.jsonl``, one for each step.

        ``docs/reference/run-directory.md`` explains the keys and their units.

        Raises:
            DataError: the file is damaged in more than its last line.
        """
        return _read_rows(self.directory / METRICS)

    def trajectories(self) -> "Iterator[Trajectory]":
        """Read the trajectories of all steps from the file, one at a time, in the order of the steps.

        Raises:
            DataError: the file is damaged in more than its last line.
        """
        from workflow_r1.trajectory.storage import iterate_trajectories

        file = trajectories_file(self.directory)
        return iterate_trajectories(file) if file.is_file() else iter(())


def open_run(
    config: "str | Path | RunConfig | None",
    overrides: Overrides = None,
    *,
    resume: Path | None = None,
    directory: Path | None = None,
    trust: bool = False,
) -> "RunConfig":
    """The configuration of a new run, or of the run that is resumed.

    Raises:
        ConfigError: both are asked for.
        UntrustedError: the run directory is somebody else's, and would run code or ask services.
        CheckpointError: there is nothing to resume.
    """
    if resume is None:
        return open_config(config, overrides, trust=trust)
    if config is not None or directory is not None:
        raise ConfigError(
            "expected the run to resume alone, without a configuration or an output: its own config.toml says the rest; "
            "overrides change single keys"
        )
    if not (resume / "config.toml").is_file():
        raise CheckpointError(f"expected a run directory to resume, found no config.toml in {resume}")
    return open_config(resume / "config.toml", overrides, trust=trust)


def train(
    config: "RunConfig",
    *,
    on_event: OnEvent = ignore,
    resume: bool = False,
    directory: Path | None = None,
    engine: Engine | None = None,
    stop: Stop | None = None,
) -> TrainResult:
    """Train from the start, or resume from the newest checkpoint.

    In the main thread the first Ctrl-C asks for a clean stop, and a second one raises ``KeyboardInterrupt``; a handler
    that the caller has set stays.

    Args:
        config: configuration of the run.
        on_event: receives the events, on this thread.
        resume: continue the run in ``directory``.
        directory: directory of the run, new or empty; None makes one under ``config.directory``.
        engine: the engine; None takes the one that the configuration names.
        stop: lets another thread ask for a clean stop.

    Raises:
        UserError: the configuration, a file, the run directory or a checkpoint cannot be used; nothing is left behind.
        ServiceError: a service failed; the newest checkpoint stands.
        ProcessLostError: another process of the run was lost.
    """
    from workflow_r1.running.policies import require_trainable
    from workflow_r1.running.policy_fit import refuse_misfit, slow_precision, unlearnt

    require_trainable(config.policy)
    refuse_misfit(config)
    engine = engine or ENGINES[config.engine]
    with joined(config.policy.device, timeout_minutes=config.training.peer_timeout_minutes) as ranks:
        is_main = ranks is None or ranks.is_main
        together = nullcontext if ranks is None else ranks.agreeing
        tell = on_event if is_main else ignore
        # Everything that can be refused is refused before anything is written.
        with together():
            if not resume and is_main:
                check_place(directory)
                check_can_make(directory or config.directory)
        with together():
            start = engine.prepare(config, tell)
        with together():
            place = _open_directory(config, directory, engine, resume=resume) if is_main or resume else Path()
        place = place if ranks is None else ranks.from_main(place)
        tell(RunOpened(place, engine.title.format(title=_title(config))))
        for finding in (*unlearnt(config), *slow_precision(config)):
            tell(Warned(f"{finding.found}; {finding.remedy}"))
        try:
            with _followed(config, place, tell, is_main=is_main, resume=resume) as receive:
                run = start(directory=place, on_event=receive, ranks=ranks)
                outcome = _run(run, engine, tell, stop or Stop(), resume=resume)
        except UserError:
            if is_main:
                discard_if_unused(place)
            raise
        if is_main:
            _report(place, tell)
    # An engine answers with what it evaluated itself: nothing where all was done before, or where another program trains.
    evaluation = outcome.evaluation or _last_evaluation(place)
    return TrainResult(place, outcome.cause, outcome.step, evaluation, outcome.exceeded)


def _open_directory(config: "RunConfig", directory: Path | None, engine: Engine, *, resume: bool) -> Path:
    if not resume:
        return make_run_directory(config, directory, kind=engine.kind)
    if directory is None:
        raise ConfigError("expected the directory of the run to resume, received none")
    return directory


@contextmanager
def _followed(config: "RunConfig", directory: Path, tell: OnEvent, *, is_main: bool, resume: bool) -> Iterator[OnEvent]:
    """Pass events on, to the configured trackers too."""
    from workflow_r1.reports import open_trackers

    trackers: list[Tracker] = []

    def receive(event: Event) -> None:
        tell(event)
        if isinstance(event, RunStarted) and resume and is_main:
            # The checkpoint has taken the overrides: from here on they are the run's.
            write_description(directory, config)
        # The line of a step holds its evaluation; only the one before the first step has no line of a step.
        if isinstance(event, StepFinished) or (isinstance(event, EvaluationFinished) and event.step == 0):
            for tracker in trackers:
                tracker.log(event.metrics, step=event.step)

    try:
        if is_main:
            trackers += open_trackers(
                config.logging,
                directory,
                configuration=config.model_dump(mode="json"),
                first_step=_num_done(directory) if resume else 0,
            )
        yield receive
    finally:
        for tracker in trackers:
            tracker.close()


def _run(run: EngineRun, engine: Engine, tell: OnEvent, stop: Stop, *, resume: bool) -> Outcome:
    """Let the engine train; the first Ctrl-C is a request to stop."""
    from workflow_r1.engines.native.interrupt import stop_on_interrupt

    def request_stop() -> None:
        tell(StopRequested(engine.after_stop))
        run.request_stop()

    stop.attach(request_stop)
    with stop_on_interrupt(request_stop):
        return run.run(resume)


def _report(directory: Path, tell: OnEvent) -> None:
    """Draw the curve and write the summary; a run that has no step yet has neither."""
    from workflow_r1.running.reports import report_run

    try:
        written = report_run(directory)
    except DataError:
        return
    if written.missing is not None:
        tell(Warned(f"no picture: {written.missing}"))


def _last_evaluation(directory: Path) -> "Metrics":
    """Read the last held-out figures of a run; empty without any, and where they cannot be read."""
    try:
        rows = _read_rows(directory / EVALUATIONS)
    except DataError:
        return {}
    return {key: value for key, value in rows[-1].items() if key != "step"} if rows else {}


def _read_rows(file: Path) -> list[dict[str, Any]]:
    """Read the rows of a file that a run may still be writing; none where it is missing."""
    from workflow_r1.reports.run_record import read_rows

    return read_rows(file) if file.is_file() else []


def _num_done(directory: Path) -> int:
    """Steps that the newest checkpoint has behind it; 0 without one."""
    newest = newest_checkpoint(directory)
    return 0 if newest is None else int(newest.rpartition("-")[2])


def newest_checkpoint(directory: Path) -> str | None:
    """Return the name of a run's newest checkpoint:

    ``step-N`` of the native engine, ``checkpoint-N`` of TRL; None without one.
    """
    names = [path.name for kind in ("step", "checkpoint") for path in (directory / "checkpoints").glob(f"{kind}-*")]
    return max(names, key=lambda name: int(name.rpartition("-")[2]), default=None)


def _title(config: "RunConfig") -> str:
    """Title of a run; the task's own class says whether it is a simulation."""
    from workflow_r1.config.run import QUESTIONS
    from workflow_r1.running.simulation import is_simulated

    return config.title if config.task == QUESTIONS else config.titled(simulation=is_simulated(config))
