"""Search by a tool of an MCP server (Model Context Protocol), through the official client."""

import asyncio
import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TextIO

from pydantic import Field

from workflow_r1.errors import ConfigError, MissingExtraError
from workflow_r1.installation import install_command
from workflow_r1.nearest import did_you_mean
from workflow_r1.retrieval.backend import Passage
from workflow_r1.retrieval.passages import read_passages
from workflow_r1.services.attempts import AttemptError, ask_patiently, is_web_address, quote
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.json_service import MAX_REPLY_BYTES
from workflow_r1.services.keys import read_key
from workflow_r1.services.proxies import find_proxy
from workflow_r1.services.refusals import read_refusal
from workflow_r1.services.secrets import hide_in_logs, mask, without_login
from workflow_r1.trajectory.records import Record

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, Tool

CONNECT_SECONDS = 30.0
"""Longest wait for a server to start and to list its tools, in seconds."""


class MCPSearchConfig(Record):
    """A tool of an MCP server, which is started by a command or reached at an address."""

    command: tuple[str, ...] = ()
    """Program and arguments of a server that talks through its standard input and output, e.g. ``["python", "server.py"]``."""
    url: str | None = None
    """Address of a server over streamable HTTP, e.g. ``http://127.0.0.1:8000/mcp``; in place of ``command``."""
    environment: tuple[str, ...] = ()
    """Names of environment variables that the command may see, besides the harmless ones (PATH, HOME, ...)."""
    api_key_env: str | None = None
    """Environment variable that holds a key for ``url``, sent as a bearer token; None sends no key."""
    tool: str = Field(min_length=1)
    """Name of the tool."""
    query_argument: str = Field(default="query", min_length=1)
    """Its argument that takes the query."""
    k_argument: str | None = None
    """Argument of the tool that takes the number of passages; None lets the tool choose, and the first k are used."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments, the same in every call."""
    reply: Literal["text", "json"] = "text"
    """``text``: each text block of the result is a passage. ``json``: the result is a list of passages in JSON, structured or
    as text."""
    separator: str | None = None
    """Separator of passages within a block, with ``text``, e.g. a blank line; None takes a block whole."""
    list_field: str | None = None
    """Field that holds the list, with ``json``, dotted where it lies deeper; None takes the result itself."""
    timeout_seconds: float = Field(default=30.0, gt=0.0)
    """Longest time of one call."""
    max_retries: int = Field(default=2, ge=0)
    """Further attempts after a failed one; a server that died is started or reached anew."""
    backoff_seconds: float = Field(default=0.5, ge=0.0)
    """Wait before the first retry; doubles with each, less up to a half at random."""
    concurrency: int = Field(default=8, ge=1)
    """Calls at once."""


@dataclass(eq=False)
class _Session:
    """A connection held by a task of its own: the task that opens it must also close it."""

    ready: asyncio.Future["Client"]
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class MCPSearch:
    """A ``SearchBackend`` over a tool of an MCP server. The server is started or reached at the first query.

    Args:
        config: server, tool, arguments, and how its result becomes passages.

    Raises:
        ConfigError: not exactly one of command and address is given, or a key or variable is missing.
        MissingExtraError: the package ``mcp`` is not installed.
    """

    def __init__(self, config: MCPSearchConfig) -> None:
        try:
            import mcp  # noqa: F401 - here, since it takes most of a second that --help need not pay
        except ImportError:
            raise MissingExtraError(
                f'search.kind = "mcp" needs mcp, which is not installed; run: {install_command("mcp")}'
            ) from None
        if (config.url is None) == (not config.command):
            received = "both" if config.command else "neither"
            raise ConfigError(f"search.mcp: expected either command or url, received {received}")
        if config.url is not None and not is_web_address(config.url):
            raise ConfigError("search.mcp.url: expected an address such as http://127.0.0.1:8000/mcp")
        self.config = config
        missing = [name for name in config.environment if name not in os.environ]
        if missing:
            raise ConfigError(
                f"search.mcp.environment: expected the environment variable {missing[0]}, found none; set it"
            )
        self._environment = {name: os.environ[name] for name in config.environment}
        self._key = None if config.api_key_env is None else read_key(config.api_key_env, purpose="the MCP server's key")
        # A variable may be a setting as well as a key; a short one is not a key, and masking it would garble every
        # message.
        self._secrets = {value for value in (*self._environment.values(), self._key or "") if len(value) >= 8}
        hide_in_logs(self._secrets)
        where = without_login(config.url) if config.url is not None else config.command[0]
        self._place = f"tool {config.tool} of the MCP server {where}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(config.concurrency)
        self._session: _Session | None = None
        self.failures: Counter[FailureKind] = Counter()
        """Failed attempts so far, by kind, including those that a retry made good."""

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return at most ``k`` passages; see :class:`~workflow_r1.retrieval.SearchBackend`.

        Raises:
            ServiceUnavailableError: the server cannot be started or reached, or the tool failed, on the last attempt.
            ServiceTimeoutError: no result in time on the last attempt.
            EndpointRejectedError: there is no such tool, or it takes other arguments.
            ContentRejectedError: the tool says that the query is too long, or not allowed.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._session = loop, None
            self._slots = asyncio.Semaphore(self.config.concurrency)
        arguments = {**self.config.arguments, self.config.query_argument: query}
        if self.config.k_argument is not None:
            arguments[self.config.k_argument] = k
        async with self._slots:
            return await ask_patiently(
                lambda: self._attempt(arguments, k),
                place=self._place,
                max_retries=self.config.max_retries,
                backoff_seconds=self.config.backoff_seconds,
                failures=self.failures,
            )

    async def aclose(self) -> None:
        """Close the connection, and with it the server that was started; a later query opens a new one."""
        session, self._session = self._session, None
        # One whose event loop has ended was closed by that end.
        if session is not None and session.task is not None and not session.task.done():
            session.finish.set()
            await asyncio.wait([session.task])

    async def _attempt(self, arguments: dict[str, Any], k: int) -> list[Passage]:
        import anyio
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND

        if self._session is None:
            self._session = self._open()
        session = self._session
        client = await asyncio.shield(session.ready)
        try:
            async with asyncio.timeout(self.config.timeout_seconds):
                result = await client.call_tool(self.config.tool, arguments)
        except TimeoutError:
            raise AttemptError(FailureKind.TIMEOUT, f"no result within {self.config.timeout_seconds:g} s") from None
        except MCPError as error:
            received = f"error {error.code} ({self._quote(error.message)})"
            self._refuse_content(error.message, received)
            if error.code in (INVALID_PARAMS, METHOD_NOT_FOUND):
                kind = FailureKind.REJECTED if error.code == INVALID_PARAMS else FailureKind.UNKNOWN_MODEL
                raise AttemptError(kind, received, remedy="check search.mcp") from None
            if error.code in (CONNECTION_CLOSED, INVALID_REQUEST):
                self._drop(session)
                raise AttemptError(
                    FailureKind.RESET, f"a connection that broke ({self._quote(error.message)})"
                ) from None
            raise AttemptError(FailureKind.SERVER_ERROR, received) from None
        except (OSError, RuntimeError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self._drop(session)
            reason = self._quote(str(error) or type(error).__name__)
            raise AttemptError(FailureKind.RESET, f"a connection that broke ({reason})") from None
        except ValueError as error:
            raise self._unreadable(error) from None
        try:
            passages = read_result(result, k, self.config)
        except ToolFailedError as error:
            received = f"an error of the tool ({self._quote(str(error))})"
            self._refuse_content(str(error), received)
            raise AttemptError(FailureKind.SERVER_ERROR, received) from None
        except ValueError as error:
            raise self._unreadable(error) from None
        # A tool that repeats its own key must not bring it into a trajectory.
        return [
            replace(passage, title=mask(passage.title, self._secrets), text=mask(passage.text, self._secrets))
            for passage in passages
        ]

    def _unreadable(self, error: ValueError) -> AttemptError:
        return AttemptError(FailureKind.INVALID_REPLY, f"a reply that cannot be read ({self._quote(str(error))})")

    @staticmethod
    def _refuse_content(message: str, received: str) -> None:
        """Raise where the tool's words say that the query is too long or not allowed: MCP has no codes for either."""
        kind = read_refusal(400, message.encode("utf-8", "replace")).kind
        if kind.is_content:
            raise AttemptError(kind, received) from None

    def _quote(self, text: str) -> str:
        return quote(text, self._secrets)

    def _open(self) -> _Session:
        session = _Session(ready=asyncio.get_running_loop().create_future())
        session.task = asyncio.create_task(self._hold(session))
        return session

    def _drop(self, session: _Session) -> None:
        """Forget a connection that is of no use any more."""
        session.finish.set()
        if self._session is session:
            self._session = None

    async def _hold(self, session: _Session) -> None:
        """Open the connection, keep it while it is needed, and close it."""
        # A server's own log would run through our display; an error quotes its end.
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        client = await self._connect(stack, log)
                        await self._check_tool(client)
                    session.ready.set_result(client)
                    await session.finish.wait()
            except asyncio.CancelledError:
                session.ready.cancel()
                raise
            except (Exception, BaseExceptionGroup) as error:
                self._drop(session)
                if not session.ready.done():
                    session.ready.set_exception(self._judge(error, log))
                    session.ready.exception()  # Read here, since the caller may have been cancelled meanwhile.

    async def _connect(self, stack: AsyncExitStack, log: TextIO) -> "Client":
        from mcp import Client, StdioServerParameters, stdio_client
        from mcp.client.streamable_http import streamable_http_client

        if self.config.url is None:
            program, *arguments = self.config.command
            parameters = StdioServerParameters(command=program, args=arguments, env=self._environment)
            return await stack.enter_async_context(Client(stdio_client(parameters, errlog=log)))
        import httpx2

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else None
        timeout = max(CONNECT_SECONDS, self.config.timeout_seconds)
        assert self.config.url is not None
        proxy = find_proxy(self.config.url)
        client = httpx2.AsyncClient(
            headers=headers, timeout=timeout, proxy=None if proxy is None else proxy.url, trust_env=False
        )
        http = await stack.enter_async_context(client)
        return await stack.enter_async_context(
            Client(streamable_http_client(self.config.url, http_client=http, max_sse_event_size=MAX_REPLY_BYTES))
        )

    async def _check_tool(self, client: "Client") -> None:
        """Refuse a tool that is missing or does not take our arguments."""
        tools: list[Tool] = []
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools.extend(page.tools)
            cursor = page.next_cursor
            if cursor is None:
                break
        tool = next((tool for tool in tools if tool.name == self.config.tool), None)
        if tool is None:
            names = [tool.name for tool in tools]
            raise AttemptError(
                FailureKind.UNKNOWN_MODEL,
                f"tools without it: {', '.join(names)[:200] or 'none'}{did_you_mean(self.config.tool, names)}",
                remedy="set search.mcp.tool",
            )
        known = tool.input_schema.get("properties")
        if not isinstance(known, dict):
            return
        given = {self.config.query_argument: "query_argument", **dict.fromkeys(self.config.arguments, "arguments")}
        if self.config.k_argument is not None:
            given[self.config.k_argument] = "k_argument"
        for name, key in given.items():
            if name not in known and tool.input_schema.get("additionalProperties") is not True:
                raise AttemptError(
                    FailureKind.UNKNOWN_MODEL,
                    f"a tool with arguments {', '.join(known) or 'none'}, not {name!r}{did_you_mean(name, list(known))}",
                    remedy=f"set search.mcp.{key}",
                )

    def _judge(self, error: BaseException, log: TextIO) -> AttemptError:
        """Say why no connection came about."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, AttemptError):
            return error
        if isinstance(error, TimeoutError):
            return AttemptError(FailureKind.UNREACHABLE, f"no connection within {CONNECT_SECONDS:g} s")
        reason = str(error) or type(error).__name__
        log.seek(max(log.seek(0, os.SEEK_END) - 4096, 0))
        last = log.read().strip().rpartition("\n")[2]
        reason = self._quote(f"{reason}; its last line: {last}" if last else reason)
        return AttemptError(FailureKind.UNREACHABLE, f"no connection ({reason})")


class ToolFailedError(Exception):
    """The tool itself says that it failed."""


def read_result(result: "CallToolResult", k: int, config: MCPSearchConfig) -> list[Passage]:
    """Read the passages of a tool's result.

    Raises:
        ToolFailedError: the tool reported an error.
        ValueError: the result has not the form that the configuration says; the message says what is missing.
    """
    blocks = [text for text in (getattr(block, "text", None) for block in result.content) if isinstance(text, str)]
    if result.is_error:
        raise ToolFailedError("\n".join(blocks) or "without a message")
    if config.reply == "json":
        return read_passages(_find_list(_read_json(result.structured_content, blocks), config.list_field), k)
    texts = blocks if not config.separator else [part for block in blocks for part in block.split(config.separator)]
    return read_passages([text for text in texts if text.strip()], k)


def _read_json(structured: Any, blocks: Sequence[str]) -> Any:
    """The structured content where there is one; else the text: one value, or one a block."""
    if structured is not None:
        # A tool that returns a list is wrapped by its server, since structured content is an object.
        return structured["result"] if list(structured) == ["result"] else structured
    try:
        values = [json.loads(block) for block in blocks if block.strip()]
    except (ValueError, RecursionError):
        start = next(block[:60] for block in blocks if block.strip())
        raise ValueError(f'expected JSON, found {start!r}; for plain text set search.mcp.reply = "text"') from None
    return values[0] if len(values) == 1 else values


def _find_list(value: Any, list_field: str | None) -> Any:
    for name in list_field.split(".") if list_field else ():
        if not isinstance(value, dict) or name not in value:
            fields = f"fields {', '.join(map(str, value))[:120]}" if isinstance(value, dict) else "no object"
            raise ValueError(f"expected the field {name} (search.mcp.list_field = {list_field!r}), found {fields}")
        value = value[name]
    if isinstance(value, dict):
        return [value]  # one passage
    return value
