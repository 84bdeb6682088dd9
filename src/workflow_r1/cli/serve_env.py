"""``workflow-r1 serve-env``."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import AllowHost, ApiKeyEnv, Host, Overrides, Port, Source, Trust

if TYPE_CHECKING:
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.trajectory import Trajectory


def serve_env(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the environment for clients. Default: the configuration's name.", show_default=False
        ),
    ] = None,
    max_sessions: Annotated[
        int, typer.Option(min=1, metavar="N", help="Episodes that are live at once; one more is refused.")
    ] = 64,
    api_key_env: ApiKeyEnv = None,
    allow_host: AllowHost = None,
) -> None:
    """Serve the task with its operators as an OpenEnv environment, for trainers that speak that protocol."""
    from workflow_r1.running.configuration import open_config
    from workflow_r1.running.http_server import address_of, listen, require_server, serve_until_stopped
    from workflow_r1.running.served_task import open_served_task
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.services.keys import read_key

    require_server("serve-env", web_sockets=True)
    settings = open_config(config, override, trust=trust)
    key = None if api_key_env is None else read_key(api_key_env, purpose="the key of --api-key-env")
    console = Terminal()
    with listen(host, port) as listening:
        with console.status("getting ready"):
            served, services, simulated = open_served_task(settings, name)

            from workflow_r1.services.admission import AdmissionRules
            from workflow_r1.serving.openenv import make_environment_app

        app = make_environment_app(
            served,
            max_sessions=max_sessions,
            rules=AdmissionRules(hosts=tuple(allow_host or ()), api_key=key),
            lifetime=aclosing(services),
            on_trajectory=lambda trajectory: _note(console, trajectory, settings.prices.currency),
        )
        place = address_of(listening)
        counts = ", ".join(f"{len(instances)} in {split}" for split, instances in served.instances.items())
        for line in (
            f"{settings.titled(simulation=simulated)}: the environment {served.name} at {place}",
            f"  instances: {counts}",
            f'  GenericEnvClient("{place}"), an action is {{"text": "<think>...</think><tool>...</tool>"}}',
            "  Ctrl-C stops it",
        ):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        if key is None and host not in ("127.0.0.1", "::1", "localhost"):
            console.print(
                f"anyone who reaches {host} can play, at your services' cost; --api-key-env asks for a key",
                style="yellow", soft_wrap=True, markup=False, highlight=False,
            )  # fmt: skip
        serve_until_stopped(app, listening, web_sockets=True)
    console.print("stopped", style="dim")


def _note(console: "Terminal", trajectory: "Trajectory", currency: str) -> None:
    """Print a line about an episode that ended."""
    import time

    from workflow_r1.running.trace import outcome_parts

    line = f"{time.strftime('%H:%M:%S')}  {trajectory.stop_reason}: {', '.join(outcome_parts(trajectory, currency))}"
    console.print(line, style="dim", soft_wrap=True, markup=False, highlight=False)
