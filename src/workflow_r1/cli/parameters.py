"""Arguments that several commands share."""

from typing import Annotated

import typer

CONFIG_HELP = (
    "A TOML file, the name of a preset (embedded, smollm2-hotpotqa, paper), or a run directory: its configuration "
    "and its trained policy. Without it: the embedded quickstart."
)

Source = Annotated[str | None, typer.Argument(metavar="CONFIG", help=CONFIG_HELP, show_default=False)]
SourceOption = Annotated[str | None, typer.Option("--config", "-c", help=CONFIG_HELP, show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", metavar="KEY=VALUE", help="Set one key, e.g. -o training.steps=5. Repeatable."),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Trust the run directory, which somebody else may have made, to run the code and ask the services that its "
        "configuration names; remembered. See docs/explanation/security.md.",
    ),
]
