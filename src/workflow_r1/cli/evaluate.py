"""``workflow-r1 evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Overrides, PolicyTemperature, Questions, Source, Trust
from workflow_r1.errors import BudgetExceededError, ServiceUnavailableError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.running.evaluation import Evaluation, EvaluationPlan


def evaluate(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", "-m", metavar="NAME,...",
            help="Methods that answer: policy (the default), or others by name: docs/reference/methods.md lists them. NAME=DIR is the policy of a run or "
            "of a Hugging Face model; {seed} in it stands for each seed. Repeatable.",
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark", "-b", metavar="NAME,...",
            help="Benchmarks: nq, hotpotqa, ... (`workflow-r1 data list`), embedded, a file, or NAME=FILE. Default: the configuration's "
            "held-out questions. Repeatable.", show_default=False,
        ),
    ] = None,
    questions: Questions = None,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory of fetched benchmarks, as in `workflow-r1 data fetch --data DIR`.")
    ] = Path("data"),
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask only the first N questions of each benchmark.", show_default=False)
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Seeds of all searches, trainings and draws; each method runs under all. Default: the "
            "configuration's.", show_default=False,
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Answers to each question under a seed.")] = 1,
    temperature: PolicyTemperature = 0.0,
    attempts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most times that a question is asked where the infrastructure fails.")
    ] = 2,
    reference: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Method that the others are tested against. Default: the first.", show_default=False),
    ] = None,
    unicode_normalise: Annotated[
        bool, typer.Option("--unicode-normalise", help="Ignore accents, kinds of dashes and the like; SQuAD's scores do not.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory of all results. An unfinished evaluation there is continued; methods, benchmarks, seeds and "
            "repeats may be added to one that is there.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Let methods answer the questions of benchmarks: exact match with 95% intervals, paired tests, and cost."""
    from workflow_r1.cli.budget import EXIT_CODE, tell_used_up
    from workflow_r1.running.configuration import open_config, with_questions
    from workflow_r1.running.display import AnsweringDisplay, show_path
    from workflow_r1.running.evaluation import evaluate as carry_out
    from workflow_r1.running.evaluation import plan_evaluation
    from workflow_r1.running.policies import POLICY
    from workflow_r1.running.terminal import Terminal

    settings = with_questions(open_config(config, override, trust=trust), questions)
    console = Terminal()
    display = AnsweringDisplay(console)
    with console.status("getting ready"):
        plan = plan_evaluation(
            settings, methods=method or [POLICY], benchmarks=benchmark or [], data=data, limit=limit,
            seeds=_read_seeds(seed), repeats=repeats, temperature=temperature, attempts=attempts,
            unicode_normalise=unicode_normalise, reference=reference, trust=trust,
        )  # fmt: skip
    try:
        with display:
            done = carry_out(plan, directory=output, on_event=display.receive)
    except (KeyboardInterrupt, BudgetExceededError, ServiceUnavailableError) as ended:
        if display.directory is None:
            raise
        place = show_path(display.directory)
        if isinstance(ended, BudgetExceededError):
            kept = f"The answers that are done are in {place}; the same command with this continues"
            tell_used_up(console, ended, f"--output {place}", kept=kept)
            raise typer.Exit(EXIT_CODE) from None
        if isinstance(ended, ServiceUnavailableError):
            raise ServiceUnavailableError(
                f"{ended}. The answers that are done are in {place}; when the service is back, the same command with "
                f"--output {place} continues"
            ) from None
        console.print(f"\ninterrupted; continue with the same command and --output {place}", soft_wrap=True)
        raise typer.Exit(130) from None
    _show(console, plan, done)
    place = show_path(done.directory)
    console.print(f"rows, trajectories and summary in {place}", style="dim", soft_wrap=True, markup=False)
    if done.num_failed:
        console.print(
            f"{done.num_failed} questions failed (the first: {done.first_failure()}); they are left out of all figures. The "
            f"same command with --output {place} asks them again.",
            style="yellow", soft_wrap=True, markup=False,
        )  # fmt: skip
        if not any(row.num_answers for row in done.figures):
            raise typer.Exit(1)


def _read_seeds(given: str | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    try:
        return tuple(int(part) for part in given.split(","))
    except ValueError:
        raise UserError(f"--seed: expected whole numbers with commas between, received {given!r}") from None


def _show(console: "Console", plan: "EvaluationPlan", done: "Evaluation") -> None:
    """Show one method on one benchmark by class and operator, else the report's tables."""
    from workflow_r1.cli.report import show_report
    from workflow_r1.cli.tables import print_table
    from workflow_r1.cli.usage import print_spent, print_usage
    from workflow_r1.reports.summary import figures_table

    if done.report is not None:
        show_report(console, done.report)
        print_spent(console, done.accounts)
        return
    method, benchmark = plan.compared[0].name, plan.asked[0].name
    figures = done.classes["all"]
    print_table(console, f"{plan.title}, {method}", *figures_table(done.classes.items()))
    currency = plan.config.prices.currency
    print_usage(console, done.trajectories(method, benchmark), currency=currency, accounts=done.accounts)
    console.print(
        (f"answered {figures.answered.rate:.3f}, " if figures.measure == "exact_match" else "")
        + f"well formed {figures.well_formed.rate:.3f}"
        + (f", {figures.policy_tokens:.0f} policy tokens per question" if figures.policy_tokens else ""),
        soft_wrap=True, markup=False,
    )  # fmt: skip
