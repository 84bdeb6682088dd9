"""A service that takes JSON and answers in JSON: the common part of the clients of LLMs and searches."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import Field

from workflow_r1.errors import ConfigError
from workflow_r1.services.attempts import (
    AttemptError,
    ask_patiently,
    attempt_clock,
    is_web_address,
    quote,
    retry_after_seconds,
    tell_of_attempt,
)
from workflow_r1.services.bounded_reply import UnboundedReplyError, read_bounded
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.open_files import reserve_open_files
from workflow_r1.services.proxies import find_proxy
from workflow_r1.services.refusals import Refusal, read_refusal
from workflow_r1.services.secrets import hide_in_logs, mask, secrets_of_url, without_login
from workflow_r1.trajectory.records import Record

if TYPE_CHECKING:
    import httpcore2

MAX_REPLY_BYTES = 32 * 2**20
"""Longest reply that is read, decompressed; a longer one can be neither a page of passages nor a text."""

CONNECT_SECONDS = 10.0
"""Longest wait for a connection; a part of ``timeout_seconds``."""

_KEEP_ALIVE_SECONDS = 4.0
"""Longest time that an idle connection is kept: less than the five seconds after which many servers close theirs, since
a request that meets a closing connection fails.
"""

_MIN_KEY_CHARS = 8
"""Shortest key that any service gives out."""

Reply = TypeVar("Reply")


class JSONServiceConfig(Record):
    """Patience with a service."""

    timeout_seconds: float = Field(default=30.0, gt=0.0)
    """Longest time of one attempt, from sending to the last byte."""
    idle_timeout_seconds: float = Field(default=15.0, gt=0.0)
    """Longest silence within an attempt: while connecting, sending or reading."""
    max_retries: int = Field(default=4, ge=0)
    """Further attempts after a failed one."""
    backoff_seconds: float = Field(default=0.5, ge=0.0)
    """Wait before the first retry; doubles with each, less up to a half at random, unless the service names a wait."""
    concurrency: int = Field(default=16, ge=1)
    """Requests in flight at once, including those that wait for their retry: a busy service gets room."""


class JSONService:
    """Asks one address. Connections are pooled, and belong to the event loop that opened them.

    The client tries again after throttling, server errors, lost connections, timeouts and replies that it cannot read,
    but not after a refusal of the request itself. It follows no redirects: a request goes where the configuration says.

    The connections are opened at the first request and anew in another event loop. One object therefore serves several
    calls of ``asyncio.run``, and each closes its connections at its end.

    Args:
        url: address of the service; a query in it stays behind the paths that requests append.
        config: patience.
        key: configuration key that errors name, e.g. ``search.server.url``.
        headers: sent with each request.
        secrets: never repeated in an error or a log; those that are long enough for a key, and no plain value of the
            address's query, in no reply either.
        remedies: remedies by status or kind of failure, where this service has reasons of its own.
        kind: the service's task, as errors call it.
        place: the service, as errors name it; None is kind and address.

    Raises:
        ConfigError: the address is not valid, or holds a login.
    """

    def __init__(
        self,
        url: str,
        config: JSONServiceConfig,
        *,
        key: str,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        remedies: Mapping[int | FailureKind, str] | None = None,
        kind: str = "search",
        place: str | None = None,
    ) -> None:
        if not is_web_address(url):
            raise ConfigError(f"{key}: expected an address such as http://127.0.0.1:8000")
        shown, parts = without_login(url), urlsplit(url)
        if "@" in parts.netloc:
            raise ConfigError(
                f"{key}: expected no login in the address, received one for {shown}; keys stand in environment variables"
            )
        self._url = url
        self._config = config
        self._key = key
        self._kind = kind
        self._place = place or f"{kind} at {shown}"
        named = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "workflow-r1",
            **(headers or {}),
        }
        self._headers = [(name.encode("ascii"), value.encode("utf-8")) for name, value in named.items()]
        self._secrets = secrets
        # A value that is not a key, such as a version in the address's query, may well be a word of a reply.
        plain = secrets_of_url(url) - secrets_of_url(url, only_keys=True)
        self.keys: tuple[str, ...] = tuple(
            each for each in secrets if len(each) >= _MIN_KEY_CHARS and each not in plain
        )
        """Secrets that a reply must not repeat."""
        self._remedies = remedies or {}
        hide_in_logs(secrets)
        self._targets: dict[str, httpcore2.URL] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: asyncio.LifoQueue[httpcore2.AsyncConnectionPool] | None = None
        self._lifetime: AsyncGenerator[asyncio.LifoQueue[httpcore2.AsyncConnectionPool], None] | None = None
        self.failures: Counter[FailureKind] = Counter()
        """Failed attempts so far, by kind, including those that a retry made good."""
        self.retries: Counter[FailureKind] = Counter()
        """Number of ``failures`` that were tried again; each of the others ended its request."""

    async def ask(
        self,
        request: Mapping[str, Any] | None,
        read: Callable[[Any], Reply],
        *,
        path: str = "",
        as_text: bool = False,
        amend: Callable[[Refusal], Mapping[str, Any] | None] = lambda refusal: None,
    ) -> Reply:
        """Send a request and read the reply.

        Args:
            request: body of the request, as JSON; None asks with GET and sends nothing.
            read: makes something of the reply's JSON; raises ``ValueError`` where it makes no sense.
            path: appended to the address.
            as_text: True where the reply is not JSON: ``read`` gets its text.
            amend: makes the request to send in place of a refused one; None where nothing else can be sent.

        Raises:
            ServiceUnavailableError: unreachable, throttled, failing or unreadable on the last attempt.
            ServiceTimeoutError: no reply in time on the last attempt.
            EndpointRejectedError: the service refuses every request: key, quota, address.
            ContentRejectedError: the service refuses the request's content: too long, filtered.
            ServiceRejectedError: the service refuses the request for another reason.
            ConfigError: the environment names a proxy that cannot be used, or allows too few connections.
        """
        slots = await self._connect()
        pool = await slots.get()
        target = self._targets.get(path) or self._target(path)
        content = None if request is None else json.dumps(request).encode()
        limit = 0 if request is None else int(request.get("max_tokens") or request.get("max_completion_tokens") or 0)

        async def attempt() -> Reply:
            nonlocal content
            while True:
                status, headers, body = await self._attempt(pool, target, content)
                if 200 <= status < 300:
                    break
                refusal = read_refusal(status, body, max_tokens=limit)
                amended = amend(refusal)
                if amended is None:
                    raise self._judge(refusal, status, headers)
                content = json.dumps(amended).encode()
                tell_of_attempt()
            try:
                return read(self._decode(body, as_text=as_text))
            except AttemptError as error:
                error.remedy = error.remedy or self._remedies.get(error.kind)
                raise
            except ValueError as error:
                raise self._unreadable(str(error)) from None

        try:
            return await ask_patiently(
                attempt,
                place=self._place,
                max_retries=self._config.max_retries,
                backoff_seconds=self._config.backoff_seconds,
                failures=self.failures,
                retries=self.retries,
            )
        finally:
            slots.put_nowait(pool)

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        lifetime, self._lifetime, self._slots = self._lifetime, None, None
        if lifetime is not None:
            await lifetime.aclose()

    async def _connect(self) -> "asyncio.LifoQueue[httpcore2.AsyncConnectionPool]":
        """Return the slots of the running event loop, one for each request in flight: connections belong to one loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._slots = loop, None
        if self._slots is None:
            # A loop that ends closes the async generators that were started in it, and with this one the connections.
            self._lifetime = self._live()
            self._slots = await anext(self._lifetime)
        return self._slots

    async def _live(self) -> "AsyncGenerator[asyncio.LifoQueue[httpcore2.AsyncConnectionPool], None]":
        import httpcore2  # here, since --help need not wait for it

        from workflow_r1.services.sockets import SocketBackend, open_pool

        proxy = find_proxy(self._url)
        if proxy is not None and "through the proxy" not in self._place:
            self._place += f" through the proxy of {proxy.variable}"
        # A context reads all certificates of the system: one for all connections, and none where nothing is encrypted.
        context = httpcore2.default_ssl_context() if self._url.startswith("https:") else None
        # One connection each: the library looks at all connections of a pool for every request.
        backend = SocketBackend()
        pools = [
            open_pool(backend, context, proxy, keep_alive_seconds=_KEEP_ALIVE_SECONDS)
            for _ in range(self._config.concurrency)
        ]
        slots: asyncio.LifoQueue[httpcore2.AsyncConnectionPool] = asyncio.LifoQueue()
        for pool in pools:
            slots.put_nowait(pool)
        with reserve_open_files(self._config.concurrency, place=self._place):
            try:
                yield slots
            finally:
                for pool in pools:
                    await pool.aclose()

    def _target(self, path: str) -> "httpcore2.URL":
        import httpcore2

        parts = urlsplit(self._url)
        joined = parts._replace(path=parts.path.rstrip("/") + path if path else parts.path, fragment="")
        return self._targets.setdefault(path, httpcore2.URL(joined.geturl()))

    async def _attempt(
        self, pool: "httpcore2.AsyncConnectionPool", target: "httpcore2.URL", content: bytes | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask once, and return status, headers (by their names in lower case) and body of the answer.

        Raises:
            AttemptError: there is no answer.
        """
        import httpcore2

        total, idle = self._config.timeout_seconds, self._config.idle_timeout_seconds
        # Asked without a client in between, which would keep cookies and look for logins at every call.
        request = httpcore2.Request(
            "GET" if content is None else "POST",
            target,
            headers=self._headers if content is None else [*self._headers, (b"Content-Length", b"%d" % len(content))],
            content=content,
            extensions={"timeout": {"connect": min(CONNECT_SECONDS, idle), "read": idle, "write": idle, "pool": None}},
        )
        try:
            async with asyncio.timeout(total) as clock:
                token = attempt_clock.set(clock)
                try:
                    response = await pool.handle_async_request(request)
                finally:
                    attempt_clock.reset(token)
                try:
                    headers = {
                        name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers
                    }
                    encoding = headers.get("content-encoding", "")
                    body = await read_bounded(response.aiter_stream(), encoding=encoding, max_bytes=MAX_REPLY_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise self._failed(FailureKind.TIMEOUT, f"no complete reply within {total:g} s") from None
        except (httpcore2.ReadTimeout, httpcore2.WriteTimeout):
            raise self._failed(FailureKind.IDLE, f"not a byte for {idle:g} s") from None
        except (
            httpcore2.ConnectError,
            httpcore2.ConnectTimeout,
            httpcore2.ProxyError,
            httpcore2.UnsupportedProtocol,
        ) as error:
            raise self._failed(FailureKind.UNREACHABLE, f"no connection ({self._describe(error)})") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError) as error:
            raise self._failed(FailureKind.RESET, f"a connection that broke ({self._describe(error)})") from None
        except UnboundedReplyError as error:
            raise self._unreadable(str(error)) from None
        return response.status, headers, body

    def _decode(self, body: bytes, *, as_text: bool) -> Any:
        try:
            # A service that repeats its key must not bring it into a trajectory.
            text = mask(body.decode("utf-8-sig"), self.keys)
            return text if as_text else json.loads(text)
        except (ValueError, RecursionError):
            raise self._unreadable(f"expected JSON, found {body[:40].decode('utf-8', errors='replace')!r}") from None

    def _judge(self, refusal: Refusal, status: int, headers: Mapping[str, str]) -> AttemptError:
        if 300 <= status < 400:
            location = self._quote(without_login(headers.get("location", "")))
            return self._failed(
                refusal.kind,
                f"a redirect to {location}, which is not followed",
                remedy=f"it redirects to {location}: set {self._key} to that address",
            )
        message = self._quote(refusal.message)
        return self._failed(
            refusal.kind,
            f"status {status} ({message})" if message else f"status {status}",
            retry_after=retry_after_seconds(headers) if refusal.kind.may_pass else None,
            remedy=self._remedies.get(status),
        )

    def _failed(
        self, kind: FailureKind, received: str, *, retry_after: float | None = None, remedy: str | None = None
    ) -> AttemptError:
        remedy = remedy or self._remedies.get(kind)
        if remedy is None and not kind.may_pass:
            remedy = f"check {self._key}, and that a {self._kind} service of this kind answers there"
        return AttemptError(kind, received, retry_after=retry_after, remedy=remedy)

    def _unreadable(self, reason: str) -> AttemptError:
        return self._failed(FailureKind.INVALID_REPLY, f"a reply that cannot be read ({self._quote(reason)})")

    def _describe(self, error: Exception) -> str:
        return self._quote(str(error) or type(error).__name__)

    def _quote(self, text: str) -> str:
        return quote(text, self._secrets)
