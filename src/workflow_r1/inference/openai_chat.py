"""An LLM behind any endpoint that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama, ..."""

import base64
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field

from workflow_r1.errors import ConfigError, ServiceError
from workflow_r1.inference.chat import ChatReply, ChatRequest
from workflow_r1.inference.completion import read_completion
from workflow_r1.services.attempts import AttemptError, encodable, is_web_address, quote
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.json_service import JSONService, JSONServiceConfig
from workflow_r1.services.keys import read_key
from workflow_r1.services.refusals import Refusal
from workflow_r1.services.secrets import mask, secrets_of_url, without_login

OPENAI_URL = "https://api.openai.com/v1"
"""Endpoint where neither ``base_url`` nor the environment variable ``OPENAI_BASE_URL`` names one."""

logger = logging.getLogger(__name__)


class OpenAIChatConfig(JSONServiceConfig):
    """Address of the LLM, and the patience with which it is asked."""

    model: str = Field(min_length=1)
    """Model name at the endpoint."""
    base_url: str | None = None
    """Endpoint, e.g. ``http://127.0.0.1:8000/v1``; None is OpenAI's own, or the one in ``OPENAI_BASE_URL``."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. An endpoint named by ``base_url`` may do without."""
    timeout_seconds: float = Field(default=120.0, gt=0.0)
    """Longest attempt, from sending to the last byte."""
    idle_timeout_seconds: float = Field(default=60.0, gt=0.0)
    """Longest time in an attempt without a byte. A server sends none before its reply is written: allow for that."""
    concurrency: int = Field(default=32, ge=1)
    """Requests in flight at once, including those that wait for their retry: a busy server gets room."""
    check_model: bool = True
    """Refuse the reply of another model: one whose name neither contains ``model`` nor stands in it."""
    send_seed: bool = False
    """Send ``sample_index`` as ``seed``: a server that draws by it repeats its replies (vLLM, llama.cpp); some refuse it."""
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Field that bounds the reply. Reasoning models of OpenAI take the second only; a refusal of the first is learned from."""
    leave_out: tuple[str, ...] = ()
    """Fields that are never sent, since the endpoint refuses them, e.g. ``temperature``; the client learns the rest
    from refusals."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request, for an endpoint's own parameters, e.g. ``top_k``; None leaves a field out."""

    @property
    def url(self) -> str:
        """The endpoint, as it is asked."""
        return self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL

    @property
    def address(self) -> str:
        """The endpoint's address without login and query: for messages, and as a part of keys."""
        base_url = self.base_url or os.environ.get("OPENAI_BASE_URL")
        return without_login(base_url) if base_url else "the openai default endpoint"


class OpenAIChatModel:
    """A ``ChatModel`` over an endpoint.

    The client repeats a request whose failure may pass (:class:`FailureKind`), but not a refused one. A model that
    refuses ``max_tokens``, ``temperature`` or ``stop`` as such is asked at once without them, and never with them
    again.

    Connections are closed when the event loop ends. To close them sooner: :meth:`aclose`, ``async with``.

    Args:
        config: endpoint, model, patience.

    Raises:
        ConfigError: a key is needed and missing, or the address is not valid.
    """

    def __init__(self, config: OpenAIChatConfig) -> None:
        self.config = config
        url = config.url
        if not is_web_address(url):
            raise ConfigError(
                f"base_url: expected an address such as http://127.0.0.1:8000/v1, received {without_login(url)!r}"
            )
        key = read_key(config.api_key_env, purpose="an API key", required=False)
        if not key and url == OPENAI_URL:
            raise ConfigError(
                f"expected an API key in the environment variable {config.api_key_env}, found none; set it, or set "
                "base_url to a server that needs no key"
            )
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        parts = urlsplit(url)
        login, _, host = parts.netloc.rpartition("@")
        if login:
            headers["Authorization"] = f"Basic {base64.b64encode(unquote(login).encode()).decode()}"
        self._secrets = ({key} if key else set()) | secrets_of_url(url)
        self._length_field: str = config.length_field
        self._left_out = {*config.leave_out, *(key for key, value in config.extra_body.items() if value is None)}
        self._service = JSONService(
            parts._replace(netloc=host, path=parts.path.rstrip("/")).geturl(),
            config,
            key="base_url",
            headers=headers,
            secrets=tuple(self._secrets),
            remedies=_remedies(config.api_key_env),
            kind="chat",
            place=f"{config.model} at {config.address}",
        )
        self.num_replies = 0
        """Replies had so far."""

    @property
    def failures(self) -> Counter[FailureKind]:
        """Failed attempts so far, by kind."""
        return self._service.failures

    @property
    def retries(self) -> Counter[FailureKind]:
        """Number of ``failures`` that were tried again; each of the others ended its request."""
        return self._service.retries

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Return one reply; see :class:`~workflow_r1.inference.ChatModel`.

        An endpoint draws anew for every request; ``sample_index`` is sent only with ``send_seed``. A reply without a
        text is a reply all the same, and says why (:class:`~workflow_r1.inference.ReplyFlaw`).

        Raises:
            ServiceUnavailableError: unreachable, throttled, failing, unreadable or another model's on the last attempt.
            ServiceTimeoutError: no reply in time on the last attempt.
            EndpointRejectedError: the endpoint refuses every request: key, model, quota.
            TooLongError: the request is longer than the model takes.
            FilteredError: a content filter stopped the request.
            ServiceRejectedError: the endpoint refuses the form of the request.
        """
        sent = self._compose(request)

        def amend(refusal: Refusal) -> Mapping[str, Any] | None:
            nonlocal sent
            self._learn(refusal)
            composed = self._compose(request)
            if composed == sent:
                return None
            sent = composed
            return composed

        reply = await self._service.ask(sent, self._read, path="/chat/completions", amend=amend)
        self.num_replies += 1
        if request.stop and "stop" in self._left_out:
            ends = [found for found in (reply.text.find(stop) for stop in request.stop) if found >= 0]
            return replace(reply, text=reply.text[: min(ends)]) if ends else reply
        return reply

    async def served_models(self) -> list[str]:
        """Names of the models at the endpoint; none where it does not say."""
        try:
            return await self._service.ask(None, _read_models, path="/models")
        except ServiceError:
            return []  # Not every endpoint has such a list.

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        await self._service.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _compose(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": [{"role": message.role, "content": encodable(message.content)} for message in request.messages],
            "temperature": request.temperature,
            self._length_field: request.max_tokens,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if self.config.send_seed:
            body["seed"] = request.sample_index
        body |= self.config.extra_body
        return {key: value for key, value in body.items() if key not in self._left_out} if self._left_out else body

    def _learn(self, refusal: Refusal) -> None:
        """Take from a refusal which fields of the request this endpoint does not take."""
        if refusal.parameter == "max_tokens" and self._length_field == "max_tokens":
            self._length_field = "max_completion_tokens"
        elif refusal.parameter in ("temperature", "stop") and refusal.parameter not in self.config.extra_body:
            if refusal.parameter == "temperature" and "temperature" not in self._left_out:
                logger.warning("%s takes no temperature: it samples at its own", self.config.model)
            self._left_out.add(refusal.parameter)

    def _read(self, completion: Any) -> ChatReply:
        reply = read_completion(completion)
        model = completion.get("model")
        if self.config.check_model and isinstance(model, str) and not _same_model(self.config.model, model):
            raise AttemptError(FailureKind.WRONG_MODEL, f"a reply of the model {quote(model, self._secrets)!r}")
        keys = self._service.keys
        if not keys:
            return reply
        # Again, since the service's JSON may have spelt a key with escapes.
        return replace(reply, text=mask(reply.text, keys), reasoning=mask(reply.reasoning, keys))


def _remedies(key_variable: str) -> dict[int | FailureKind, str]:
    key = f"the key in the environment variable {key_variable}"
    return {
        FailureKind.IDLE: "check the server's load, raise idle_timeout_seconds, or lower concurrency",
        FailureKind.TIMEOUT: "check the server's load, raise timeout_seconds, or lower concurrency",
        FailureKind.WRONG_MODEL: "set model to what the endpoint serves, or check_model = false where that is its name",
        FailureKind.BAD_KEY: f"check {key}, and its permissions",
        FailureKind.UNKNOWN_MODEL: "check base_url (it usually ends in /v1) and the model's name",
        FailureKind.NO_QUOTA: f"the account of {key} has no quota left",
        FailureKind.TOO_LONG: "shorten the input, or lower max_tokens",
        FailureKind.CONTENT_FILTER: "a content filter of the service stopped what was asked",
        FailureKind.REJECTED: "check the model's name, max_tokens, extra_body and the length of the input",
    }


def _same_model(requested: str, received: str) -> bool:
    one, other = requested.strip().casefold(), received.strip().casefold()
    return one in other or other in one


def _read_models(reply: Any) -> list[str]:
    rows = reply.get("data") if isinstance(reply, dict) else None
    return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []
