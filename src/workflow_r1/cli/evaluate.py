"""``workflow-r1 evaluate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Overrides, Source
from workflow_r1.errors import BudgetExceededError, ServiceUnavailableError, UserError
from workflow_r1.running.configuration import open_config, with_questions

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.accounting import Accounts
    from workflow_r1.config import RunConfig
    from workflow_r1.evaluation.card import EvaluationCard
    from workflow_r1.evaluation.comparison import Comparison
    from workflow_r1.evaluation.harness import EvaluationLog, Key
    from workflow_r1.evaluation.rows import EvaluationRow
    from workflow_r1.operators import OperatorServices
    from workflow_r1.running.compared import Asked, Compared
    from workflow_r1.trajectory import Trajectory

SUMMARY = "summary.json"
SERVICES = "services.json"
SPENT = "spent.json"


def evaluate(
    config: Source = None,
    override: Overrides = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods", "--method", "-m", metavar="NAME,...",
            help="policy (the default), or others by name: docs/methods.md lists them. NAME=DIR is the policy of a run or "
            "of a Hugging Face model; {seed} in it stands for each seed. Repeatable.",
        ),
    ] = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmarks", "--benchmark", "-b", metavar="NAME,...",
            help="nq, hotpotqa, ... (`workflow-r1 data list`), embedded, a file, or NAME=FILE. Default: the configuration's "
            "held-out questions. Repeatable.", show_default=False,
        ),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions in place of the configuration's held-out ones.")
    ] = None,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Where fetched benchmarks lie, as in `workflow-r1 data fetch -d DIR`.")
    ] = Path("data"),
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many questions of each benchmark.", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds", "--seed", metavar="N,...",
            help="What is searched, learnt and drawn derives from them; each method runs under all. Default: the "
            "configuration's.", show_default=False,
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Answers to each question under a seed.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the policy; 0 is greedy.")] = 0.0,
    attempts: Annotated[
        int, typer.Option(min=1, help="How often a question is asked in all where the infrastructure fails.")
    ] = 2,
    reference: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Method that the others are tested against. Default: the first.", show_default=False),
    ] = None,
    unicode_normalise: Annotated[
        bool, typer.Option("--unicode-normalise", help="Let accents, dashes and the like not matter; SQuAD's scores do.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where everything goes. An unfinished evaluation there is gone on with; methods, benchmarks, seeds and "
            "repeats may be added to one that is there.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Let methods answer the questions of benchmarks: exact match with 95% intervals, paired tests, and cost."""
    import asyncio
    import json

    from workflow_r1.accounting import Spent
    from workflow_r1.assembly.components import open_accounts
    from workflow_r1.cli.budget import EXIT_CODE, tell_used_up
    from workflow_r1.evaluation.harness import EvaluationLog
    from workflow_r1.operators import OperatorServices
    from workflow_r1.running.compared import read_benchmarks, read_methods
    from workflow_r1.running.display import show_path
    from workflow_r1.running.policies import POLICY
    from workflow_r1.running.services import check_services
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.trajectory.storage import write_atomically

    settings = with_questions(open_config(config, override), questions)
    console = Terminal()
    chosen_seeds = _read_seeds(seeds, settings.seed)
    compared = read_methods(settings, methods or [POLICY], seeds=chosen_seeds)
    if reference is not None and reference not in [one.name for one in compared]:
        raise UserError(f"--reference: expected one of the methods, received {reference!r}")
    with console.status("getting ready"):
        asked = read_benchmarks(settings, benchmarks or [], directory=data, limit=limit)
        accounts = open_accounts(settings, timed=True)
        services = _shared_services(settings, compared, accounts)
        check_services(settings, services)
        for one in compared:
            if one.method == POLICY:
                for config_of_seed in {id(each): each for each in one.configs.values()}.values():
                    check_services(config_of_seed, OperatorServices(), policy=True)
        card = _make_card(
            settings, compared, asked, seeds=chosen_seeds, repeats=repeats, temperature=temperature,
            unicode_normalise=unicode_normalise,
        )  # fmt: skip
    directory = _open_directory(settings, output, card, [one.name for one in compared])
    log = EvaluationLog(directory)
    budget = accounts.budget
    budget.restart(Spent.read(directory / SPENT))
    place = show_path(directory)
    try:
        asyncio.run(
            _ask_all(
                console, compared, asked, log=log, services=services, accounts=accounts, seeds=chosen_seeds,
                repeats=repeats, temperature=temperature, attempts=attempts, unicode_normalise=unicode_normalise,
            )
        )  # fmt: skip
    except KeyboardInterrupt:
        console.print(f"\ninterrupted; go on with the same command and  --output {place}", soft_wrap=True)
        raise typer.Exit(130) from None
    except BudgetExceededError as exceeded:
        kept = f"The answers that are done are in {place}; the same command with this goes on"
        tell_used_up(console, exceeded, f"--output {place}", kept=kept)
        raise typer.Exit(EXIT_CODE) from None
    except ServiceUnavailableError as down:
        raise ServiceUnavailableError(
            f"{down}. The answers that are done are in {place}; when the service is back, the same command with "
            f"--output {place} goes on"
        ) from None
    finally:
        budget.spent.write(directory / SPENT)
    described = {"currency": settings.prices.currency, **accounts.ledger.rows()}
    write_atomically(directory / SERVICES, json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    comparison = _summarise(console, settings, log, compared, asked, accounts=accounts, reference=reference)
    console.print(f"rows, trajectories and summary in {place}", style="dim", soft_wrap=True, markup=False)
    _tell_failures(console, comparison, log, place)


def _read_seeds(given: str | None, configured: int) -> tuple[int, ...]:
    if given is None:
        return (configured,)
    try:
        seeds = tuple(int(part) for part in given.split(","))
    except ValueError:
        raise UserError(f"--seeds: expected whole numbers with commas between, received {given!r}") from None
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds: expected every seed once, received {given!r}")
    return seeds


def _shared_services(config: "RunConfig", compared: "Sequence[Compared]", accounts: "Accounts") -> "OperatorServices":
    """What the operators of all methods use: one client for each endpoint, one index, one budget."""
    from workflow_r1.assembly.components import build_services
    from workflow_r1.running.policies import pool_of

    operators = {name: each for one in compared for name, each in pool_of(one.config, one.method).items()}
    return build_services(config, pool=tuple(operators), operators=operators, accounts=accounts)


def _make_card(
    config: "RunConfig",
    compared: "Sequence[Compared]",
    asked: "Sequence[Asked]",
    *,
    seeds: tuple[int, ...],
    repeats: int,
    temperature: float,
    unicode_normalise: bool,
) -> "EvaluationCard":
    from workflow_r1.evaluation.card import (
        EvaluationCard,
        describe_llm,
        describe_scoring,
        describe_search,
        fingerprint_of_prompts,
    )
    from workflow_r1.running.run_directory import describe_environment

    return EvaluationCard(
        title=config.name,
        is_simulation=config.is_simulation or any(one.file is None for one in asked),
        methods={one.name: one.describe(temperature) for one in compared},
        benchmarks={one.name: one.describe() for one in asked},
        seeds=seeds,
        repeats=repeats,
        llm=describe_llm(config),
        search=describe_search(config),
        scoring=describe_scoring(unicode_normalise=unicode_normalise),
        prompts=fingerprint_of_prompts(),
        runs=(describe_environment(),),
    )


def _open_directory(config: "RunConfig", output: Path | None, card: "EvaluationCard", names: Sequence[str]) -> Path:
    """A new directory, or one that holds an evaluation which this one can go on with or be added to."""
    from workflow_r1.evaluation.card import CARD, EvaluationCard
    from workflow_r1.running.run_directory import make_run_directory

    if output is not None and (output / CARD).is_file():
        card.join(EvaluationCard.read(output), directory=output).write(output)
        return output
    kind = names[0] if len(names) == 1 else f"{len(names)}-methods"
    directory = make_run_directory(config, output, kind=f"evaluation-{kind}")
    card.write(directory)
    return directory


async def _ask_all(
    console: "Console",
    compared: "Sequence[Compared]",
    asked: "Sequence[Asked]",
    *,
    log: "EvaluationLog",
    services: "OperatorServices",
    accounts: "Accounts",
    seeds: Sequence[int],
    repeats: int,
    temperature: float,
    attempts: int,
    unicode_normalise: bool,
) -> None:
    """Every method under every seed, one after the other: searched where it searches, then asked."""
    from workflow_r1.evaluation.harness import ask, draws_of
    from workflow_r1.running.display import TrajectoryCounter
    from workflow_r1.running.policies import open_method

    done = log.done()
    benchmarks = {one.name: one.questions for one in asked}
    keys: list[Key]
    for one in compared:
        for seed in seeds:
            keys = [
                (one.name, benchmark, question.id, seed, repeat)
                for benchmark, questions in benchmarks.items()
                for question in questions
                for repeat in range(repeats)
            ]
            num_done = sum(key in done for key in keys)
            if num_done == len(keys):
                continue
            opened = open_method(
                one.configs[seed].model_copy(update={"seed": seed}),
                one.method,
                temperature=temperature,
                accounts=accounts,
                services=services.redrawn(draws_of(seed, 0)),
                questions=[question for questions in benchmarks.values() for question in questions],
                directory=log.search_directory(one.name, seed),
                notify=lambda line: console.print(line, soft_wrap=True, markup=False),
            )
            title = f"{one.config.title}: {one.name}" + (f", seed {seed}" if len(seeds) > 1 else "")
            async with opened:
                if opened.search is not None:
                    await opened.search()
                with TrajectoryCounter(console, title, len(keys), done=num_done) as counter:

                    def count(
                        row: "EvaluationRow", trajectory: "Trajectory", counter: TrajectoryCounter = counter
                    ) -> None:
                        counter.count(trajectory)

                    await ask(
                        one.name,
                        benchmarks,
                        policy=opened.policy,
                        make_environments=[
                            opened.make_environments(services.redrawn(draws_of(seed, repeat)))
                            for repeat in range(repeats)
                        ],
                        seed=seed,
                        log=log,
                        done=done,
                        concurrency=one.config.sampling.max_sessions,
                        attempts=attempts,
                        unicode_normalise=unicode_normalise,
                        on_answer=count,
                    )


def _summarise(
    console: "Console",
    config: "RunConfig",
    log: "EvaluationLog",
    compared: "Sequence[Compared]",
    asked: "Sequence[Asked]",
    *,
    accounts: "Accounts",
    reference: str | None,
) -> "Comparison":
    """Show what the rows of the directory say: of one method on one benchmark by class and operator, else the report."""
    import json

    from workflow_r1.cli.report import report_evaluations
    from workflow_r1.cli.tables import print_table
    from workflow_r1.cli.usage import print_spent, print_usage
    from workflow_r1.evaluation import compute_figures
    from workflow_r1.evaluation.answers import read_answers
    from workflow_r1.evaluation.comparison import compare_methods
    from workflow_r1.evaluation.figures import figures_by_class
    from workflow_r1.evaluation.harness import ROWS
    from workflow_r1.reports.summary import figures_table
    from workflow_r1.trajectory.storage import write_atomically

    answers = read_answers([log.directory / ROWS])
    known = {method for method, _ in answers}
    reference = reference or (compared[0].name if len(known) > 1 and compared[0].name in known else None)
    comparison = compare_methods(answers, reference=reference)
    summary = comparison.model_dump(mode="json")
    where = config.title
    if len(answers) == 1 and len(compared) == len(asked) == 1:
        trajectories = log.trajectories(compared[0].name, asked[0].name)
        figures = compute_figures(trajectories)
        classes = figures_by_class(trajectories)
        print_table(console, f"{where}, {compared[0].name}", *figures_table([("all", figures), *classes.items()]))
        print_usage(console, trajectories, currency=config.prices.currency, accounts=accounts)
        console.print(
            f"answered {figures.answered.rate:.3f}, well formed {figures.well_formed.rate:.3f}"
            + (f", {figures.policy_tokens:.0f} policy tokens per question" if figures.policy_tokens else ""),
            soft_wrap=True,
            markup=False,
        )
        summary |= {
            "all": figures.model_dump(mode="json"),
            "classes": {name: each.model_dump(mode="json") for name, each in classes.items()},
        }
    else:
        report_evaluations(console, [log.directory], reference=reference)
        print_spent(console, accounts)
    write_atomically(log.directory / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return comparison


def _tell_failures(console: "Console", comparison: "Comparison", log: "EvaluationLog", place: str) -> None:
    """Say which questions the infrastructure failed, and leave with code 1 where nothing at all was scored.

    Raises:
        typer.Exit: nothing was scored.
    """
    failed = [row for row in comparison.figures if row.statuses.get("failed")]
    if not failed:
        return
    num = sum(row.statuses["failed"] for row in failed)
    first = next(
        trajectory
        for trajectory in log.trajectories(failed[0].method, failed[0].benchmark)
        if trajectory.stop_reason.is_infrastructure
    )
    console.print(
        f"{num} questions failed (the first: {first.error or first.stop_reason}); they are left out of all figures. The same "
        f"command with --output {place} asks them again.",
        style="yellow", soft_wrap=True, markup=False,
    )  # fmt: skip
    if not any(row.num_answers for row in comparison.figures):
        raise typer.Exit(1)
