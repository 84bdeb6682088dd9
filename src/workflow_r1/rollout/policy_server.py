"""A vLLM server that samples the policy while another process trains it: tokens in, tokens out, weights swapped in place.

A request names new weights by a path that both sides see. The server may die and come back at any time: the client then
waits for it, gives it the current weights again, and repeats the request.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from workflow_r1.errors import (
    EndpointRejectedError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    TooLongError,
)
from workflow_r1.rollout.completions import (
    Completion,
    CompletionRequest,
    is_llama_server,
    llama_request,
    max_length,
    read_completion,
    read_llama_completion,
    vllm_request,
)
from workflow_r1.services.attempts import attempts_told_to
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.json_service import JSONService, JSONServiceConfig
from workflow_r1.services.keys import read_key

MAX_REPEATS = 3
"""Most repeats of a request that failed while the server answered other requests."""

UNLIMITED = 2**31
"""Longest context of a server that names no limit, in tokens."""

POLL_SECONDS = 2.0
"""Time between two looks at a server that does not answer, in seconds."""


class PolicyServerConfig(JSONServiceConfig):
    """A vLLM server on which a training run samples: ``docs/how-to/served-rollouts.md``."""

    base_url: str = Field(default="http://127.0.0.1:8000/v1", min_length=1)
    """Its OpenAI-compatible address."""
    model: str = Field(default="policy", min_length=1)
    """The base model's name there (``--served-model-name``)."""
    adapter: str = Field(default="workflow-r1", min_length=1)
    """Name under which the adapters are loaded; two runs on one server need two names."""
    directory: Path | None = None
    """Directory for the weights that the server reads, in a folder of the run's name: a path that both see. None is
    ``served/`` in the run directory."""
    api_key_env: str | None = None
    """Environment variable that holds a key, sent as a bearer token; None sends no key."""
    max_lag: int = Field(default=0, ge=0)
    """Optimiser steps by which the server's weights may be behind before they are swapped; above 0, trajectories of an older
    policy are trained on, weighted by the per-turn correction."""
    wait_seconds: float = Field(default=600.0, ge=0.0)
    """Longest wait for a server that is gone, in seconds, before trajectories fail."""
    timeout_seconds: float = Field(default=600.0, gt=0.0)
    """Longest time of one turn, from sending to the last token."""
    idle_timeout_seconds: float = Field(default=600.0, gt=0.0)
    """Longest silence within a request; a server sends nothing until the turn is complete."""
    max_retries: int = Field(default=2, ge=0)
    """Further attempts after a failed one, before the server counts as gone."""
    concurrency: int = Field(default=256, ge=1)
    """Turns in flight at once; the server queues those beyond its own ``--max-num-seqs``."""


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """Weights of the policy, on a disk that the server sees."""

    kind: Literal["adapter", "full"]
    """A peft adapter, or a whole model in Hugging Face format."""
    path: Path
    """Their directory; every version has one of its own, since the server's prefix cache goes by it."""
    version: int
    """Optimiser steps that the policy had taken."""


class PolicyServer:
    """One server and the weights that it should have.

    Args:
        config: address, names, patience.
        notify: called when the server is gone and when it is back.

    Raises:
        ConfigError: the address is not valid, or the key is missing.
    """

    def __init__(self, config: PolicyServerConfig, *, notify: Callable[[str], None] = lambda message: None) -> None:
        self.config = config
        self._notify = notify
        self._published: PublishedWeights | None = None
        self._loaded: PublishedWeights | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()
        self._num_in_flight = 0
        self._nothing_in_flight = asyncio.Event()
        self._gone_since: float | None = None
        self._max_length: int | None = None
        self._is_llama = False
        self.num_swaps = 0
        """Number of weights given to the server so far, including repeats after a restart."""
        self.num_outages = 0
        """Number of times that it was gone and came back."""
        headers = None
        secrets: tuple[str, ...] = ()
        if config.api_key_env is not None:
            key = read_key(config.api_key_env, purpose="the policy server's key")
            headers, secrets = {"Authorization": f"Bearer {key}"}, (key,)
        root = config.base_url.rstrip("/").removesuffix("/v1")

        def service(settings: JSONServiceConfig, remedies: Mapping[int | FailureKind, str]) -> JSONService:
            return JSONService(
                root,
                settings,
                key="sampling.server.base_url",
                headers=headers,
                secrets=secrets,
                remedies=remedies,
                kind="policy server",
            )

        self._service = service(config, {404: "check sampling.server.model and how the server was started"})
        probing = JSONServiceConfig(timeout_seconds=10.0, idle_timeout_seconds=10.0, max_retries=0)
        self._probe = service(probing, {})

    def publish(self, weights: PublishedWeights) -> None:
        """Publish the weights that the server should have; it gets them before the next turn, once those under way have ended."""
        self._published = weights

    async def complete(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
        stop_token_ids: Sequence[int],
        stop: Sequence[str],
    ) -> Completion:
        """Sample a continuation of a context.

        Raises:
            TooLongError: the context leaves no room for another token.
            ServiceError: the server is gone for longer than ``wait_seconds``, or refuses.
        """
        repeats = 0
        while True:
            weights = None
            try:
                room = await self._room(prompt, max_tokens)
                weights = await self._load_published()
                # Nothing waits from here to the request: the weights stay those of its version.
                adapted = weights is not None and weights.kind == "adapter"
                version = None if weights is None else weights.version
                model = self.config.adapter if adapted else self.config.model
                request = CompletionRequest(prompt, room, temperature, top_p, seed, stop_token_ids, stop)
                with self._in_flight():
                    completion = await self._ask(request, model, version)
            except (ServiceUnavailableError, ServiceTimeoutError, EndpointRejectedError):
                if self._loaded is weights:
                    self._loaded = None  # A server that was started anew knows no adapter.
                if await self._came_back():
                    continue
                repeats += 1
                if self._gone_since is not None or repeats > MAX_REPEATS:
                    raise
            else:
                self._gone_since = None
                return completion

    async def _ask(self, request: CompletionRequest, model: str, version: int | None) -> Completion:
        if self._is_llama:
            read = partial(read_llama_completion, request=request, version=version)
            return await self._service.ask({"model": model, **llama_request(request)}, read, path="/completion")
        read = partial(read_completion, prompt=request.prompt, version=version)
        return await self._service.ask({"model": model, **vllm_request(request)}, read, path="/v1/completions")

    async def models(self) -> list[dict[str, Any]]:
        """The models that the server lists, adapters included.

        Raises:
            ServiceError: it does not answer.
        """
        # A look at the server is no request that it samples for: no budget of calls counts it.
        with attempts_told_to(lambda: None):
            return await self._probe.ask(None, _read_models, path="/v1/models")

    async def load(self, weights: PublishedWeights) -> None:
        """Give the server these weights; the next turn is sampled from them.

        Raises:
            ServiceError: the server is gone, or refuses them.
        """
        if weights.kind == "adapter":
            request = {"lora_name": self.config.adapter, "lora_path": str(weights.path), "load_inplace": True}
            await self._service.ask(request, str, path="/v1/load_lora_adapter", as_text=True)
        else:
            reload = {"method": "reload_weights", "kwargs": {"weights_path": str(weights.path)}}
            await self._service.ask(reload, str, path="/collective_rpc", as_text=True)
            # Its cached keys and values of earlier prompts are those of the old weights.
            await self._service.ask({}, str, path="/reset_prefix_cache", as_text=True)
        self.num_swaps += 1

    async def takes_adapters(self) -> bool:
        """Return True where it has an endpoint that loads adapters. The request names no adapter, and every such
        endpoint refuses it.

        Raises:
            ServiceError: the server does not answer.
        """
        try:
            await self._probe.ask({"lora_name": "", "lora_path": ""}, str, path="/v1/load_lora_adapter", as_text=True)
        except EndpointRejectedError:
            return False
        except ServiceRejectedError:
            return True
        return True

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        await self._service.aclose()
        await self._probe.aclose()

    async def _room(self, prompt: Sequence[int], max_tokens: int) -> int:
        """Tokens that can be asked for: servers refuse more than they take."""
        if self._max_length is None:
            models = await self.models()
            self._max_length, self._is_llama = max_length(models) or UNLIMITED, is_llama_server(models)
        room = self._max_length - len(prompt)
        if room < 1:
            raise TooLongError(
                f"expected room for another token, but the context holds {len(prompt)} tokens and the policy server takes "
                f"{self._max_length}: raise its --max-model-len, or lower environment.max_prompt_tokens and "
                "environment.max_response_tokens"
            )
        return min(max_tokens, room)

    async def _load_published(self) -> PublishedWeights | None:
        """Make sure that the server has the published weights, and return them."""
        if self._loaded is not self._published:
            async with self._recovery():
                published = self._published
                if self._loaded is not published and published is not None:
                    # A server would finish the turns under way with the new weights.
                    while self._num_in_flight:
                        self._nothing_in_flight.clear()
                        await self._nothing_in_flight.wait()
                    await self.load(published)
                    self._loaded = published
        return self._loaded

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        self._num_in_flight += 1
        try:
            yield
        finally:
            self._num_in_flight -= 1
            if not self._num_in_flight:
                self._nothing_in_flight.set()

    async def _came_back(self) -> bool:
        """Wait for a server that is gone.

        Returns:
            True where it was gone and is back; where it is still gone, ``_gone_since`` holds the time.
        """
        async with self._recovery():
            was_gone = False
            while not await self._answers():
                if self._gone_since is None:
                    self._gone_since = time.monotonic()
                    self._notify(
                        f"the policy server at {self.config.base_url} is gone; waiting up to "
                        f"{self.config.wait_seconds:g} s for it"
                    )
                was_gone = True
                if time.monotonic() - self._gone_since >= self.config.wait_seconds:
                    return False
                await asyncio.sleep(min(POLL_SECONDS, self.config.wait_seconds))
            if was_gone:
                self._gone_since, self._loaded = None, None
                self.num_outages += 1
                self._notify("the policy server is back; it gets the current weights again")
            return was_gone

    async def _answers(self) -> bool:
        try:
            await self.models()
        except (ServiceUnavailableError, ServiceTimeoutError):
            return False
        return True

    def _recovery(self) -> asyncio.Lock:
        """One at a time swaps weights or waits for the server. Locks and events belong to one event loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock, self._nothing_in_flight = loop, asyncio.Lock(), asyncio.Event()
        return self._lock


def _read_models(reply: Any) -> list[dict[str, Any]]:
    models = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        raise ValueError("expected a list of models")
    return models
