"""A search service that takes JSON by POST and answers in JSON: what every one of them needs."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from workflow_r1.attempts import (
    RETRIED_STATUS,
    AttemptError,
    ask_patiently,
    is_web_address,
    not_connected,
    not_readable,
    quote,
    retry_after_seconds,
    timed_out,
    without_login,
)
from workflow_r1.errors import ConfigError, ServiceRejectedError, ServiceUnavailableError
from workflow_r1.trajectory.records import Record

if TYPE_CHECKING:
    import httpx2

MAX_REPLY_BYTES = 32 * 2**20
"""Longest reply that is read; a longer one cannot be a page of passages."""

Reply = TypeVar("Reply")


class JSONServiceConfig(Record):
    """How patiently a search service is asked."""

    timeout_seconds: float = Field(default=30.0, gt=0.0)
    """Of one attempt, from sending to the last byte."""
    idle_timeout_seconds: float = Field(default=15.0, gt=0.0)
    """Longest silence within an attempt: while connecting, sending or reading."""
    max_retries: int = Field(default=4, ge=0)
    """Further attempts after a failed one."""
    backoff_seconds: float = Field(default=0.5, ge=0.0)
    """Wait before the first retry; doubles with each, less up to a quarter at random, unless the service names a wait."""
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
        secrets: never repeated in an error.
        remedies: what to do by status, for refusals that this service has reasons of its own for.

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
    ) -> None:
        shown = without_login(url)
        if not is_web_address(url):
            raise ConfigError(f"{key}: expected an address such as http://127.0.0.1:8000, received {shown!r}")
        if "@" in url.partition("//")[2].partition("/")[0]:
            raise ConfigError(
                f"{key}: expected no login in the address, received one for {shown}; keys stand in environment variables"
            )
        self._url = url
        self._config = config
        self._key = key
        self._place = f"search at {shown}"
        self._headers = dict(headers or {})
        self._secrets = secrets
        self._remedies = remedies or {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(config.concurrency)
        self._client: httpx2.AsyncClient | None = None
        self._lifetime: AsyncGenerator[httpx2.AsyncClient, None] | None = None
        self.failures: Counter[str] = Counter()
        """Failed attempts so far by their cause, those that a retry made good included."""

    async def post(self, request: Mapping[str, Any], read: Callable[[Any], Reply]) -> Reply:
        """Send a request and read the reply.

        Args:
            request: what is sent, as JSON.
            read: makes something of the reply's JSON; raises ``ValueError`` where it makes no sense.

        Raises:
            ServiceUnavailableError: unreachable, throttled, failing or unreadable on every attempt.
            ServiceTimeoutError: no reply in time on the last attempt.
            ServiceRejectedError: the service refuses the request.
        """
        client = await self._connect()
        content = json.dumps(request).encode()

        async def attempt() -> Reply:
            value = await self._attempt(client, content)
            try:
                return read(value)
            except ValueError as error:
                raise not_readable(self._quote(str(error))) from None

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
            headers={"Content-Type": "application/json", "Accept": "application/json"} | self._headers,
            timeout=httpx2.Timeout(self._config.idle_timeout_seconds, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=self._config.concurrency),
            follow_redirects=False,
        )
        try:
            yield client
        finally:
            await client.aclose()

    async def _attempt(self, client: "httpx2.AsyncClient", content: bytes) -> Any:
        """Ask once, and return the reply's JSON.

        Raises:
            AttemptError: it failed in a way that may pass.
            ServiceRejectedError: it failed in a way that will not.
        """
        import httpx2

        try:
            async with (
                asyncio.timeout(self._config.timeout_seconds),
                client.stream("POST", self._url, content=content) as response,
            ):
                body = await _read_body(response)
        except TimeoutError:
            raise timed_out(self._config.timeout_seconds) from None
        except httpx2.TimeoutException:
            raise timed_out(self._config.idle_timeout_seconds, what="nothing") from None
        except httpx2.DecodingError as error:
            raise not_readable(self._quote(str(error))) from None
        except (httpx2.TransportError, OSError) as error:
            raise not_connected(self._quote(str(error) or type(error).__name__)) from None
        if not response.is_success:
            raise self._judge_status(response, body)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            start = quote(body[:60].decode("utf-8", errors="replace"), *self._secrets)
            raise not_readable(f"expected JSON, found {start!r}") from None

    def _judge_status(self, response: "httpx2.Response", body: bytes) -> Exception:
        status = response.status_code
        message = self._quote(_message(body) or response.reason_phrase)
        received = f"status {status} ({message})" if message else f"status {status}"
        if status in RETRIED_STATUS:
            wait = retry_after_seconds(response.headers)
            return AttemptError(ServiceUnavailableError, received, cause=f"status {status}", retry_after=wait)
        self.failures[f"status {status}"] += 1
        remedy = self._remedies.get(status)
        if remedy is None and response.is_redirect:
            location = without_login(response.headers.get("location", ""))
            remedy = f"it redirects to {self._quote(location)}: set {self._key} to where it is"
        return ServiceRejectedError(
            f"{self._place}: expected a reply, received {received}; {remedy or f'check {self._key}, and that a search service of this kind answers there'}"
        )

    def _quote(self, text: str) -> str:
        return quote(text, *self._secrets)


async def _read_body(response: "httpx2.Response") -> bytes:
    """Read the reply as it comes, so that one without end does not fill the memory."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_REPLY_BYTES:
            raise not_readable(f"longer than {MAX_REPLY_BYTES} bytes")
    return bytes(body)


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
