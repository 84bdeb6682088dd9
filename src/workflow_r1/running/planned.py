"""Runs of training that belong together: each has its place, is done once, and resumes; several are done at a time."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_r1.errors import ProcessLostError, UserError
from workflow_r1.recording.events import OnEvent, ignore
from workflow_r1.recording.run_files import METRICS
from workflow_r1.running.interrupts import Stop
from workflow_r1.running.run_directory import discard_if_unused

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from workflow_r1.config import RunConfig
    from workflow_r1.running.training import TrainResult

_POLL_SECONDS = 0.5
"""Seconds between looks of a process at whether it has to stop."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of training, done or not."""

    title: str
    """Name of the run in messages."""
    directory: Path
    """Its run directory."""
    config: "RunConfig"
    """Its configuration."""


def is_trained(run: PlannedRun) -> bool:
    """Return True where a run is trained to its last step.

    Raises:
        UserError: a run of other settings lies in its place.
    """
    place = run.directory
    if not _is_begun(run):
        return False
    return num_steps_done(place) >= run.config.training.steps and (place / "policy").is_dir()


def num_steps_done(directory: Path) -> int:
    """Return the last step that stands in a run's metrics; 0 without any."""
    from workflow_r1.reports.run_record import read_rows

    file = directory / METRICS
    return max((row["step"] for row in read_rows(file)), default=0) if file.is_file() else 0


def _is_begun(run: PlannedRun) -> bool:
    """Return True where a run has its description.

    Raises:
        UserError: a run of other settings lies in its place.
    """
    from workflow_r1.config import load_run_config

    file = run.directory / "config.toml"
    # A kill may leave the file empty, before anything was done.
    if not file.is_file() or not file.stat().st_size:
        return False
    if _portable(load_run_config(file)) != _portable(run.config):
        raise UserError(
            f"expected the run in {run.directory} to have the settings of this plan, but it has others; choose another "
            "--output, or remove it"
        )
    return True


def _portable(config: "RunConfig") -> dict[str, Any]:
    """Return the settings without the folders of the user's own code, which lies elsewhere on another machine."""
    settings = config.model_dump(mode="json")
    settings["task"] = Path(settings["task"]).name
    settings["plugins"] = [Path(plugin).name for plugin in settings["plugins"]]
    return settings


def train_run(run: PlannedRun, *, on_event: OnEvent = ignore, stop: Stop | None = None) -> "TrainResult":
    """Train a run, from its newest checkpoint where there is one.

    Raises:
        UserError: see ``running.training.train``.
        ServiceError: a service failed; the newest checkpoint stands.
    """
    from workflow_r1.running.training import train

    is_begun = _is_begun(run)
    if not is_begun and run.directory.is_dir():
        discard_if_unused(run.directory)
    return train(run.config, directory=run.directory, resume=is_begun, on_event=on_event, stop=stop)


def train_all(
    runs: Iterable[PlannedRun],
    *,
    jobs: int,
    on_done: Callable[[PlannedRun], None],
    is_enough: Callable[[], bool] = lambda: False,
    on_event: OnEvent = ignore,
) -> None:
    """Train the runs that are not trained yet, so many at a time.

    Args:
        runs: the runs, in order.
        jobs: processes; with 1 the runs are trained in this one.
        on_done: called with each run that has ended.
        is_enough: asked after each run whether the others need not begin.
        on_event: receives the events of runs in this process; other processes send none.

    Raises:
        KeyboardInterrupt: the runs under way have saved a checkpoint and ended.
        BudgetExceededError: a run's budget is used up.
        ProcessLostError: a process was killed.
        UserError: see :func:`train_run`.
    """
    waiting = deque(run for run in runs if not is_trained(run))
    if jobs == 1:
        while waiting and not is_enough():
            run = waiting.popleft()
            _check(train_run(run, on_event=on_event))
            on_done(run)
        return
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare, initargs=(stopping,)) as pool:
        under_way: dict[Future[TrainResult], PlannedRun] = {}
        try:
            while (waiting and not is_enough()) or under_way:
                while waiting and len(under_way) < jobs and not is_enough():
                    run = waiting.popleft()
                    under_way[pool.submit(_train_in_process, run)] = run
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    run = under_way.pop(future)
                    _check(future.result())
                    on_done(run)
        except BrokenProcessPool:
            raise ProcessLostError("a process of the runs ended without a message; it may have been killed") from None
        finally:
            stopping.set()


def _check(result: "TrainResult") -> None:
    if result.exceeded is not None:
        raise result.exceeded
    if result.cause == "interrupted":
        raise KeyboardInterrupt


_stopping: "Event | None" = None


def _prepare(stopping: "Event") -> None:
    """Prepare a process: one thread, and the end comes from the parent alone."""
    global _stopping
    _stopping = stopping
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _train_in_process(run: PlannedRun) -> "TrainResult":
    stop, over = Stop(), threading.Event()

    def watch() -> None:
        parent = os.getppid()
        while not over.wait(_POLL_SECONDS):
            if (_stopping is not None and _stopping.is_set()) or os.getppid() != parent:
                stop.request()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        return train_run(run, stop=stop)
    finally:
        over.set()
