"""Usage of services on the terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.accounting import Accounts
    from workflow_r1.trajectory import Trajectory


def print_usage(
    console: "Console", trajectories: "Iterable[Trajectory]", *, currency: str, accounts: "Accounts"
) -> None:
    """Print the usage of each operator per trajectory, and the amounts spent."""
    from workflow_r1.cli.tables import print_table
    from workflow_r1.evaluation.usage import usage_by_operator
    from workflow_r1.reports.services import operators_table

    num = 0

    def counted() -> "Iterable[Trajectory]":
        nonlocal num
        for trajectory in trajectories:
            num += 1
            yield trajectory

    operators = usage_by_operator(counted())
    if operators:
        print_table(console, "per trajectory", *operators_table(operators, num=num, currency=currency))
    else:
        console.print("no operator was called")
    print_spent(console, accounts)


def print_spent(console: "Console", accounts: "Accounts") -> None:
    """Print the amounts spent on services."""
    total = accounts.ledger.total
    failed = f"; {total.failures.total()} calls failed" if total.failures else ""
    unreported = (
        f"; {total.usage.unreported_calls} replies came without token figures" if total.usage.unreported_calls else ""
    )
    console.print(
        f"spent on services: {accounts.budget.describe()}{failed}{unreported}",
        soft_wrap=True, markup=False,
    )  # fmt: skip
