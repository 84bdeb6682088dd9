"""``workflow-r1 tasks``."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow_r1.cli.parameters import AsJSON, Overrides, Source, Trust
from workflow_r1.errors import ConfigError
from workflow_r1.running.configuration import check_at_least, open_config

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.running.tasks import DescribedTask


def tasks(
    config: Source = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Instances to show: train, or evaluation for the held-out ones.")
    ] = "evaluation",
    limit: Annotated[int, typer.Option(metavar="N", help="Most instances to show.")] = 5,
    override: Overrides = None,
    trust: Trust = False,
    as_json: AsJSON = False,
) -> None:
    """Show the task of CONFIG with its actions, settings, first instances and a prompt. Without CONFIG: list the tasks."""
    from workflow_r1.running.tasks import describe_task, known_tasks
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.tasks.task import SPLITS

    console = Terminal()
    if config is None and not override:
        _show_known(console, known_tasks(), as_json)
        return
    check_at_least(1, limit=limit)
    chosen = next((each for each in SPLITS if each == split), None)
    if chosen is None:
        raise ConfigError(f"--split: expected one of {', '.join(SPLITS)}, received {split!r}")
    described = describe_task(open_config(config, override, trust=trust), split=chosen, limit=limit)
    if as_json:
        typer.echo(json.dumps(described.as_json(), ensure_ascii=False, indent=2))
    else:
        _show_one(console, described)


def _show_known(console: "Console", known: dict[str, str], as_json: bool) -> None:
    from rich.text import Text

    if as_json:
        typer.echo(json.dumps(known, ensure_ascii=False, indent=2))
        return
    for name, does in known.items():
        console.print(Text.assemble((name.ljust(12), "bold yellow"), does), soft_wrap=True)
    console.print(
        Text('\nA task of your own: task = "path/to/file.py:Class" in a TOML file.', style="dim"), soft_wrap=True
    )


def _show_one(console: "Console", described: "DescribedTask") -> None:
    from rich.text import Text

    from workflow_r1.cli.tables import print_table

    console.print(Text(f"\n{described.name}", style="bold yellow"))
    if described.documentation:
        console.print(Text(described.documentation, style="italic"))
    console.print()
    rows: list[tuple[str, Any]] = [
        ("from", described.place),
        ("actions", "; ".join(f"{name}: {does}" for name, does in described.actions.items()) or "any name"),
        ("format", described.action_format),
        ("operators", ", ".join(described.operators) or "none"),
        ("settings", ", ".join(f"{key} = {json.dumps(value)}" for key, value in described.settings.items()) or "none"),
        ("says success", "yes" if described.says_success else "no: its reward alone is shown"),
        ("simulation", "yes" if described.is_simulation else "no"),
    ]
    for label, text in rows:
        console.print(Text.assemble((label.ljust(14), "dim"), text), soft_wrap=True)
    shown = [[instance.id, instance.text[:80], json.dumps(instance.metadata)[:60]] for instance in described.instances]
    print_table(console, f"\n{described.split}, the first {len(shown)}", ["id", "text", "metadata"], shown)
    console.print(Text(f"\nThe prompt of {described.instances[0].id}:", style="dim"))
    console.print(Text(described.prompt), soft_wrap=True)
