"""Message of a command whose budget is used up."""

from typing import TYPE_CHECKING

from workflow_r1.errors import BudgetExceededError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_CODE = 3
"""The exit code of a command that a limit of the budget has stopped."""


def tell_used_up(console: "Console", exceeded: BudgetExceededError, go_on: str | None, *, kept: str) -> None:
    """Show the amounts spent, the kept results, and the way to continue.

    Args:
        console: console of the message.
        exceeded: the reached limit.
        go_on: the command that continues, or the option to add to the same one; None where no command does.
        kept: the results so far, in words.
    """
    console.print(f"\n{exceeded}. {kept}.", style="yellow", soft_wrap=True, markup=False)
    if go_on is not None:
        override = f"-o {exceeded.key}={_double(exceeded.limit)}"
        console.print(f"for example:  [bold]{go_on} {override}[/]", soft_wrap=True)


def _double(limit: float) -> str:
    return str(2 * limit) if isinstance(limit, int) else f"{2 * limit:g}"
