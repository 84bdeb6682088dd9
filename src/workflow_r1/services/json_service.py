"""A service that takes JSON and answers in JSON: what every one of them needs."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from workflow_r1.errors import ConfigError
from workflow_r1.services.attempts import (
    AttemptError,
    ask_patiently,
    is_web_address,
    kind_of_status,
    quote,
    retry_after_seconds,
)
from workflow_r1.services.bounded_reply import UnboundedReplyError, read_bounded
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.secrets import hide_in_logs, mask, without_login
from workflow_r1.trajectory.records import Record

if TYPE_CHECKING:
    import httpx2

MAX_REPLY_BYTES = 32 * 2**20
"""Longest reply that is read; a longer one cannot be a page of passages."""

Reply = TypeVar("Reply")


class JSONServiceConfig(Record):
    """How patiently a service is asked."""

    timeout_seconds: float = Field(default=30.0, gt=0.0)
    """Longest time of one attempt, from sending to the last byte."""
    idle_timeout_seconds: float = Field(default=15.0, gt=0.0)
    """Longest silence within an attempt: while connecting, sending or reading."""
    max_retries: int = Field(default=4, ge=0)
    """Further attempts after a failed one."""
    backoff_seconds: float = Field(default=0.5, ge=0.0)
    """Wait before the first retry; doubles with each, less up to a half at random, unless the service names a wait."""
    concurrency: int = Field(default=16, ge=1)
    """Requests in flight at once; one that waits for its retry counts, so that a busy service is given room."""


class JSONService:
    """Asks one address. Connections are pooled, and belong to the event loop that opened them.

    Throttling, server errors, lost connections, timeouts and replies that cannot be read are tried again; a refusal of the
    request itself is not. Redirects are not followed, so that what is sent goes where the configuration says.

    Args:
        url: where requests go.
        config: patience.
        key: of the configuration, which errors name, e.g. ``search.server.url``.
        headers: sent with each request.
        secrets: never repeated in an error, a log or a passage.
        remedies: what to do by status, for refusals that this service has reasons of its own for.
        kind: what the service does, as errors call it.

    Raises:
        ConfigError: the address is none, or holds a login.
    """

    def __init__(
        self,
        url: str,
        config: JSONServiceConfig,
        *,
        key: str,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        remedies: Mapping[int, str] | None = None,
        kind: str = "search",
    ) -> None:
        if not is_web_address(url):
            raise ConfigError(f"{key}: expected an address such as http://127.0.0.1:8000")
        shown = without_login(url)
        if "@" in url.partition("//")[2].partition("/")[0]:
            raise ConfigError(
                f"{key}: expected no login in the address, received one for {shown}; keys stand in environment variables"
            )
        self._url = url
        self._config = config
        self._key = key
        self._kind = kind
        self._place = f"{kind} at {shown}"
        self._headers = dict(headers or {})
        self._secrets = secrets
        self._remedies = remedies or {}
        hide_in_logs(secrets)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(config.concurrency)
        self._client: httpx2.AsyncClient | None = None
        self._lifetime: AsyncGenerator[httpx2.AsyncClient, None] | None = None
        self.failures: Counter[FailureKind] = Counter()
        """Failed attempts so far, by kind, those that a retry made good included."""

    async def ask(
        self, request: Mapping[str, Any] | None, read: Callable[[Any], Reply], *, path: str = "", as_text: bool = False
    ) -> Reply:
        """Send a request and read the reply.

        Args:
            request: what is sent, as JSON; None asks with GET and sends nothing.
            read: makes something of the reply's JSON; raises ``ValueError`` where it makes no sense.
            path: appended to the address.
            as_text: the reply is no JSON: ``read`` gets it as it is.

        Raises:
            ServiceUnavailableError: unreachable, throttled, failing or unreadable on the last attempt.
            ServiceTimeoutError: no reply in time on the last attempt.
            EndpointRejectedError: the service refuses whatever is asked: key, quota, address.
            ServiceRejectedError: the service refuses the request.
        """
        client = await self._connect()
        content = None if request is None else json.dumps(request).encode()

        async def attempt() -> Reply:
            value = await self._attempt(client, content, self._url + path, as_text=as_text)
            try:
                return read(value)
            except ValueError as error:
                raise self._unreadable(str(error)) from None

        async with self._slots:
            return await ask_patiently(
                attempt,
                place=self._place,
                max_retries=self._config.max_retries,
                backoff_seconds=self._config.backoff_seconds,
                failures=self.failures,
            )

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        lifetime, self._lifetime, self._client = self._lifetime, None, None
        if lifetime is not None:
            await lifetime.aclose()

    async def _connect(self) -> "httpx2.AsyncClient":
        """Return the client of the running event loop: connections and semaphores belong to one loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._client = loop, None
            self._slots = asyncio.Semaphore(self._config.concurrency)
        if self._client is None:
            # A loop that ends closes the async generators that were started in it, and with this one the connections.
            self._lifetime = self._live()
            self._client = await anext(self._lifetime)
        return self._client

    async def _live(self) -> "AsyncGenerator[httpx2.AsyncClient, None]":
        import httpx2  # here, since --help need not wait for it

        client = httpx2.AsyncClient(
            headers={"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
            | self._headers,
            timeout=httpx2.Timeout(self._config.idle_timeout_seconds, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=self._config.concurrency),
            follow_redirects=False,
        )
        try:
            yield client
        finally:
            await client.aclose()

    async def _attempt(self, client: "httpx2.AsyncClient", content: bytes | None, url: str, *, as_text: bool) -> Any:
        """Ask once, and return what was replied.

        Raises:
            AttemptError: there is no reply.
        """
        import httpx2

        total, idle = self._config.timeout_seconds, self._config.idle_timeout_seconds
        method = "GET" if content is None else "POST"
        try:
            async with asyncio.timeout(total), client.stream(method, url, content=content) as response:
                body = await read_bounded(response, MAX_REPLY_BYTES)
        except TimeoutError:
            raise AttemptError(FailureKind.TIMEOUT, f"no complete reply within {total:g} s") from None
        except (httpx2.ReadTimeout, httpx2.WriteTimeout):
            raise AttemptError(FailureKind.IDLE, f"not a byte for {idle:g} s") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise AttemptError(FailureKind.UNREACHABLE, f"no connection ({self._describe(error)})") from None
        except (httpx2.TransportError, OSError) as error:
            raise AttemptError(FailureKind.RESET, f"a connection that broke ({self._describe(error)})") from None
        except (httpx2.DecodingError, UnboundedReplyError) as error:
            raise self._unreadable(str(error)) from None
        if not response.is_success:
            raise self._judge_status(response, body)
        try:
            # A service that repeats its key must not bring it into a trajectory.
            text = mask(body.decode("utf-8-sig"), self._secrets)
            return text if as_text else json.loads(text)
        except (ValueError, RecursionError):
            raise self._unreadable(f"expected JSON, found {body[:40].decode('utf-8', errors='replace')!r}") from None

    def _judge_status(self, response: "httpx2.Response", body: bytes) -> AttemptError:
        status = response.status_code
        message = self._quote(_message(body) or response.reason_phrase)
        received = f"status {status} ({message})" if message else f"status {status}"
        remedy = f"check {self._key}, and that a {self._kind} service of this kind answers there"
        if response.is_redirect:
            location = self._quote(without_login(response.headers.get("location", "")))
            remedy = f"it redirects to {location}: set {self._key} to where it is"
        kind = kind_of_status(status)
        return AttemptError(
            kind,
            received,
            retry_after=retry_after_seconds(response.headers) if kind.may_pass else None,
            remedy=None if kind.may_pass else self._remedies.get(status, remedy),
        )

    def _unreadable(self, reason: str) -> AttemptError:
        return AttemptError(FailureKind.INVALID_REPLY, f"a reply that cannot be read ({self._quote(reason)})")

    def _describe(self, error: Exception) -> str:
        return self._quote(str(error) or type(error).__name__)

    def _quote(self, text: str) -> str:
        return quote(text, self._secrets)


def _message(body: bytes) -> str:
    """What a service says of its refusal: the usual fields of a JSON error, else the text as it is."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body[:2000].decode("utf-8", errors="replace")
    if isinstance(value, dict):
        value = next((value[field] for field in ("detail", "message", "error") if value.get(field)), value)
    return value if isinstance(value, str) else json.dumps(value)


def read_key(variable: str, *, purpose: str) -> str:
    """Read a service's key from its environment variable.

    Raises:
        ConfigError: it is not set, or cannot be a key.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"expected {purpose} in the environment variable {variable}, found none; set it")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"expected plain ASCII in the environment variable {variable}, found other characters; copy the key again"
        )
    return key
