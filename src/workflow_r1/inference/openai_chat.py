"""An LLM behind any endpoint that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama, ..."""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from pydantic import Field

from workflow_r1.errors import (
    ConfigError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from workflow_r1.inference.chat import ChatReply
from workflow_r1.trajectory import FinishReason, Message, Usage
from workflow_r1.trajectory.records import Record

if TYPE_CHECKING:
    import openai

MAX_BACKOFF_SECONDS = 8.0
"""Longest wait between two attempts where the server names none."""

MAX_RETRY_AFTER_SECONDS = 120.0
"""Longest wait that a server's ``Retry-After`` is granted; one that asks for more counts as unavailable."""

_RETRIED_STATUS = frozenset({408, 409, 425, 429})
"""Besides every status from 500 on."""

_PLACEHOLDER_KEY = "no-key-needed"
"""The openai client refuses to start without a key; local servers ignore it."""

_MAX_QUOTED_CHARS = 300
"""How much of a server's own message is repeated."""


class OpenAIChatConfig(Record):
    """Where the LLM is and how patiently it is asked."""

    model: str = Field(min_length=1)
    """Model name at the endpoint."""
    base_url: str | None = None
    """Endpoint, e.g. ``http://127.0.0.1:8000/v1``; None is the openai client's default."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. An endpoint named by ``base_url`` may do without."""
    timeout_seconds: float = Field(default=60.0, gt=0.0)
    """Of one attempt, from sending to the last byte."""
    max_retries: int = Field(default=4, ge=0)
    """Further attempts after a failed one."""
    backoff_seconds: float = Field(default=0.5, ge=0.0)
    """Wait before the first retry; doubles with each, less up to a quarter at random, unless the server names a wait."""
    concurrency: int = Field(default=32, ge=1)
    """Requests in flight at once; one that waits for its retry counts, so that a busy server is given room."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request, for what an endpoint has of its own, e.g. ``top_k``."""


class OpenAIChatModel:
    """A ``ChatModel`` over the openai client.

    Connection refused, timeouts, throttling, server errors and replies that cannot be read are tried again; a refusal of
    the request itself is not. The retries are ours, not the client's: those neither bound an attempt whose bytes trickle
    nor repeat one whose reply cannot be read.

    The client is made at the first request and anew in another event loop, so one object serves several calls of
    ``asyncio.run``, each of which closes its connections at its end. To close them sooner: :meth:`aclose`, ``async with``.

    Args:
        config: endpoint, model, patience.

    Raises:
        ConfigError: there is no key where one is needed, or the address is none.
    """

    def __init__(self, config: OpenAIChatConfig) -> None:
        self.config = config
        base_url = config.base_url or os.environ.get("OPENAI_BASE_URL")
        key = os.environ.get(config.api_key_env, "").strip()
        if base_url is not None and (urlsplit(base_url).scheme not in ("http", "https") or not _host(base_url)):
            raise ConfigError(
                f"base_url: expected an address such as http://127.0.0.1:8000/v1, received {_without_login(base_url)!r}"
            )
        if not key and base_url is None:
            raise ConfigError(
                f"expected an API key in the environment variable {config.api_key_env}, found none; set it, or set "
                "base_url to a server that needs no key"
            )
        if not key.isascii() or not key.isprintable():
            raise ConfigError(
                f"expected plain ASCII in the environment variable {config.api_key_env}, found other characters; copy the "
                "key again"
            )
        self._base_url = base_url
        self._key = key or _PLACEHOLDER_KEY
        self._place = f"{config.model} at {_without_login(base_url) if base_url else 'the openai default endpoint'}"
        self._slots = asyncio.Semaphore(config.concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: openai.AsyncOpenAI | None = None
        self._lifetime: AsyncGenerator[openai.AsyncOpenAI, None] | None = None

    async def __call__(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        sample_index: int = 0,
        stop: Sequence[str] = (),
    ) -> ChatReply:
        """Return one reply; see :class:`~workflow_r1.inference.ChatModel`.

        The endpoint draws anew for every request, so ``sample_index`` is not sent. A reply without content (a refusal, a
        reasoning model that ran out of tokens) has the refusal or nothing as its text.

        Raises:
            ServiceUnavailableError: unreachable, throttled, failing or unreadable on every attempt.
            ServiceTimeoutError: no reply in time on the last attempt.
            ServiceRejectedError: the endpoint refuses the request: key, model, length, quota.
        """
        request: dict[str, Any] = {
            "model": self.config.model,
            "messages": [{"role": message.role, "content": _encodable(message.content)} for message in messages],
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        if stop:
            request["stop"] = list(stop)
        if self.config.extra_body:
            request["extra_body"] = self.config.extra_body
        client = await self._connect()
        num_attempts = self.config.max_retries + 1
        async with self._slots:
            for attempt in range(1, num_attempts + 1):
                try:
                    return await self._attempt(client, request)
                except _AttemptError as error:
                    if attempt == num_attempts:
                        raise error.final(self._place, num_attempts) from None
                    wait = self._wait(attempt, error.retry_after)
                    if wait > MAX_RETRY_AFTER_SECONDS:
                        raise error.final(self._place, attempt, asked_to_wait=wait) from None
                await asyncio.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        lifetime, self._lifetime, self._client = self._lifetime, None, None
        if lifetime is not None:
            await lifetime.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _connect(self) -> "openai.AsyncOpenAI":
        """Return the client of the running event loop: connections and semaphores belong to one loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._client = loop, None
            self._slots = asyncio.Semaphore(self.config.concurrency)
        if self._client is None:
            # A loop that ends closes the async generators that were started in it, and with this one the connections.
            self._lifetime = self._live()
            self._client = await anext(self._lifetime)
        return self._client

    async def _live(self) -> "AsyncGenerator[openai.AsyncOpenAI, None]":
        import openai  # here, since it takes half a second that --help need not pay

        client = openai.AsyncOpenAI(
            api_key=self._key, base_url=self._base_url, timeout=self.config.timeout_seconds, max_retries=0
        )
        try:
            yield client
        finally:
            await client.close()

    async def _attempt(self, client: "openai.AsyncOpenAI", request: dict[str, Any]) -> ChatReply:
        """Ask once.

        Raises:
            _AttemptError: it failed in a way that may pass.
            ServiceRejectedError: it failed in a way that will not.
        """
        import openai

        try:
            async with asyncio.timeout(self.config.timeout_seconds):
                completion = await client.chat.completions.create(**request)
        except (openai.APITimeoutError, TimeoutError):
            seconds = self.config.timeout_seconds
            raise _AttemptError(ServiceTimeoutError, f"no reply within {seconds:g} s") from None
        except openai.APIStatusError as error:
            raise self._judge_status(error) from None
        except openai.APIConnectionError as error:
            reason = self._redact(str(error.__cause__ or error))
            raise _AttemptError(ServiceUnavailableError, f"no connection ({reason})") from None
        except (openai.APIError, ValueError) as error:
            reason = self._redact(str(error))
            raise _AttemptError(ServiceUnavailableError, f"a reply that cannot be read ({reason})") from None
        return self._read(completion)

    def _judge_status(self, error: "openai.APIStatusError") -> Exception:
        status = error.status_code
        reason = f"status {status} ({self._redact(_server_message(error))})"
        if error.code == "insufficient_quota":
            return ServiceRejectedError(
                f"{self._place}: expected a reply, received {reason}; the account has no quota left"
            )
        if status in _RETRIED_STATUS or status >= 500:
            return _AttemptError(ServiceUnavailableError, reason, retry_after=_retry_after(error))
        remedy = {
            401: f"check the key in the environment variable {self.config.api_key_env}",
            403: f"check what the key in the environment variable {self.config.api_key_env} is allowed",
            404: "check base_url (it usually ends in /v1) and the model's name",
            413: "shorten the input",
        }.get(status, "check the model's name, max_tokens and the length of the input against what the endpoint takes")
        return ServiceRejectedError(f"{self._place}: expected a reply, received {reason}; {remedy}")

    def _read(self, completion: Any) -> ChatReply:
        """Take the first choice. An endpoint may send anything: the client does not check."""
        choices = getattr(completion, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        if message is None:
            received = "no choices" if hasattr(completion, "choices") else "something that is no chat completion"
            raise _AttemptError(ServiceUnavailableError, f"a reply that cannot be read ({received})")
        text = getattr(message, "content", None)
        if text is None:
            text = getattr(message, "refusal", None) or ""
        if not isinstance(text, str):
            raise _AttemptError(ServiceUnavailableError, "a reply that cannot be read (its content is no text)")
        usage = getattr(completion, "usage", None)
        return ChatReply(
            text=text,
            finish_reason=FinishReason.LENGTH
            if getattr(choice, "finish_reason", None) == "length"
            else FinishReason.STOP,
            usage=Usage(
                llm_calls=1,
                prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
                completion_tokens=getattr(usage, "completion_tokens", None) or 0,
            ),
        )

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return retry_after
        longest = min(self.config.backoff_seconds * 2 ** min(attempt - 1, 10), MAX_BACKOFF_SECONDS)
        # Jitter only spreads requests over time: no result depends on it, so it needs no seed.
        return longest * random.uniform(0.75, 1.0)

    def _redact(self, text: str) -> str:
        """Keep keys and logins out of a message, and the message short."""
        text = " ".join(text.replace(self._key, "***").split())
        if self._base_url is not None:
            text = text.replace(self._base_url, _without_login(self._base_url))
        return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "..."


class _AttemptError(Exception):
    """One attempt failed in a way that may pass."""

    def __init__(self, kind: type[ServiceError], received: str, *, retry_after: float | None = None) -> None:
        super().__init__(received)
        self.kind = kind
        self.received = received
        self.retry_after = retry_after

    def final(self, place: str, num_attempts: int, *, asked_to_wait: float | None = None) -> ServiceError:
        """Return what to raise when no further attempt is made."""
        attempts = "attempt" if num_attempts == 1 else "attempts"
        if asked_to_wait is not None:
            remedy = f"the server asks to wait {asked_to_wait:.0f} s: try again then"
        elif self.kind is ServiceTimeoutError:
            remedy = "check the server's load, raise timeout_seconds, or lower concurrency"
        else:
            remedy = "check that the server runs, and its log; lower concurrency if it is overloaded"
        return self.kind(
            f"{place}: expected a reply, received {self.received} after {num_attempts} {attempts}; {remedy}"
        )


def _server_message(error: "openai.APIStatusError") -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) else str(error.message)


def _retry_after(error: "openai.APIStatusError") -> float | None:
    """Seconds that the server asks to wait; None where it names none that can be read."""
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if seconds >= 0 else None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _without_login(url: str) -> str:
    """Leave out ``user:password@`` and a query, which may hold keys."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _encodable(text: str) -> str:
    """Replace lone surrogates: a request is UTF-8."""
    return text if text.isascii() else text.encode("utf-8", errors="replace").decode("utf-8")
