"""``workflow-r1 serve``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from workflow_r1.cli.parameters import AllowHost, ApiKeyEnv, Host, Method, Overrides, Port, Source, Trust
from workflow_r1.running.configuration import open_config, run_directory_of

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.config import RunConfig
    from workflow_r1.serving.history import History
    from workflow_r1.trajectory import Trajectory

EXAMPLE_QUESTION = "Who directed Jaws?"


def serve(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    method: Method = "policy",
    host: Host = "127.0.0.1",
    port: Port = 8080,
    model_name: Annotated[
        str | None,
        typer.Option(help="Name of the model for clients. Default: the configuration's name.", show_default=False),
    ] = None,
    api_key_env: ApiKeyEnv = None,
    allow_host: AllowHost = None,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=2.0,
            metavar="N",
            help="Sampling temperature of requests that do not name one; 0 is greedy.",
        ),
    ] = 0.0,
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Trajectories that are live at once. Default: sampling.max_sessions.",
            show_default=False,
        ),
    ] = None,
    max_waiting: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Requests that may wait for a free place; one more is refused with 429."),
    ] = 256,
    history: Annotated[
        Literal["auto", "text", "reference", "none"],
        typer.Option(
            metavar="KIND",
            help="Treatment of earlier messages. text: they stand before the question. reference: the last answer takes "
            "the place of a pronoun. none: the question alone. auto: reference for a policy of brief prompts, else text.",
        ),
    ] = "auto",
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append every trajectory to a JSONL file.", show_default=False)
    ] = None,
) -> None:
    """Serve the policy with its operators as an OpenAI-compatible chat endpoint: POST /v1/chat/completions."""
    from workflow_r1.config import change_settings
    from workflow_r1.running.http_server import address_of, listen, require_server, serve_until_stopped
    from workflow_r1.running.parts import question_of
    from workflow_r1.running.policies import POLICY, open_method
    from workflow_r1.running.saving import check_can_append
    from workflow_r1.running.services import check_served_policy, check_services
    from workflow_r1.running.simulation import is_simulated, notes_on
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.services.keys import read_key

    require_server("serve")
    settings = open_config(config, override, trust=trust)
    key = None if api_key_env is None else read_key(api_key_env, purpose="the key of --api-key-env")
    if max_concurrency is not None:
        settings = change_settings(settings, {"sampling.max_sessions": max_concurrency})
    if save is not None:
        check_can_append(save, option="--save")
        save.parent.mkdir(parents=True, exist_ok=True)
    console = Terminal()
    with listen(host, port) as listening:
        with console.status("getting ready"):
            opened = open_method(settings, method, temperature=temperature)
            check_services(settings.services, opened.services)
            if method == POLICY:
                check_served_policy(settings.policy, settings.llm)

            from workflow_r1.services.admission import AdmissionRules
            from workflow_r1.serving.app import Served, ServerLimits, make_app

        simulated = is_simulated(settings, method, own_questions=True)
        served = Served(
            model=model_name or (_model_name(config, settings) if method == POLICY else method),
            policy=opened.policy,
            make_environment=opened.make_environment,
            temperature=temperature,
            simulation=simulated,
            currency=settings.prices.currency,
            history=_history(settings, method) if history == "auto" else history,
            count_tokens=opened.count_tokens,
            question_of=lambda text: question_of(settings, text),
            warn=lambda text: notes_on(settings, text, method),
        )
        app = make_app(
            served,
            limits=ServerLimits(max_concurrency=settings.sampling.max_sessions, max_waiting=max_waiting),
            rules=AdmissionRules(hosts=tuple(allow_host or ()), api_key=key),
            on_trajectory=lambda trajectory: _note(console, trajectory, save, settings.prices.currency),
            lifetime=opened,
        )
        place = address_of(listening)
        _show_start(console, settings, simulated, served.model, method, opened.policy.name, place, api_key_env)
        if key is None and host not in ("127.0.0.1", "::1", "localhost"):
            console.print(
                f"anyone who reaches {host} can ask, at your services' cost; --api-key-env asks for a key",
                style="yellow", soft_wrap=True, markup=False, highlight=False,
            )  # fmt: skip
        serve_until_stopped(app, listening)
    console.print("stopped", style="dim")


def _model_name(config: str | None, settings: "RunConfig") -> str:
    """Return the run's own name, where a run is served; else that of the configuration."""
    directory = run_directory_of(config)
    return settings.name if directory is None else directory.resolve().name


def _history(settings: "RunConfig", method: str) -> "History":
    """A policy of brief prompts, and the embedded world's expert, understand a bare question only; another task is asked for an
    instance by its id.
    """
    from workflow_r1.config.run import QUESTIONS

    if settings.task != QUESTIONS:
        return "none"
    bare = settings.environment.prompt_style == "brief" if method == "policy" else settings.llm.kind == "embedded"
    return "reference" if bare else "text"


def _show_start(
    console: "Console",
    config: "RunConfig",
    simulated: bool,
    model: str,
    method: str,
    policy: str,
    place: str,
    key_variable: str | None,
) -> None:
    import json
    import shlex

    from rich.markup import escape

    what = policy if method == "policy" else f"the fixed workflow {method}"
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": _example_question(config)}]}, ensure_ascii=False
    )
    login = f' -H "Authorization: Bearer ${key_variable}"' if key_variable else ""
    lines = (
        f"{escape(config.titled(simulation=simulated))}: {escape(what)} as the model [bold]{escape(model)}[/] at [bold]{place}/v1[/]",
        f"  [dim]operators: {escape(', '.join(config.environment.operators))}[/]" if method == "policy" else "",
        f"  curl -s {place}/v1/chat/completions -H 'Content-Type: application/json'{login} -d "
        f"{escape(shlex.quote(body))}",
        "  [dim]Ctrl-C stops it[/]",
    )
    for line in filter(None, lines):
        console.print(line, soft_wrap=True, highlight=False)


def _example_question(config: "RunConfig") -> str:
    from workflow_r1.config.run import QUESTIONS
    from workflow_r1.running.parts import held_out_questions

    if config.task != QUESTIONS:
        return held_out_questions(config, 1)[0].id
    if config.data.source == "embedded":
        return held_out_questions(config, 1)[0].text
    return EXAMPLE_QUESTION


def _note(console: "Console", trajectory: "Trajectory", save: Path | None, currency: str) -> None:
    """Print a line about a trajectory, and save it."""
    import time

    from workflow_r1.running.trace import outcome_parts
    from workflow_r1.trajectory import append_trajectories

    line = f"{time.strftime('%H:%M:%S')}  {trajectory.stop_reason}: {', '.join(outcome_parts(trajectory, currency))}"
    style = "red" if trajectory.stop_reason.is_infrastructure else "dim"
    console.print(line, style=style, soft_wrap=True, markup=False, highlight=False)
    if save is None:
        return
    try:
        append_trajectories(save, [trajectory])
    except OSError as error:
        # The client still gets its answer: only our copy is lost.
        console.print(f"could not save to {save}: {error.strerror}", style="red", soft_wrap=True, markup=False)
