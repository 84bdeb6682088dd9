"""``workflow-r1 train --dry-run``: the cost of a run, before it starts."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.errors import BudgetExceededError, ConfigError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from workflow_r1.config import RunConfig
    from workflow_r1.evaluation.estimate import Bill, Range
    from workflow_r1.running.policies import OpenedMethod
    from workflow_r1.trajectory import Question, Trajectory

NUM_TRAJECTORIES = 16
"""Trajectories that are sampled, each of another question."""

MAX_CALLS = 500
"""Calls of services that the sample may make."""


def show_estimate(config: "RunConfig", console: "Console") -> None:
    """Sample a few trajectories as training would, and estimate the usage of the whole run.

    Raises:
        ConfigError: there are too few questions, or the budget is too small for a sample.
        ServiceError: the services failed.
    """
    from workflow_r1.config import change_settings
    from workflow_r1.evaluation.estimate import count_trajectories, estimate_bill
    from workflow_r1.running.parts import held_out_questions, train_questions
    from workflow_r1.running.policies import POLICY, open_method
    from workflow_r1.running.services import check_served_policy, check_services

    limit = min(MAX_CALLS, config.budget.calls or MAX_CALLS)
    capped = change_settings(config, {"budget.calls": limit})
    with console.status("getting ready"):
        questions, evaluation_questions = train_questions(capped)[:NUM_TRAJECTORIES], held_out_questions(capped)
        if len(questions) < 2:
            raise ConfigError(f"expected at least two training questions to sample, received {len(questions)}")
        opened = open_method(capped, POLICY, temperature=config.sampling.temperature)
        check_services(capped.services, opened.services)
        check_served_policy(capped.policy, capped.llm)
    console.print(
        f"dry run: {len(questions)} trajectories of the untrained policy, at most {limit} calls of services",
        soft_wrap=True, markup=False,
    )  # fmt: skip
    done: list[Trajectory] = []
    started = time.perf_counter()
    stopped = asyncio.run(_sample(capped, opened, questions, done))
    seconds = time.perf_counter() - started
    usable = [trajectory for trajectory in done if not trajectory.stop_reason.is_infrastructure]
    if len(usable) < 2:
        if stopped is not None:
            raise ConfigError(f"expected at least two finished trajectories, received {len(usable)}: {stopped}")
        raise ServiceError(
            f"expected at least two trajectories to estimate from, but of {len(done)} only {len(usable)} did not fail: "
            f"{next(trajectory.error for trajectory in done if trajectory.error)}"
        )
    num_training, num_evaluation = count_trajectories(config.training, len(evaluation_questions))
    bill = estimate_bill(usable, num_trajectories=num_training + num_evaluation, seed=config.seed)
    _show(console, config, bill)
    total, sessions = bill.num_trajectories, config.sampling.max_sessions
    slow, fast = seconds * total / len(done), seconds * -(-total // max(sessions, len(done)))
    told = [
        f"Scaled from {len(usable)} trajectories to {num_training} of training and {num_evaluation} of evaluations; 95% "
        "intervals of the sample's mean.",
        f"Time for rollouts: {_duration(fast)} if {sessions} side by side take as long as these {len(done)} did, "
        f"{_duration(slow)} if more side by side gain nothing. The updates of the policy come on top.",
        "Not in it: the policy changes while it learns, and may call more or less; evaluations are greedy, the sample is not; "
        "calls that fail. Calls that the store answers again are not paid.",
        f"The sample took: {opened.accounts.budget.describe()}.",
    ]
    if further := config.training.dynamic_sampling * num_training:
        told.append(
            f"Not in it either: the further questions of training.dynamic_sampling, at most {further} trajectories more."
        )
    if len(usable) < len(done):
        told.append(f"{len(done) - len(usable)} trajectories failed and are left out.")
    if stopped is not None:
        told.append(
            f"The limit of calls ended the sample after {len(done)} of {len(questions)} trajectories; the longest are "
            "missing, so the estimate is too low."
        )
    if config.policy.base_url is not None:
        told.append(
            "The policy was asked at its server; its usage is not in the table. To train it, leave out "
            "policy.base_url and let policy.model name a Hugging Face model."
        )
    if config.is_simulation:
        told.append("Part of this is the embedded world, a simulation; its expert and its search cost nothing.")
    for line in told:
        console.print(line, style="dim", soft_wrap=True, markup=False)


def show_verl_options(config: "RunConfig", console: "Console") -> None:
    """Show the options that verl would receive, every key checked against verl's own configuration, and the memory that
    it would need.

    Raises:
        ConfigError: verl cannot do the run, or does not know a key.
        MissingExtraError: verl is not installed.
    """
    from rich.table import Table

    from workflow_r1.running.engines import require_verl

    require_verl()
    from workflow_r1.engines.verl.estimate import QWEN25_7B, ModelShape, estimate
    from workflow_r1.engines.verl.options import own_options, translate
    from workflow_r1.engines.verl.schema import complete
    from workflow_r1.policy.model import model_source

    folder = config.directory.resolve() / "NEW-RUN"
    options = translate(
        config,
        model=model_source(config.policy),
        run_directory=folder,
        train_file=folder / "verl" / "training.parquet",
        evaluation_file=folder / "verl" / "evaluation.parquet",
        resume=False,
    )
    own = own_options(config.verl)
    complete(options, own)
    table = Table("verl's option", "value", "from", box=None, header_style="dim")
    for option in options:
        table.add_row(option.key, str(option.value), option.source)
    for key, value in own.items():
        table.add_row(key, str(value), "verl.options")
    console.print(table)
    file = Path(config.policy.model) / "config.json"
    known = QWEN25_7B if config.policy.model == "Qwen/Qwen2.5-7B-Instruct" else None
    shape = ModelShape.read(file) if file.is_file() else known
    if shape is None:
        console.print("\nNo estimate of memory: policy.model is not a directory with a config.json.", soft_wrap=True)
        return
    console.print("\nEstimates, not measurements, for GPUs of 80 GiB:")
    for line in estimate(config, shape):
        console.print(f"  {line}", soft_wrap=True, markup=False)


async def _sample(
    config: "RunConfig", opened: "OpenedMethod", questions: "Sequence[Question]", done: "list[Trajectory]"
) -> BudgetExceededError | None:
    """Fill ``done`` with finished trajectories; returns the error that ended it early."""
    from workflow_r1.rollout import derive_seed, rollout_groups

    try:
        async with opened:
            await rollout_groups(
                questions,
                policy=opened.policy,
                make_environment=opened.make_environment,
                group_size=1,
                seed=derive_seed(config.seed, "dry run"),
                max_concurrency=config.sampling.max_sessions,
                on_trajectory=done.append,
            )
    except BudgetExceededError as exceeded:
        return exceeded
    return None


def _show(console: "Console", config: "RunConfig", bill: "Bill") -> None:
    from workflow_r1.cli.tables import print_table

    def row(name: str, of: "Range | None", form: str) -> list[str]:
        if of is None:
            return [name, "unknown", "unknown", "unknown"]
        each = of.estimate / bill.num_trajectories
        return [name, f"{each:.4g}", format(of.estimate, form), f"{of.low:{form}} to {of.high:{form}}"]

    rows = [
        row("LLM calls", bill.llm_calls, ",.0f"),
        row("tokens sent", bill.prompt_tokens, ",.0f"),
        row("tokens received", bill.completion_tokens, ",.0f"),
        row("searches", bill.searches, ",.0f"),
        row(f"cost ({config.prices.currency})", bill.cost, ",.4g"),
    ]
    print_table(console, config.title, ["", "per trajectory", "whole run", "95% interval"], rows)
    if bill.cost is None:
        console.print(
            "The cost is unknown: set the prices under [prices] (docs/how-to/cost.md).", style="yellow", markup=False
        )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
