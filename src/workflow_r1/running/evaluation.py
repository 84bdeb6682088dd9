"""One evaluation without a terminal: planned, asked, compared once, and kept in its directory.

:func:`plan_evaluation` reads methods and benchmarks into an :class:`EvaluationPlan`; :func:`evaluate` carries it out.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.errors import UserError
from workflow_r1.evaluation.harness import ROWS, EvaluationLog, Key, ask, draws_of
from workflow_r1.recording.events import (
    AnsweringStarted,
    Noted,
    OnEvent,
    Preparing,
    RunOpened,
    TrajectoryFinished,
    ignore,
)
from workflow_r1.running.compared import Asked, Compared, read_benchmarks, read_methods
from workflow_r1.running.configuration import check_at_least
from workflow_r1.running.interrupts import Stop, run_loop
from workflow_r1.running.policies import POLICY, open_method, pool_of
from workflow_r1.running.policy_fit import note_slow_precision
from workflow_r1.running.saving import check_can_make

if TYPE_CHECKING:
    from workflow_r1.accounting import Accounts
    from workflow_r1.config import RunConfig
    from workflow_r1.evaluation import Figures
    from workflow_r1.evaluation.card import EvaluationCard
    from workflow_r1.evaluation.comparison import Comparison, MethodFigures
    from workflow_r1.evaluation.rows import EvaluationRow
    from workflow_r1.operators import OperatorServices
    from workflow_r1.running.reports import WrittenReport
    from workflow_r1.trajectory import Trajectory

SUMMARY = "summary.json"
SERVICES = "services.json"
SPENT = "spent.json"

SPENT_SECONDS = 10.0
"""Seconds between two writings of ``spent.json``: a killed process has left all but the last ones' spending there."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """Methods, benchmarks and rules of an evaluation."""

    config: "RunConfig"
    """The services, and the policy where a method does not bring its own."""
    compared: tuple[Compared, ...]
    """The methods, in the order in which they are asked."""
    asked: tuple[Asked, ...]
    """The benchmarks."""
    seeds: tuple[int, ...]
    """Seeds from which all searches, trainings and draws derive; each method runs under all."""
    repeats: int = 1
    """Answers to each question under a seed."""
    temperature: float = 0.0
    """Sampling temperature of the policy; 0 is greedy."""
    attempts: int = 2
    """Most times that a question is asked where the infrastructure fails."""
    unicode_normalise: bool = False
    """True where accents, dashes and the like do not matter."""
    reference: str | None = None
    """The method that the others are tested against; None is the first."""

    @property
    def is_simulated(self) -> bool:
        """True where any question, or any service that a method needs, is the embedded world's."""
        from workflow_r1.running.simulation import is_simulated

        return any(one.is_embedded for one in self.asked) or any(
            is_simulated(one.config, one.method, own_questions=True) for one in self.compared
        )

    @property
    def title(self) -> str:
        """Title of the evaluation."""
        return self.config.titled(simulation=self.is_simulated)


def plan_evaluation(
    config: "RunConfig",
    *,
    methods: Sequence[str] = (POLICY,),
    benchmarks: Sequence[str] = (),
    data: Path = Path("data"),
    limit: int | None = None,
    seeds: Sequence[int] | None = None,
    repeats: int = 1,
    temperature: float = 0.0,
    attempts: int = 2,
    unicode_normalise: bool = False,
    reference: str | None = None,
    trust: bool = False,
) -> EvaluationPlan:
    """Read the plan of an evaluation. The other arguments are the plan's fields.

    Args:
        config: configuration of the evaluation.
        methods: names; ``NAME=DIR`` is the policy of a run or of a Hugging Face model.
        benchmarks: names, files or ``NAME=FILE``; none takes the configuration's held-out questions.
        data: directory of fetched benchmarks.
        limit: only the first so many questions of each benchmark.
        seeds: seeds of the plan; None takes the configuration's.
        repeats: see the plan.
        temperature: see the plan.
        attempts: see the plan.
        unicode_normalise: see the plan.
        reference: see the plan.
        trust: the user trusts the run directories among the methods.

    Raises:
        UserError: a number is out of range, there is no such method, benchmark or reference, or a file of questions
            cannot be read.
    """
    check_at_least(1, limit=limit, repeats=repeats, attempts=attempts)
    check_at_least(0, temperature=temperature)
    chosen = (config.seed,) if seeds is None else tuple(seeds)
    if len(set(chosen)) < len(chosen) or not chosen:
        raise UserError(f"seed: expected every seed once, received {', '.join(map(str, chosen)) or 'none'}")
    compared = read_methods(config, methods, seeds=chosen, trust=trust)
    if not compared:
        raise UserError("method: expected at least one, received none")
    if reference is not None and reference not in [one.name for one in compared]:
        raise UserError(f"reference: expected one of the methods, received {reference!r}")
    return EvaluationPlan(
        config=config,
        compared=tuple(compared),
        asked=tuple(read_benchmarks(config, benchmarks, directory=data, limit=limit)),
        seeds=chosen,
        repeats=repeats,
        temperature=temperature,
        attempts=attempts,
        unicode_normalise=unicode_normalise,
        reference=reference,
    )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Findings of an evaluation, and their directory."""

    directory: Path
    """Rows, trajectories, summary and report (``docs/how-to/evaluation.md``)."""
    comparison: "Comparison"
    """Figures with their intervals, and paired tests, over all rows of the directory."""
    accounts: "Accounts"
    """Accounts of the services in this call."""
    report: "WrittenReport | None" = None
    """The report; None where one method answered one benchmark."""
    classes: "Mapping[str, Figures]" = field(default_factory=dict)
    """Figures over ``all`` questions and by class of question, where one method answered one benchmark."""

    @property
    def figures(self) -> "tuple[MethodFigures, ...]":
        """Figures of each method on each benchmark, by benchmark and method."""
        return self.comparison.figures

    def rows(self) -> "Iterator[EvaluationRow]":
        """Read the answers from the file, one at a time; a later one of the same key replaces an earlier one.

        Raises:
            DataError: the file is damaged in more than its last line.
        """
        from workflow_r1.evaluation.rows import iterate_rows

        file = self.directory / ROWS
        return iter(iterate_rows(file)) if file.is_file() else iter(())

    def trajectories(self, method: str = POLICY, benchmark: str = "embedded") -> "list[Trajectory]":
        """Read the trajectories of a method's answers on a benchmark.

        Raises:
            DataError: the file is damaged in more than its last line.
        """
        return EvaluationLog(self.directory).trajectories(method, benchmark)

    @property
    def num_failed(self) -> int:
        """Answers that the infrastructure failed; they are left out of all figures."""
        return sum(row.statuses.get("failed", 0) for row in self.figures)

    def first_failure(self) -> str | None:
        """Error of the first failed answer; None without a failure."""
        for row in self.figures:
            for trajectory in self.trajectories(row.method, row.benchmark) if row.statuses.get("failed") else ():
                if trajectory.stop_reason.is_infrastructure:
                    return trajectory.error or trajectory.stop_reason
        return None


def evaluate(
    plan: EvaluationPlan, *, directory: Path | None = None, on_event: OnEvent = ignore, stop: Stop | None = None
) -> Evaluation:
    """Let every method answer every question, and compare.

    Args:
        plan: methods and benchmarks.
        directory: directory of all results. An unfinished evaluation there is continued; methods, benchmarks, seeds and
            repeats may be added to one that is there. None makes one under ``config.directory``.
        on_event: receives the events.
        stop: lets another thread end it; the answers that are done are kept.

    Raises:
        UserError: a part of the plan cannot be used, or the directory holds another evaluation.
        BudgetExceededError: the budget is used up; the answers that are done are kept.
        ServiceError: a service refuses, or so many questions failed in a row that it must be down.
    """
    from workflow_r1.accounting import Spent
    from workflow_r1.assembly.services import open_accounts
    from workflow_r1.trajectory.storage import write_atomically

    config = plan.config
    check_can_make(directory or config.directory)
    on_event(Preparing("getting ready"))
    accounts = open_accounts(config.prices, config.budget, timed=True)
    services = _shared_services(plan, accounts)
    _check_services(plan, services)
    with _open_directory(plan, directory, stop) as place:
        on_event(RunOpened(place, plan.title))
        log = EvaluationLog(place)
        accounts.budget.restart(Spent.read(place / SPENT))
        try:
            run_loop(lambda: _ask_all_counted(plan, log, services=services, accounts=accounts, on_event=on_event), stop)
        finally:
            accounts.budget.spent.write(place / SPENT)
        described = {"currency": config.prices.currency, **accounts.ledger.rows()}
        write_atomically(place / SERVICES, json.dumps(described, indent=2, ensure_ascii=False) + "\n")
        return _summarise(plan, log, accounts, on_event)


def _shared_services(plan: EvaluationPlan, accounts: "Accounts") -> "OperatorServices":
    """Return the services of all methods' operators: one client for each endpoint, one index, one budget."""
    from workflow_r1.assembly.services import build_services
    from workflow_r1.assembly.tasks import build_task, needs_of

    operators = {name: each for one in plan.compared for name, each in pool_of(one.config, one.method).items()}
    return build_services(
        plan.config.services,
        plan.config.pool,
        names=tuple(operators),
        operators=operators,
        accounts=accounts,
        needs=needs_of(build_task(plan.config.chosen_task)),
    )


def _check_services(plan: EvaluationPlan, services: "OperatorServices") -> None:
    from workflow_r1.running.services import check_served_policy, check_services

    check_services(plan.config.services, services)
    for one in plan.compared:
        if one.method == POLICY:
            for config_of_seed in {id(each): each for each in one.configs.values()}.values():
                check_served_policy(config_of_seed.policy, config_of_seed.llm)


def _make_card(plan: EvaluationPlan, stop: Stop | None) -> "EvaluationCard":
    from workflow_r1.evaluation.card import (
        EvaluationCard,
        describe_llm,
        describe_scoring,
        describe_search,
        fingerprint_of_prompts,
    )
    from workflow_r1.running.audit import sample_shown
    from workflow_r1.running.run_directory import describe_environment

    config = plan.config
    looked = sample_shown(config, {one.name: one.questions for one in plan.asked}, stop=stop)
    return EvaluationCard(
        title=config.name,
        is_simulation=plan.is_simulated,
        methods={one.name: one.describe(plan.temperature) for one in plan.compared},
        benchmarks={one.name: one.describe() for one in plan.asked},
        seeds=plan.seeds,
        repeats=plan.repeats,
        llm=describe_llm(config.llm, world=config.embedded),
        search=describe_search(config.search, world=config.embedded),
        scoring=describe_scoring(unicode_normalise=plan.unicode_normalise, task=_task_of(plan), reward=config.reward),
        prompts=fingerprint_of_prompts(),
        audit={name: {"questions": found.questions, "shown": found.shown} for name, found in looked.items()},
        runs=(describe_environment(),),
    )


def _task_of(plan: EvaluationPlan) -> str | None:
    """Return the name of the task, where it judges its own episodes."""
    described = plan.asked[0].task
    return None if described is None else str(described["name"])


@contextmanager
def _open_directory(plan: EvaluationPlan, output: Path | None, stop: Stop | None) -> Iterator[Path]:
    """Hold a new directory, or one that holds an evaluation which this one can continue or be added to."""
    from workflow_r1.evaluation.card import CARD, EvaluationCard
    from workflow_r1.recording.run_lock import hold_run_directory
    from workflow_r1.running.run_directory import is_described_only, make_run_directory

    card = _make_card(plan, stop)
    if output is not None and ((output / CARD).is_file() or is_described_only(output)):
        directory = output
    else:
        names = [one.name for one in plan.compared]
        kind = names[0] if len(names) == 1 else f"{len(names)}-methods"
        directory = make_run_directory(plan.config, output, kind=f"evaluation-{kind}", option=None)
    with hold_run_directory(directory):
        if (directory / CARD).is_file():
            card = card.join(EvaluationCard.read(directory), directory=directory)
        card.write(directory)
        yield directory


async def _ask_all_counted(
    plan: EvaluationPlan,
    log: EvaluationLog,
    *,
    services: "OperatorServices",
    accounts: "Accounts",
    on_event: OnEvent,
) -> None:
    async with _writing_spent(accounts, log.directory / SPENT):
        await _ask_all(plan, log, services=services, accounts=accounts, on_event=on_event)


@asynccontextmanager
async def _writing_spent(accounts: "Accounts", file: Path) -> AsyncIterator[None]:
    """Write the amounts spent now and then, off the event loop, for as long as the context lasts."""

    async def write() -> None:
        while True:
            await asyncio.sleep(SPENT_SECONDS)
            with suppress(OSError):  # A full disk is reported at the end.
                await asyncio.to_thread(accounts.budget.spent.write, file)

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        writing.cancel()


async def _ask_all(
    plan: EvaluationPlan,
    log: EvaluationLog,
    *,
    services: "OperatorServices",
    accounts: "Accounts",
    on_event: OnEvent,
) -> None:
    """Every method under every seed, one after the other: searched where it searches, then asked."""
    from workflow_r1.config import change_settings

    done = log.done()
    benchmarks = {one.name: one.questions for one in plan.asked}
    for one in plan.compared:
        for seed in plan.seeds:
            keys: list[Key] = [
                (one.name, benchmark, question.id, seed, repeat)
                for benchmark, questions in benchmarks.items()
                for question in questions
                for repeat in range(plan.repeats)
            ]
            num_done = sum(key in done for key in keys)
            if num_done == len(keys):
                continue
            opened = open_method(
                change_settings(one.configs[seed], {"seed": seed}),
                one.method,
                temperature=plan.temperature,
                accounts=accounts,
                services=services.redrawn(draws_of(seed, 0)),
                questions=[question for questions in benchmarks.values() for question in questions],
                directory=log.search_directory(one.name, seed),
                unicode_normalise=plan.unicode_normalise,
                notify=lambda line: on_event(Noted(line)),
            )
            title = f"{one.config.titled(simulation=plan.is_simulated)}: {one.name}" + (
                f", seed {seed}" if len(plan.seeds) > 1 else ""
            )
            async with opened:
                if opened.search is not None:
                    await opened.search()
                if one.method == POLICY:
                    note_slow_precision(one.configs[seed], on_event)
                on_event(AnsweringStarted(title, total=len(keys), done=num_done))
                await ask(
                    one.name,
                    benchmarks,
                    policy=opened.policy,
                    make_environments=[
                        opened.make_environments(services.redrawn(draws_of(seed, repeat)))
                        for repeat in range(plan.repeats)
                    ],
                    seed=seed,
                    log=log,
                    done=done,
                    concurrency=one.config.sampling.max_sessions,
                    num_calls_left=lambda: accounts.budget.num_calls_left,
                    attempts=plan.attempts,
                    score=opened.score,
                    on_answer=_Counter(num_done, len(keys), on_event),
                )


class _Counter:
    """Reports each answer as a numbered event."""

    def __init__(self, done: int, total: int, on_event: OnEvent) -> None:
        self._done, self._total, self._on_event = done, total, on_event

    def __call__(self, row: "EvaluationRow", trajectory: "Trajectory") -> None:
        self._done += 1
        self._on_event(TrajectoryFinished(self._done, self._total, trajectory))


def _summarise(plan: EvaluationPlan, log: EvaluationLog, accounts: "Accounts", on_event: OnEvent) -> Evaluation:
    """Summarise the rows of the directory: by class for one method on one benchmark, else in a report."""
    from workflow_r1.evaluation import compute_figures
    from workflow_r1.evaluation.answers import collect_answers
    from workflow_r1.evaluation.figures import figures_by_class
    from workflow_r1.evaluation.rows import iterate_rows
    from workflow_r1.reports.evaluation import build_report
    from workflow_r1.running.reports import report_evaluations
    from workflow_r1.trajectory.storage import write_atomically

    answered = collect_answers(iterate_rows(log.directory / ROWS))
    methods = {method for method, _ in answered.answers}
    first = plan.compared[0].name
    reference = plan.reference or (first if len(methods) > 1 and first in methods else None)
    report: WrittenReport | None = None
    classes: dict[str, Figures] = {}
    if len(answered.answers) == len(plan.compared) == len(plan.asked) == 1:
        comparison = build_report([log.directory], reference=reference, log=answered).comparison
        trajectories = log.trajectories(first, plan.asked[0].name)
        classes = {"all": compute_figures(trajectories), **figures_by_class(trajectories)}
    else:
        report = report_evaluations(
            [log.directory], reference=reference, log=answered, notify=lambda line: on_event(Preparing(line))
        )
        comparison = report.record.comparison
    summary = comparison.model_dump(mode="json")
    if classes:
        figures = {name: each.model_dump(mode="json") for name, each in classes.items()}
        summary |= {"all": figures.pop("all"), "classes": figures}
    write_atomically(log.directory / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return Evaluation(log.directory, comparison, accounts, report, classes)
