"""``workflow-r1 operators``."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow_r1.cli.parameters import AsJSON, OldConfigOption, Overrides, Source, Trust
from workflow_r1.errors import ConfigError
from workflow_r1.nearest import did_you_mean
from workflow_r1.running.configuration import names_configuration, open_config

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.config import RunConfig
    from workflow_r1.operators import FoundOperator, FoundOperators, OperatorResult

_SERVICES = {"llm": "the LLM", "search": "the search"}


def operators(
    config: Source = None,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Show one operator in detail. Default: all of them.", show_default=False),
    ] = None,
    override: Overrides = None,
    trust: Trust = False,
    call: Annotated[
        str | None,
        typer.Option(metavar="INPUT", help="Run NAME once, on the configured services, with this input."),
    ] = None,
    as_json: AsJSON = False,
    old_config: OldConfigOption = None,
) -> None:
    """List the operators for a policy: built-in ones, those of plugins, those of installed packages."""
    from workflow_r1.operators import find_operators
    from workflow_r1.running.terminal import Terminal

    if old_config is not None:
        config, name = old_config, config
    elif name is None and not names_configuration(config):
        config, name = None, config
    settings = open_config(config, override, trust=trust)
    if call is not None and name is None:
        raise ConfigError("--call: expected the NAME of the operator to call before it")
    found = find_operators(settings.plugins)
    console = Terminal()
    if name is None:
        _show_all(console, settings, found, as_json)
        return
    chosen = _choose(name, found)
    if call is not None:
        _call(console, settings, chosen, call, as_json)
    elif as_json:
        typer.echo(json.dumps(_describe(chosen, settings), ensure_ascii=False, indent=2))
    else:
        _show_one(console, settings, chosen, config)


def _choose(name: str, found: "FoundOperators") -> "FoundOperator":
    if name in found.operators:
        return found.operators[name]
    hint = did_you_mean(name, found.operators)
    left_out = "".join(f"\nleft out: {problem}" for problem in found.problems)
    raise ConfigError(f"expected one of {', '.join(found.operators)}, received {name}{hint}{left_out}")


def _describe(found: "FoundOperator", config: "RunConfig") -> dict[str, Any]:
    made = found.operator
    fields = made.settings_type.model_fields if made.settings_type is not None else {}
    return {
        "name": made.name,
        "purpose": made.purpose,
        "usage": made.usage,
        "arguments": [
            {
                "name": argument.name,
                "expected": argument.expected,
                "list": argument.is_list,
                "optional": argument.is_optional,
            }
            for argument in made.arguments
        ],
        "origin": found.origin,
        "place": made.place,
        "in_pool": made.name in config.environment.operators,
        "needs": sorted(made.needs),
        "timeout_seconds": made.timeout_seconds,
        "settings": [{"key": key, "required": field.is_required()} for key, field in fields.items()],
    }


def _show_all(console: "Console", config: "RunConfig", found: "FoundOperators", as_json: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if as_json:
        rows = [_describe(each, config) for each in found.operators.values()]
        typer.echo(json.dumps({"operators": rows, "problems": found.problems}, ensure_ascii=False, indent=2))
        return
    console.print(Text(f"The pool of {config.title} is marked with *.\n", style="dim"))
    for each in found.operators.values():
        made = each.operator
        line = Text("* " if made.name in config.environment.operators else "  ", style="bold green")
        line.append(made.name, style="bold yellow")
        line.append(f"   {each.origin}; needs {_needs(each)}", style="dim")
        console.print(line, soft_wrap=True)
        console.print(Padding(Text(made.purpose), (0, 0, 0, 4)))
        console.print(Padding(Text(made.usage, style="cyan"), (0, 0, 1, 4)))
    for problem in found.problems:
        console.print(Text(f"left out: {problem}", style="yellow"), soft_wrap=True)
    console.print(Text("workflow-r1 operators NAME shows one of them; environment.operators is the pool.", style="dim"))


def _needs(found: "FoundOperator") -> str:
    return " and ".join(_SERVICES[need] for need in sorted(found.operator.needs)) or "no service"


def _show_one(console: "Console", config: "RunConfig", found: "FoundOperator", source: str | None) -> None:
    import inspect
    import shlex

    from rich.text import Text

    made = found.operator
    limit = "none of its own" if made.timeout_seconds is None else f"{made.timeout_seconds:g} s"
    fields = made.settings_type.model_fields if made.settings_type is not None else {}
    keys = ", ".join(key + (" (required)" if field.is_required() else "") for key, field in fields.items())
    rows = [
        ("written as", made.usage),
        *[
            (f"<{argument.name}>", argument.expected + (", two or more" if argument.is_list else ""))
            for argument in made.arguments
        ],
        ("from", f"{found.origin} ({made.place})"),
        (
            "in the pool",
            "yes" if made.name in config.environment.operators else "no: environment.operators has the pool",
        ),
        ("needs", _needs(found)),
        ("time limit", limit),
        ("settings", f"[operators.{made.name}] {keys}" if keys else "none"),
    ]
    console.print(Text(f"\n{made.name}", style="bold yellow"))
    console.print(Text(made.purpose))
    documentation = inspect.getdoc(made.function)
    if documentation:
        console.print(Text(f"\n{documentation}", style="italic"))
    console.print()
    width = max(len(label) for label, _ in rows) + 2
    for label, text in rows:
        console.print(Text.assemble((label.ljust(width), "dim"), text), soft_wrap=True)
    example = made.usage.removeprefix(f"{made.name}: ")
    command = shlex.join(["workflow-r1", "operators", *([source] if source else []), made.name, "--call", example])
    console.print(Text(f"\ntry it:  {command}", style="dim"), soft_wrap=True)


def _call(console: "Console", config: "RunConfig", found: "FoundOperator", text: str, as_json: bool) -> None:
    import asyncio
    import time

    from rich.text import Text

    from workflow_r1.assembly.operators import build_operators
    from workflow_r1.assembly.services import build_services
    from workflow_r1.config import change_settings

    name = found.operator.name
    alone = change_settings(config, {"environment.operators": (name,)})
    made = build_operators(alone.pool)
    services = build_services(alone.services, alone.pool, operators=made)

    async def run() -> "OperatorResult":
        try:
            return await made[name](text, services)
        finally:
            await services.aclose()

    started = time.perf_counter()
    result = asyncio.run(run())
    seconds = time.perf_counter() - started
    if as_json:
        row = {
            "observation": result.observation,
            "valid": result.valid,
            "usage": result.usage.model_dump(mode="json"),
            "seconds": seconds,
        }
        typer.echo(json.dumps(row, ensure_ascii=False, indent=2))
        return
    console.print(Text(result.observation, style="green" if result.valid else "red"))
    usage = result.usage
    known = f"{usage.prompt_tokens} tokens in, {usage.completion_tokens} out"
    tokens = "tokens unknown" if usage.tokens is None else known
    parts = [
        *([] if result.valid else ["the policy's mistake"]),
        f"{usage.llm_calls} LLM calls ({tokens})",
        f"{seconds:.2f} s",
    ]
    console.print(Text(", ".join(parts), style="dim"))
