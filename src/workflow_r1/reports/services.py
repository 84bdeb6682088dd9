"""Tables of the usage of services. Unknown prices and tokens are shown as unknown, never as 0."""

import statistics
from collections.abc import Mapping

from workflow_r1.evaluation.usage import OperatorUsage
from workflow_r1.reports.run_record import RunRecord
from workflow_r1.trajectory import Usage

Table = tuple[list[str], list[list[str]]]
"""Header and rows."""

SERVICES_NOTE = (
    "Training and evaluations together. Calls that the store answered are in the cost, but not in the paid amount. Seconds: "
    "the median over steps of each step's median."
)


def operators_table(operators: Mapping[str, OperatorUsage], *, num: int, currency: str) -> Table:
    """Usage of each operator per trajectory, the most called first, then of all of them.

    Args:
        operators: sums over the trajectories.
        num: trajectories.
        currency: currency of the money.
    """
    header = ["", "calls", "LLM calls", "stored", "tokens in", "out", f"cost ({currency})", "paid", "seconds"]
    ordered = sorted(operators.items(), key=lambda entry: -entry[1].calls)
    rows = []
    for name, of in (*ordered, ("all", sum((of for _, of in ordered), start=OperatorUsage()))):
        usage = of.usage
        rows.append(
            [
                name,
                f"{of.calls / num:.2f}",
                f"{usage.llm_calls / num:.2f}",
                f"{(usage.stored_calls + usage.stored_searches) / num:.2f}",
                *_show_tokens(usage, num),
                show_money(usage.cost, num),
                show_money(usage.paid, num),
                f"{of.seconds / num:.2f}",
            ]
        )
    return header, rows


def services_table(run: RunRecord) -> Table:
    """Usage of services over the whole run: in all, by endpoint, and by operator."""
    header = [
        "", "LLM calls", "searches", "stored", "tokens in", "out", f"cost ({run.config.prices.currency})", "paid", "failed",
        "seconds",
    ]  # fmt: skip
    suffix = "/calls"
    accounts = {key.removesuffix(suffix) for row in run.services for key in row if key.endswith(suffix)}
    rows = [
        [account.replace("/", " ", 1), *_account(run, account)]
        for account in sorted(accounts, key=lambda name: (name != "total", name))
    ]
    return header, rows


def _show_tokens(usage: Usage, num: int) -> tuple[str, str]:
    """Tokens sent and received, shared out among ``num``."""
    if usage.tokens is None:
        return "unknown", "unknown"
    return f"{usage.prompt_tokens / num:.0f}", f"{usage.completion_tokens / num:.0f}"


def show_money(amount: float | None, num: int = 1) -> str:
    """An amount, shared out among ``num``."""
    return "unknown" if amount is None else f"{amount / num:.4g}"


def _account(run: RunRecord, account: str) -> list[str]:
    """The cells of one account."""

    def total(*names: str) -> float | None:
        values = [row[f"{account}/{name}"] for row in run.services for name in names if f"{account}/{name}" in row]
        return None if None in values else sum(values)

    failures = [value for row in run.services for key, value in row.items() if key.startswith(f"{account}/failures/")]
    known = not total("unreported_calls")
    medians = [row[f"{account}/seconds_p50"] for row in run.services if row.get(f"{account}/seconds_p50") is not None]
    return [
        f"{total('calls'):,}",
        f"{total('searches'):,}",
        f"{total('stored_calls', 'stored_searches'):,}",
        f"{total('prompt_tokens'):,}" if known else "unknown",
        f"{total('completion_tokens'):,}" if known else "unknown",
        show_money(total("cost")),
        show_money(total("paid")),
        f"{sum(failures):,}",
        f"{statistics.median(medians):.3f}" if medians else "-",
    ]
