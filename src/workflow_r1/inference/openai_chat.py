"""An LLM behind any endpoint that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama, ..."""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field

from workflow_r1.errors import ConfigError
from workflow_r1.inference.chat import ChatReply
from workflow_r1.services.attempts import (
    AttemptError,
    ask_patiently,
    encodable,
    is_web_address,
    kind_of_status,
    quote,
    retry_after_seconds,
)
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.secrets import hide_in_logs, mask, secrets_of_url, without_login
from workflow_r1.trajectory import FinishReason, Message, Usage
from workflow_r1.trajectory.records import Record

if TYPE_CHECKING:
    import httpx2
    import openai

CONNECT_SECONDS = 10.0
"""Longest wait for a connection; a part of ``timeout_seconds``."""

_KEEP_ALIVE_SECONDS = 4.0
"""How long an idle connection is kept: less than the five seconds after which many servers close theirs, since a request
that meets a closing connection fails."""

_CONNECTIONS_PER_CLIENT = 8
"""The HTTP library looks at all connections of a pool for each request. Small pools halve the cost of a call at 64."""

_KIND_OF_CODE = {
    "insufficient_quota": FailureKind.NO_QUOTA,
    "invalid_api_key": FailureKind.BAD_KEY,
    "model_not_found": FailureKind.UNKNOWN_MODEL,
    "context_length_exceeded": FailureKind.TOO_LONG,
}
"""What a server's own code tells more exactly than its status."""

_CONTEXT = re.compile(r"context.?(?:length|size|window)", re.IGNORECASE)

_PLACEHOLDER_KEY = "no-key-needed"
"""The openai client refuses to start without a key; local servers ignore it."""


class OpenAIChatConfig(Record):
    """Where the LLM is and how patiently it is asked."""

    model: str = Field(min_length=1)
    """Model name at the endpoint."""
    base_url: str | None = None
    """Endpoint, e.g. ``http://127.0.0.1:8000/v1``; None is the openai client's default."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. An endpoint named by ``base_url`` may do without."""
    timeout_seconds: float = Field(default=120.0, gt=0.0)
    """Longest time of one attempt, from sending to the last byte."""
    idle_timeout_seconds: float = Field(default=60.0, gt=0.0)
    """Longest time in an attempt without a byte. A server sends none before its reply is written: allow for that."""
    max_retries: int = Field(default=4, ge=0)
    """Further attempts after a failed one."""
    backoff_seconds: float = Field(default=0.5, ge=0.0)
    """Wait before the first retry; doubles with each, less up to a half at random, unless the server names a wait."""
    concurrency: int = Field(default=32, ge=1)
    """Requests in flight at once; one that waits for its retry counts, so that a busy server is given room."""
    check_model: bool = True
    """Refuse the reply of another model: one whose name neither contains ``model`` nor stands in it."""
    send_seed: bool = False
    """Send ``sample_index`` as ``seed``: a server that draws by it repeats its replies (vLLM, llama.cpp); some refuse it."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request, for what an endpoint has of its own, e.g. ``top_k``."""

    @property
    def address(self) -> str:
        """The endpoint's address without login and query: for messages, and as a part of keys."""
        base_url = self.base_url or os.environ.get("OPENAI_BASE_URL")
        return without_login(base_url) if base_url else "the openai default endpoint"


class OpenAIChatModel:
    """A ``ChatModel`` over the openai client.

    What may pass (:class:`FailureKind`) is tried again; a refusal is not. The retries are ours, not the client's: those
    neither bound an attempt whose bytes trickle nor repeat one whose reply cannot be read. Replies are read from the raw
    JSON: building the client's own records takes as long again as all the rest of a call.

    The connections are opened at the first request and anew in another event loop, so one object serves several calls of
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
        if base_url is not None and not is_web_address(base_url):
            raise ConfigError(
                f"base_url: expected an address such as http://127.0.0.1:8000/v1, received {without_login(base_url)!r}"
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
        self._secrets = ({key} if key else set()) | (secrets_of_url(base_url) if base_url else set())
        if self._secrets:
            hide_in_logs(self._secrets)
        self._place = f"{config.model} at {config.address}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: asyncio.LifoQueue[openai.AsyncOpenAI] | None = None
        self._lifetime: AsyncGenerator[asyncio.LifoQueue[openai.AsyncOpenAI], None] | None = None
        self.num_replies = 0
        """Replies had so far."""
        self.failures: Counter[FailureKind] = Counter()
        """Failed attempts so far, by kind."""
        self.retries: Counter[FailureKind] = Counter()
        """Those of ``failures`` that were tried again; each of the others was the end of its request."""

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

        An endpoint draws anew for every request; ``sample_index`` is sent only with ``send_seed``. A reply without content
        (a refusal, a reasoning model that ran out of tokens) has the refusal or nothing as its text.

        Raises:
            ServiceUnavailableError: unreachable, throttled, failing, unreadable or another model's on the last attempt.
            ServiceTimeoutError: no reply in time on the last attempt.
            EndpointRejectedError: the endpoint refuses whatever is asked: key, model, quota.
            ServiceRejectedError: the endpoint refuses the request: length, form.
        """
        request: dict[str, Any] = {
            "model": self.config.model,
            "messages": [{"role": message.role, "content": encodable(message.content)} for message in messages],
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        if stop:
            request["stop"] = list(stop)
        if self.config.send_seed:
            request["seed"] = sample_index
        request |= self.config.extra_body
        slots = await self._connect()
        client = await slots.get()
        try:
            reply = await ask_patiently(
                partial(self._attempt, client, request),
                place=self._place,
                max_retries=self.config.max_retries,
                backoff_seconds=self.config.backoff_seconds,
                failures=self.failures,
                retries=self.retries,
            )
        finally:
            slots.put_nowait(client)
        self.num_replies += 1
        return reply

    async def served_models(self) -> list[str]:
        """Names of the models at the endpoint; none where it does not say."""
        import openai

        slots = await self._connect()
        client = await slots.get()
        try:
            async with asyncio.timeout(self.config.timeout_seconds):
                response = await client.models.with_raw_response.list()
            return [str(model["id"]) for model in response.http_response.json()["data"]]
        except (openai.OpenAIError, TimeoutError, ValueError, KeyError, TypeError):
            return []  # Not every endpoint has such a list, and what stands in its place may be anything.
        finally:
            slots.put_nowait(client)

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        lifetime, self._lifetime, self._slots = self._lifetime, None, None
        if lifetime is not None:
            await lifetime.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _connect(self) -> "asyncio.LifoQueue[openai.AsyncOpenAI]":
        """Return the slots of the running event loop, one for each request in flight: connections belong to one loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._slots = loop, None
        if self._slots is None:
            # A loop that ends closes the async generators that were started in it, and with this one the connections.
            self._lifetime = self._live()
            self._slots = await anext(self._lifetime)
        return self._slots

    async def _live(self) -> "AsyncGenerator[asyncio.LifoQueue[openai.AsyncOpenAI], None]":
        import httpx2  # here, since the two take half a second that --help need not pay
        import openai

        from workflow_r1.inference.bounded_http import BoundedHTTPClient

        config = self.config
        address, query = self._base_url, {}
        if address is not None:
            parts = urlsplit(address)
            address, query = parts._replace(query="", fragment="").geturl(), dict(parse_qsl(parts.query))
        idle = config.idle_timeout_seconds
        timeout = httpx2.Timeout(connect=CONNECT_SECONDS, read=idle, write=idle, pool=None)
        verify = httpx2.create_ssl_context() if address is None or address.startswith("https:") else True
        slots: asyncio.LifoQueue[openai.AsyncOpenAI] = asyncio.LifoQueue()
        clients = []
        for first in range(0, config.concurrency, _CONNECTIONS_PER_CLIENT):
            num = min(_CONNECTIONS_PER_CLIENT, config.concurrency - first)
            limits = httpx2.Limits(
                max_connections=num, max_keepalive_connections=num, keepalive_expiry=_KEEP_ALIVE_SECONDS
            )
            client = openai.AsyncOpenAI(
                api_key=self._key,
                base_url=address,
                default_query=query,
                timeout=timeout,
                max_retries=0,
                http_client=BoundedHTTPClient(limits=limits, timeout=timeout, verify=verify),
            )
            clients.append(client)
            for _ in range(num):
                slots.put_nowait(client)
        try:
            yield slots
        finally:
            for client in clients:
                await client.close()

    async def _attempt(self, client: "openai.AsyncOpenAI", request: dict[str, Any]) -> ChatReply:
        """Ask once.

        Raises:
            AttemptError: there is no reply.
        """
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self.config.timeout_seconds):
                response = await client.post("/chat/completions", cast_to=httpx2.Response, body=request)
        except openai.APIStatusError as error:
            raise self._judge_status(error) from None
        except openai.APIConnectionError as error:
            raise self._judge_connection(error) from None
        except TimeoutError:
            seconds = self.config.timeout_seconds
            raise self._failed(FailureKind.TIMEOUT, f"no complete reply within {seconds:g} s") from None
        except (openai.OpenAIError, ValueError) as error:
            raise self._unreadable(str(error)) from None
        return self._read(response)

    def _judge_connection(self, error: "openai.APIConnectionError") -> AttemptError:
        import httpx2

        cause = error.__cause__
        if isinstance(cause, httpx2.ReadTimeout | httpx2.WriteTimeout):
            seconds = self.config.idle_timeout_seconds
            return self._failed(FailureKind.IDLE, f"not a byte for {seconds:g} s")
        reason = self._redact(str(cause or error) or type(cause).__name__)
        if isinstance(cause, httpx2.DecodingError):
            return self._unreadable(reason)
        if isinstance(cause, httpx2.NetworkError | httpx2.RemoteProtocolError) and not isinstance(
            cause, httpx2.ConnectError
        ):
            return self._failed(FailureKind.RESET, f"a connection that broke ({reason})")
        return self._failed(FailureKind.UNREACHABLE, f"no connection ({reason})")

    def _judge_status(self, error: "openai.APIStatusError") -> AttemptError:
        status = error.status_code
        if error.response.is_redirect:
            place = self._redact(without_login(error.response.headers.get("location", "")))
            received = f"a redirect to {place}, which is not followed"
            return self._failed(FailureKind.UNKNOWN_MODEL, received)
        message = _server_message(error)
        kind = _kind_of_refusal(status, str(error.code or ""), message)
        retry_after = retry_after_seconds(error.response.headers) if kind.may_pass else None
        return self._failed(kind, f"status {status} ({self._redact(message)})", retry_after=retry_after)

    def _unreadable(self, reason: str) -> AttemptError:
        return self._failed(FailureKind.INVALID_REPLY, f"a reply that cannot be read ({self._redact(reason)})")

    def _read(self, response: "httpx2.Response") -> ChatReply:
        """Take the first choice. An endpoint may send anything.

        Raises:
            AttemptError: it is no chat completion, or another model's.
        """
        try:
            completion = json.loads(response.content)
        except (ValueError, RecursionError):
            raise self._unreadable(f"no JSON: {response.text[:40]!r}") from None
        if not isinstance(completion, dict):
            raise self._unreadable("something that is no chat completion")
        choices = completion.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        choice = first if isinstance(first, dict) else {}
        message = choice.get("message")
        if not isinstance(message, dict):
            error = completion.get("error")
            raise self._unreadable("no choices" if error is None else f"no choices but an error: {error}")
        text = message.get("content")
        if text is None:
            text = message.get("refusal") or ""
        if not isinstance(text, str):
            raise self._unreadable("its content is no text")
        model = completion.get("model")
        if self.config.check_model and isinstance(model, str) and not _same_model(self.config.model, model):
            raise self._failed(FailureKind.WRONG_MODEL, f"a reply of the model {self._redact(model)!r}")
        return ChatReply(
            text=mask(encodable(text), self._secrets),
            finish_reason=FinishReason.LENGTH if choice.get("finish_reason") == "length" else FinishReason.STOP,
            usage=Usage(
                llm_calls=1,
                prompt_tokens=_num_tokens(completion, "prompt_tokens"),
                completion_tokens=_num_tokens(completion, "completion_tokens"),
                # A price is the meter's to say.
                cost=None,
                paid=None,
            ),
        )

    def _failed(self, kind: FailureKind, received: str, *, retry_after: float | None = None) -> AttemptError:
        """What an attempt without a reply raises, with what to do about it."""
        key = f"the key in the environment variable {self.config.api_key_env}"
        remedies = {
            FailureKind.IDLE: "check the server's load, raise idle_timeout_seconds, or lower concurrency",
            FailureKind.TIMEOUT: "check the server's load, raise timeout_seconds, or lower concurrency",
            FailureKind.WRONG_MODEL: "set model to what the endpoint serves, or check_model = false where that is its name",
            FailureKind.BAD_KEY: f"check {key}, and what it is allowed",
            FailureKind.UNKNOWN_MODEL: "check base_url (it usually ends in /v1) and the model's name",
            FailureKind.NO_QUOTA: f"the account of {key} has no quota left",
            FailureKind.TOO_LONG: "shorten the input, or lower max_tokens",
            FailureKind.REJECTED: "check the model's name, max_tokens, extra_body and the length of the input",
        }
        return AttemptError(kind, received, retry_after=retry_after, remedy=remedies.get(kind))

    def _redact(self, text: str) -> str:
        return quote(text, self._secrets)


def _kind_of_refusal(status: int, code: str, message: str) -> FailureKind:
    """Judge a refusal by its status and the server's own code; of a request that is too long many servers only tell."""
    kind = kind_of_status(status)
    if kind is FailureKind.REJECTED or code == "insufficient_quota":
        kind = _KIND_OF_CODE.get(code, kind)
    return FailureKind.TOO_LONG if kind is FailureKind.REJECTED and _CONTEXT.search(message) else kind


def _same_model(requested: str, received: str) -> bool:
    one, other = requested.strip().casefold(), received.strip().casefold()
    return one in other or other in one


def _num_tokens(completion: dict[str, Any], key: str) -> int:
    """Read a figure of the service's own usage; 0 where it gives none."""
    usage = completion.get("usage")
    number = usage.get(key) if isinstance(usage, dict) else None
    return number if isinstance(number, int) and 0 <= number < 2**53 else 0


def _server_message(error: "openai.APIStatusError") -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) else str(error.message)
