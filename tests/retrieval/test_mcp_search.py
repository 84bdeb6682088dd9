"""A tool of an MCP server as the search, against real servers: a process of its own, and HTTP on this machine."""

import asyncio
import runpy
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workflow_r1.errors import (
    ConfigError,
    EndpointRejectedError,
    FilteredError,
    MissingExtraError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    TooLongError,
)
from workflow_r1.retrieval import MCPSearch, MCPSearchConfig, Passage
from workflow_r1.retrieval.mcp_search import read_result

pytest.importorskip("mcp")

SERVER = Path(__file__).with_name("mcp_server.py")
KEY = "secret-0123456789"


def config(**changes: Any) -> MCPSearchConfig:
    settings = {"command": (sys.executable, str(SERVER)), "backoff_seconds": 0.01, "timeout_seconds": 20.0}
    if "url" in changes:
        del settings["command"]
    return MCPSearchConfig(**(settings | changes))


def search(settings: MCPSearchConfig, *queries: str, k: int = 5) -> list[Any]:
    """Search for all queries at once over one connection; return the findings or the error of each."""

    async def main() -> list[Any]:
        backend = MCPSearch(settings)
        try:
            return await asyncio.gather(*(backend(query, k=k) for query in queries), return_exceptions=True)
        finally:
            await backend.aclose()

    return asyncio.run(main())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of the same server over streamable HTTP."""
    import uvicorn

    app = runpy.run_path(str(SERVER))["server"].streamable_http_app()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        running.should_exit = True
        thread.join()


def test_a_tool_of_a_command() -> None:
    settings = config(tool="search", reply="json", k_argument="num", arguments={"language": "de"})
    first, second = search(settings, "Jaws", "Alien", k=2)
    assert first == [Passage("0", "Jaws", "de 0", 1.0), Passage("1", "Jaws", "de 1", 0.5)]
    assert [passage.title for passage in second] == ["Alien", "Alien"]


def test_a_tool_over_http(url: str) -> None:
    (found,) = search(config(url=url, tool="search", reply="json"), "Jaws", k=2)
    assert [passage.text for passage in found] == ["en 0", "en 1"]
    (error,) = search(config(url=url, tool="serch"), "Jaws")
    assert isinstance(error, EndpointRejectedError)


def test_text_becomes_passages(url: str) -> None:
    ((block,),) = search(config(url=url, tool="read"), "Jaws")
    assert block.text == "First about Jaws.\n\nSecond about Jaws."
    (parts,) = search(config(url=url, tool="read", separator="\n\n"), "Jaws")
    assert [passage.text for passage in parts] == ["First about Jaws.", "Second about Jaws."]
    (deep,) = search(config(url=url, tool="as_json", reply="json", list_field="data.hits"), "Jaws")
    assert deep == [Passage("1", "Jaws", "A film.", 2.5)]


def test_a_result_of_a_megabyte(url: str) -> None:
    for settings in (config(tool="long"), config(url=url, tool="long")):
        ((long,),) = search(settings, "Jaws")
        assert len(long.text) == 5 * 210_000 - 1


def test_one_object_serves_several_event_loops_and_a_server_that_died_is_started_anew(tmp_path: Path) -> None:
    backend = MCPSearch(config(tool="die_once", arguments={"path": str(tmp_path / "died")}))
    for _ in range(2):
        # The connection is closed by the end of the event loop, without a call of aclose().
        assert [passage.text for passage in asyncio.run(backend("Jaws", k=5))] == ["alive"]
    assert backend.failures == {"reset": 1}


def test_only_named_variables_reach_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRARY_KEY", KEY)
    ((hidden,),) = search(config(tool="environment"), "LIBRARY_KEY")
    ((passed,),) = search(config(tool="environment", environment=("LIBRARY_KEY",)), "LIBRARY_KEY")
    # It reached the command, and is hidden on its way back.
    assert (hidden.text, passed.text) == ("unset", "***")
    (error,) = search(config(tool="fail", environment=("LIBRARY_KEY",), max_retries=1), "Jaws")
    assert isinstance(error, ServiceUnavailableError)
    assert "an error of the tool" in str(error)
    assert "no luck with ***) after 2 attempts" in str(error)
    monkeypatch.delenv("LIBRARY_KEY")
    with pytest.raises(ConfigError, match="environment variable LIBRARY_KEY, found none"):
        MCPSearch(config(tool="environment", environment=("LIBRARY_KEY",)))


def test_what_the_tool_refuses_of_the_query_is_no_failure_of_the_service() -> None:
    words = (
        "Query is too long. Max query length is 400 characters.",
        "the prompt was flagged by moderation",
        "no luck",
    )
    errors = search(config(tool="refuse", max_retries=0), *words)
    assert [type(error) for error in errors] == [TooLongError, FilteredError, ServiceUnavailableError]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tool": "serch"},
            "tools without it: search, read, as_json, long, environment, fail, refuse, hang, die_once; did you mean 'search'?; set",
        ),
        ({"tool": "search", "query_argument": "text"}, "not 'text'; set search.mcp.query_argument"),
        ({"tool": "search", "k_argument": "nun"}, "not 'nun'; did you mean 'num'?; set search.mcp.k_argument"),
        ({"tool": "search", "arguments": {"lang": "de"}}, "a tool with arguments query, num, language, not 'lang'"),
    ],
)
def test_a_tool_that_is_not_there_or_takes_other_arguments(url: str, changes: dict[str, Any], message: str) -> None:
    (error,) = search(config(url=url, **changes), "Jaws")
    assert isinstance(error, EndpointRejectedError)
    assert message in str(error)


def test_no_server() -> None:
    (error,) = search(config(tool="search", command=("no-such-program",), max_retries=0), "Jaws")
    assert isinstance(error, ServiceUnavailableError)
    assert "no connection" in str(error)
    (error,) = search(config(tool="search", command=(sys.executable, str(SERVER), "broken"), max_retries=1), "Jaws")
    assert isinstance(error, ServiceUnavailableError)
    assert "its last line: the library is closed) after 2 attempts" in str(error)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (error,) = search(config(tool="search", url=f"http://127.0.0.1:{port}/mcp", max_retries=0), "Jaws")
    assert isinstance(error, ServiceUnavailableError)


def test_a_tool_that_hangs(url: str) -> None:
    (error,) = search(config(url=url, tool="hang", timeout_seconds=0.2, max_retries=0), "Jaws")
    assert isinstance(error, ServiceTimeoutError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": ()}, "expected either command or url, received neither"),
        ({"command": ("a",), "url": "http://x"}, "expected either command or url, received both"),
        ({"url": "localhost:1"}, "search.mcp.url: expected an address"),
    ],
)
def test_where_the_server_is(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MCPSearch(config(tool="search", **changes))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingExtraError, match=r"\[mcp\]"):
        MCPSearch(config(tool="search"))


def result(*texts: str, structured: Any = None) -> Any:
    blocks = [SimpleNamespace(text=text) for text in texts]
    return SimpleNamespace(
        content=[*blocks, SimpleNamespace(data="picture")], structured_content=structured, is_error=False
    )


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (result('[{"text": "a"}, "b"]'), ["a", "b"]),
        (result('{"text": "a"}', '{"text": "b"}'), ["a", "b"]),
        (result('{"text": "a"}'), ["a"]),
        (result("ignored", structured={"result": ["a"]}), ["a"]),
        (result("[]"), []),
        (result(), []),
    ],
)
def test_forms_of_json(given: Any, texts: list[str]) -> None:
    found = read_result(given, 5, config(tool="t", reply="json"))
    assert [passage.text for passage in found] == texts


@pytest.mark.parametrize(
    ("given", "changes", "message"),
    [
        (result("plain"), {}, "expected JSON, found 'plain'; for plain text set search.mcp.reply"),
        (result("7"), {}, "expected a list of passages, found 7"),
        (result('{"hits": []}'), {"list_field": "data.hits"}, "expected the field data"),
        (result('{"data": []}'), {"list_field": "data.hits"}, "expected the field hits"),
        (result('{"hits": []}'), {}, "passage 1: expected a field contents"),
    ],
)
def test_nonsense_is_named(given: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_result(given, 5, config(tool="t", reply="json", **changes))
    assert message in str(raised.value)
