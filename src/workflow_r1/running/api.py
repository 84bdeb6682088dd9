"""The commands as functions: the names that ``workflow_r1`` exports.

Each takes the arguments of its command: a preset's name, a TOML file, a run directory, or a
:class:`~workflow_r1.config.RunConfig`, with overrides as ``"section.key=value"`` texts or as a mapping. Each returns a
typed result and raises the project's errors (``workflow_r1.errors``). Nothing is printed unless ``progress=True``. All
work in a script and where an event loop runs, as in a notebook: there the work runs in a thread of its own, and Ctrl-C
(a notebook's "interrupt") stops it cleanly.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from workflow_r1.running.configuration import Overrides, open_config, with_questions
from workflow_r1.running.interrupts import Stop, run_anywhere

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.recording.events import Event, OnEvent
    from workflow_r1.running.asking import AskEvent
    from workflow_r1.running.display import AnsweringDisplay, TrainingDisplay
    from workflow_r1.running.engines import Engine
    from workflow_r1.running.evaluation import Evaluation
    from workflow_r1.running.policies import OpenedMethod
    from workflow_r1.running.rollouts import Rollouts
    from workflow_r1.running.training import TrainResult
    from workflow_r1.trajectory import Trajectory

__all__ = ["ask", "evaluate", "load_config", "open_policy", "roll_out", "train", "warm_start"]

Place = str | Path
"""A file or directory."""
Occurrence = TypeVar("Occurrence")


def load_config(
    source: "Place | RunConfig | None" = None, overrides: Overrides = None, *, trust: bool = False
) -> "RunConfig":
    """Read a configuration.

    Args:
        source: a preset's name (``embedded``, ``embedded-hard``, ``smollm2-hotpotqa``, ``paper``, ...), a TOML file, a run directory (its
            configuration with its trained policy), or a configuration; None is the embedded quickstart.
        overrides: single keys to set: ``"training.steps=2"``, a list of such texts, or ``{"training.steps": 2}``.
        trust: trust a run directory that somebody else may have made; every function then takes it, since it is remembered.

    Raises:
        ConfigError: the message names every wrong key and value, the expected one, and the nearest right key.
        UntrustedError: the run directory was not made here, and its configuration would run code or ask services.
    """
    return open_config(source, overrides, trust=trust)


def train(
    config: "Place | RunConfig | None" = None,
    overrides: Overrides = None,
    *,
    resume: Place | None = None,
    output: Place | None = None,
    progress: bool = False,
    on_event: "OnEvent | None" = None,
) -> "TrainResult":
    """Train a policy by reinforcement learning (GSsPO), with the engine that the configuration names.

    Args:
        config: see :func:`load_config`.
        overrides: see :func:`load_config`.
        resume: directory of a run that continues from its newest checkpoint, in place of ``config``.
        output: directory of the run, new or empty; None makes one under the configuration's ``directory``.
        progress: show the progress: a live board in a terminal, a line for each step in a notebook.
        on_event: receives the events (``workflow_r1.recording.events``), on the thread that trains.

    Returns:
        Metrics, trajectories and the directory of the policy. Its ``cause`` is ``interrupted`` where Ctrl-C stopped it.

    Raises:
        UserError: the configuration, a file, the directory or a checkpoint cannot be used; nothing is left behind.
        ServiceError: a service failed; the newest checkpoint stands.
        KeyboardInterrupt: the second Ctrl-C, which does not wait for the step to end.
    """
    return _train(config, overrides, resume, output, progress, on_event)


def warm_start(
    config: "Place | RunConfig | None" = None,
    overrides: Overrides = None,
    *,
    resume: Place | None = None,
    output: Place | None = None,
    progress: bool = False,
    on_event: "OnEvent | None" = None,
) -> "TrainResult":
    """Teach a policy the grammar from demonstrations, before reinforcement learning.

    The arguments, the result and the errors are those of :func:`train`; ``warmstart.demonstrations`` names the file to
    imitate.
    """
    from workflow_r1.running.engines import WARM_START

    return _train(config, overrides, resume, output, progress, on_event, engine=WARM_START)


def _train(
    config: "Place | RunConfig | None",
    overrides: Overrides,
    resume: Place | None,
    output: Place | None,
    progress: bool,
    on_event: "OnEvent | None",
    engine: "Engine | None" = None,
) -> "TrainResult":
    from workflow_r1.running.display import TrainingDisplay
    from workflow_r1.running.training import open_run
    from workflow_r1.running.training import train as train_policy

    resumed, directory = _path(resume), _path(output)
    settings = open_run(config, overrides, resume=resumed, directory=directory)

    def work(stop: Stop) -> "TrainResult":
        with _shown(TrainingDisplay, progress) as display:
            return train_policy(
                settings,
                on_event=_both(display, on_event),
                resume=resumed is not None,
                directory=resumed or directory,
                engine=engine,
                stop=stop,
            )

    return run_anywhere(work)


def evaluate(
    config: "Place | RunConfig | None" = None,
    overrides: Overrides = None,
    *,
    methods: str | Sequence[str] = ("policy",),
    benchmarks: str | Sequence[str] = (),
    questions: Place | None = None,
    data: Place = "data",
    limit: int | None = None,
    seeds: Sequence[int] | None = None,
    repeats: int = 1,
    temperature: float = 0.0,
    attempts: int = 2,
    reference: str | None = None,
    unicode_normalise: bool = False,
    output: Place | None = None,
    progress: bool = False,
    on_event: "OnEvent | None" = None,
) -> "Evaluation":
    """Let methods answer the questions of benchmarks, and compare them: exact match with 95% intervals, tests, and cost.

    Args:
        config: see :func:`load_config`.
        overrides: see :func:`load_config`.
        methods: ``policy`` and names of ``docs/reference/methods.md``; ``NAME=DIR`` is the policy of a run or a Hugging
            Face model.
        benchmarks: names, files, or ``NAME=FILE``; none takes the configuration's held-out questions.
        questions: a file of questions in place of the configuration's held-out ones.
        data: directory of fetched benchmarks.
        limit: only the first so many questions of each benchmark.
        seeds: each method runs under all; None takes the configuration's.
        repeats: answers to each question under a seed.
        temperature: sampling temperature of the policy; 0 is greedy.
        attempts: most times that a question is asked where the infrastructure fails.
        reference: method that the others are tested against; None is the first.
        unicode_normalise: ignore accents, kinds of dashes and the like; SQuAD's scores do not.
        output: directory of everything; an unfinished evaluation there is continued. None makes one.
        progress: show the progress.
        on_event: receives the events (``workflow_r1.recording.events``).

    Returns:
        Comparison, figures, rows and the directory.

    Raises:
        UserError: an argument or a file cannot be used.
        BudgetExceededError: the budget is used up; the answers that are done are kept.
        ServiceError: a service refuses or is down.
    """
    from workflow_r1.running.display import AnsweringDisplay
    from workflow_r1.running.evaluation import evaluate as carry_out
    from workflow_r1.running.evaluation import plan_evaluation

    plan = plan_evaluation(
        with_questions(load_config(config, overrides), _path(questions)),
        methods=_listed(methods),
        benchmarks=_listed(benchmarks),
        data=Path(data),
        limit=limit,
        seeds=seeds,
        repeats=repeats,
        temperature=temperature,
        attempts=attempts,
        unicode_normalise=unicode_normalise,
        reference=reference,
    )

    def work(stop: Stop) -> "Evaluation":
        with _shown(AnsweringDisplay, progress) as display:
            return carry_out(plan, directory=_path(output), on_event=_both(display, on_event), stop=stop)

    return run_anywhere(work)


def ask(
    config: "Place | RunConfig | None" = None,
    question: str | None = None,
    overrides: Overrides = None,
    *,
    method: str = "policy",
    temperature: float = 0.0,
    seed: int | None = None,
    progress: bool = False,
    on_event: "Callable[[AskEvent], None] | None" = None,
) -> "Trajectory":
    """Ask one question: ``ask("runs/X", "Who directed Jaws?")``, or ``ask("Who directed Jaws?")`` of the embedded policy.

    Args:
        config: see :func:`load_config`; alone, and naming no configuration, it is the question.
        question: None draws a held-out one of the configuration, whose answer is then scored.
        overrides: see :func:`load_config`.
        method: ``policy``, or a fixed workflow such as ``direct``, ``cot`` or ``ensemble``.
        temperature: sampling temperature of the policy; 0 is greedy.
        seed: draws the held-out question, and seeds the sampling.
        progress: show the turns as they come.
        on_event: receives the turns as they come.

    Returns:
        The trajectory, with its ``answer``. Where a service failed there is no answer, and ``error`` says why.

    Raises:
        ConfigError: the configuration cannot be used, or a path stands where the question is expected.
        ServiceError: a service refuses, or cannot be reached at the start.
    """
    from workflow_r1.running.asking import ask as ask_method
    from workflow_r1.running.asking import split_question

    if config is None or isinstance(config, str):
        config, question = split_question(config, question)
    settings = load_config(config, overrides)

    def work(stop: Stop) -> "Trajectory":
        if not progress:
            return ask_method(
                settings, question, method=method, temperature=temperature, seed=seed, on_event=on_event, stop=stop
            )
        from workflow_r1.running.terminal import Terminal
        from workflow_r1.running.trace import LiveTrace

        trace = LiveTrace(Terminal(force_jupyter=False), currency=settings.prices.currency)
        with trace.live():
            trajectory = ask_method(
                settings, question, method=method, temperature=temperature, seed=seed,
                on_event=_both(trace, on_event), stop=stop,
            )  # fmt: skip
        trace.show_outcome(trajectory)
        return trajectory

    return run_anywhere(work)


def roll_out(
    config: "Place | RunConfig | None" = None,
    overrides: Overrides = None,
    *,
    output: Place,
    questions: Place | None = None,
    limit: int | None = None,
    group_size: int = 1,
    method: str = "policy",
    temperature: float | None = None,
    seed: int | None = None,
    progress: bool = False,
    on_event: "OnEvent | None" = None,
) -> "Rollouts":
    """Sample trajectories of a policy over questions into a JSONL file.

    Args:
        config: see :func:`load_config`.
        overrides: see :func:`load_config`.
        output: the file; must not exist yet.
        questions: a file of questions in place of the configuration's held-out ones.
        limit: only the first so many questions.
        group_size: trajectories of each question.
        method: ``policy``, or the name of a fixed workflow.
        temperature: sampling temperature; None takes the configuration's.
        seed: seed of the sampling; None takes the configuration's.
        progress: show the progress.
        on_event: receives the events (``workflow_r1.recording.events``).

    Raises:
        UserError: an argument or a file cannot be used, or the output exists.
        BudgetExceededError: the budget is used up; the trajectories that are finished are kept.
        ServiceError: a service refuses, or cannot be reached at the start.
    """
    from workflow_r1.running.display import AnsweringDisplay
    from workflow_r1.running.rollouts import roll_out as sample

    settings = with_questions(load_config(config, overrides), _path(questions))

    def work(stop: Stop) -> "Rollouts":
        with _shown(AnsweringDisplay, progress) as display:
            return sample(
                settings,
                output=Path(output),
                method=method,
                limit=limit,
                group_size=group_size,
                temperature=temperature,
                seed=seed,
                on_event=_both(display, on_event),
                stop=stop,
            )

    return run_anywhere(work)


def open_policy(
    config: "Place | RunConfig | None" = None,
    overrides: Overrides = None,
    *,
    method: str = "policy",
    temperature: float | None = None,
) -> "OpenedMethod":
    """Open a policy with its environments, for a rollout loop of your own.

    ``async with open_policy("runs/X") as opened`` gives ``opened.policy`` and ``opened.make_environment(question)``, which
    ``workflow_r1.rollout.rollout`` takes; its end closes the connections.

    Args:
        config: see :func:`load_config`.
        overrides: see :func:`load_config`.
        method: ``policy``, or the name of a fixed workflow.
        temperature: sampling temperature; None takes the configuration's.

    Raises:
        UserError: there is no such method or model, or the configuration cannot be used.
    """
    from workflow_r1.running.policies import open_method

    settings = load_config(config, overrides)
    heat = settings.sampling.temperature if temperature is None else temperature
    return open_method(settings, method, temperature=heat)


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place)


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _shown(
    display: "type[TrainingDisplay] | type[AnsweringDisplay]", progress: bool
) -> "AbstractContextManager[TrainingDisplay | AnsweringDisplay | None]":
    return display() if progress else nullcontext()


def _both(display: Any, on_event: Callable[[Occurrence], None] | None) -> Callable[[Any], None]:
    """Call the display and the caller's function, where they exist."""
    receivers = [*([] if display is None else [display.receive]), *([] if on_event is None else [on_event])]

    def receive(event: "Event | AskEvent") -> None:
        for each in receivers:
            each(event)

    return receive
