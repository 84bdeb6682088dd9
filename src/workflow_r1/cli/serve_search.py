"""``workflow-r1 serve-search``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflow_r1.cli.index import showing_build
from workflow_r1.cli.parameters import AllowHost, ApiKeyEnv, Host, Overrides, Port, Source, Trust
from workflow_r1.running.configuration import open_config

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.config.search import SearchConfig
    from workflow_r1.embedded import EmbeddedConfig
    from workflow_r1.retrieval import SearchBackend


def serve_search(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    index: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A BM25 index; built there from --corpus where absent.", show_default=False),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL of `id, title, text` or `id, contents`, or .gz.", show_default=False),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key_env: ApiKeyEnv = None,
    allow_host: AllowHost = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            min=1,
            max=100,
            metavar="N",
            help="Passages per query where a request does not say.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve a search over HTTP in the protocol of Search-R1's retrieval server: POST /retrieve, GET /health."""
    from workflow_r1.config.search import SearchConfig
    from workflow_r1.errors import ConfigError
    from workflow_r1.running.http_server import address_of, listen, require_server, serve_until_stopped
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.services.keys import read_key

    require_server("serve-search")
    settings = open_config(config, override, trust=trust)
    search_config = settings.search
    if index is not None or corpus is not None:
        if config is not None:
            raise ConfigError("expected either CONFIG or --index and --corpus, received both; leave one out")
        if index is None:
            raise ConfigError(f"expected --index with --corpus: the directory where the index of {corpus} is kept")
        search_config = SearchConfig(kind="bm25", index=index, corpus=corpus)
    default_k = k or search_config.k
    key = None if api_key_env is None else read_key(api_key_env, purpose="the key of --api-key-env")
    console = Terminal()
    with listen(host, port) as listening:
        search = _open(search_config, settings.embedded, console)
        description = describe(search_config, search, default_k)

        from workflow_r1.retrieval.server_app import make_app
        from workflow_r1.services.admission import AdmissionRules

        rules = AdmissionRules(hosts=tuple(allow_host or ()), api_key=key)
        app = make_app(search, default_k=default_k, description=description, rules=rules)
        place = address_of(listening)
        console.print(f"{_name(description)} at [bold]{place}[/]", soft_wrap=True)
        console.print(
            f"  POST {place}/retrieve, GET {place}/health; Ctrl-C stops it",
            style="dim",
            soft_wrap=True,
            highlight=False,
        )
        serve_until_stopped(app, listening)
    console.print("stopped", style="dim")


def _open(config: "SearchConfig", world: "EmbeddedConfig", console: "Console") -> "SearchBackend":
    from workflow_r1.assembly.search import build_search

    if config.kind == "bm25" and config.index is not None and not config.index.exists():
        with showing_build(console, config.index) as show:
            return build_search(config, world, on_progress=show)
    with console.status("opening the search"):
        return build_search(config, world)


def describe(config: "SearchConfig", search: "SearchBackend", default_k: int) -> dict[str, Any]:
    """Description of a search for ``GET /health``: a figure means nothing without its corpus, retriever and k."""
    from workflow_r1.retrieval import BM25Index

    described: dict[str, Any] = {"kind": config.kind, "k": default_k}
    if isinstance(search, BM25Index):
        described["passages"] = len(search)
    if config.index is not None:
        described["index"] = config.index.name
    return described


def _name(description: dict[str, Any]) -> str:
    names = {
        "embedded": "the embedded world's passages (a simulation)",
        "bm25": f"BM25 index {description.get('index')}",
        "server": "another retrieval server",
        "web": "web search",
        "callable": "a Python function",
        "mcp": "a tool of an MCP server",
    }
    count = f", {description['passages']:,} passages" if "passages" in description else ""
    return f"{names[description['kind']]}{count}"
