"""The server's application: ``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /health``. Needs the extra ``serve``.

All requests share one policy, so that a policy in this process samples them in one batch. A request takes one of a limited
number of places, or waits for one; where too many wait, it is refused. A client that leaves ends its trajectory.
"""

import asyncio
import hmac
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from workflow_r1.environment import Environment
from workflow_r1.errors import BudgetExceededError, UserError
from workflow_r1.rollout import Policy, RolloutEvent, SampledPolicy, TurnSampled, derive_seed, rollout
from workflow_r1.serving.replies import (
    Completion,
    Trace,
    answer_text,
    make_trace,
    no_answer_text,
    reasoning_text,
)
from workflow_r1.serving.requests import ChatRequest, RequestError, read_request
from workflow_r1.trajectory import Question, StopReason, Trajectory

logger = logging.getLogger(__name__)

BODY_SECONDS = 30.0
"""Longest wait for a request's body."""

KEEP_ALIVE_SECONDS = 15.0
"""A stream that has nothing to say for so long sends a comment, so that nothing in between takes it for dead."""

CLIENT_LEFT = 499
"""Status in the place of a reply that nobody will read."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served."""

    model: str
    """Name that clients ask for."""
    policy: Policy
    """What is sampled."""
    make_environment: Callable[[Question], Environment]
    """A fresh environment for each request."""
    temperature: float
    """Of requests that do not name one."""
    simulation: bool
    """Whether any part is the embedded world's."""
    currency: str = "USD"
    """Of the costs in the traces."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the server takes on."""

    max_concurrency: int = 32
    """Trajectories that are live at once."""
    max_waiting: int = 256
    """Requests that wait for one of them to end; one more is refused (429)."""
    max_body_bytes: int = 2**20
    """Longest body (413)."""


def make_app(
    served: Served,
    *,
    limits: ServerLimits = ServerLimits(),
    api_key: str | None = None,
    with_history: bool = False,
    on_trajectory: Callable[[Trajectory], None] | None = None,
    lifetime: AbstractAsyncContextManager[object] | None = None,
) -> Starlette:
    """Make the server's application.

    Args:
        served: the policy with its operators.
        limits: of requests.
        api_key: what clients must send; None asks for none.
        with_history: let the policy see the messages before the last one.
        on_trajectory: called with each trajectory that came to its end.
        lifetime: entered before the first request, left after the last.
    """
    endpoint = _Endpoint(served, limits, api_key, with_history, on_trajectory)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        async with lifetime or nullcontext():
            yield

    return Starlette(
        routes=[
            Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
            Route("/v1/models", endpoint.models, methods=["GET"]),
            Route("/v1/models/{model:path}", endpoint.model, methods=["GET"]),
            Route("/health", endpoint.health, methods=["GET"]),
        ],
        exception_handlers={RequestError: _tell, HTTPException: _tell_unknown, Exception: _tell_bug},
        lifespan=lifespan,
    )


class _Places:
    """Who is served, and who waits."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.max_concurrency)
        self.num_taken = 0

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self.num_taken >= self._limits.max_concurrency + self._limits.max_waiting:
            raise RequestError(
                429,
                f"{self.num_taken} requests are under way or wait; try again later",
                code="rate_limit_exceeded",
                retry_after=1,
            )
        self.num_taken += 1
        try:
            yield
        finally:
            self.num_taken -= 1

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Raises:
            RequestError: too many wait already.
        """
        with self._counted():
            async with self._free:
                yield


@dataclass(frozen=True, slots=True)
class _Outcome:
    trajectory: Trajectory
    trace: Trace


class _Endpoint:
    """The handlers, and what they share."""

    def __init__(
        self,
        served: Served,
        limits: ServerLimits,
        api_key: str | None,
        with_history: bool,
        on_trajectory: Callable[[Trajectory], None] | None,
    ) -> None:
        self._served = served
        self._limits = limits
        self._api_key = None if api_key is None else api_key.encode()
        self._with_history = with_history
        self._on_trajectory = on_trajectory
        self._places = _Places(limits)
        self._started = int(time.time())

    # ---------------------------------------------------------------------------------------------------------- handlers

    async def health(self, request: Request) -> Response:
        """Say that all is well, and what is served."""
        taken = self._places.num_taken
        live = min(taken, self._limits.max_concurrency)
        return _json(
            {
                "status": "ok",
                "model": self._served.model,
                "simulation": self._served.simulation,
                "live": live,
                "waiting": taken - live,
                "max_concurrency": self._limits.max_concurrency,
                "max_waiting": self._limits.max_waiting,
            }
        )

    async def models(self, request: Request) -> Response:
        """List the one model."""
        self._check_key(request)
        return _json({"object": "list", "data": [self._describe()]})

    async def model(self, request: Request) -> Response:
        """Describe the one model."""
        self._check_key(request)
        if request.path_params["model"] != self._served.model:
            raise RequestError(404, f"expected the model {self._served.model}", code="model_not_found", param="model")
        return _json(self._describe())

    async def chat(self, request: Request) -> Response:
        """Answer one request, whole or as a stream."""
        self._check_key(request)
        wanted = read_request(await self._read_body(request), model=self._served.model, with_history=self._with_history)
        name = f"serve-{secrets.token_hex(8)}"
        completion = Completion(id=f"chatcmpl-{name}", model=self._served.model)
        events: asyncio.Queue[RolloutEvent | None] = asyncio.Queue()
        work = asyncio.create_task(self._answer(name, wanted, events.put_nowait))
        # None after the last event, however the trajectory ended.
        work.add_done_callback(lambda _: events.put_nowait(None))
        gone = asyncio.create_task(_wait_until_gone(request))
        streams = False
        try:
            if not wanted.stream:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    return Response(status_code=CLIENT_LEFT)
                return _json(_whole(completion, wanted, work.result(), events))
            # The status is still open until the prompt is accepted or the wait gets long.
            first = asyncio.create_task(events.get())
            await asyncio.wait({first, gone}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if work.done() and not work.cancelled():
                work.result()
            if gone.done():
                first.cancel()
                return Response(status_code=CLIENT_LEFT)
            streams = True
            return StreamingResponse(
                _stream(completion, wanted, work, first, events),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            )
        finally:
            gone.cancel()
            if not streams:
                work.cancel()

    # ------------------------------------------------------------------------------------------------------------- steps

    async def _answer(self, name: str, wanted: ChatRequest, tell: Callable[[RolloutEvent], None]) -> _Outcome:
        """Let the policy answer.

        Raises:
            RequestError: 413 the prompt is too long; 429 too many wait, or the budget is used up; 503 a service failed.
        """
        seed = secrets.randbits(31) if wanted.seed is None else wanted.seed
        temperature = self._served.temperature if wanted.temperature is None else wanted.temperature
        policy = self._served.policy
        if isinstance(policy, SampledPolicy):
            policy = policy.at_temperature(temperature)
        sampling_seconds: dict[int, float] = {}

        def watch(event: RolloutEvent) -> None:
            if isinstance(event, TurnSampled):
                sampling_seconds[event.index] = event.seconds
            tell(event)

        question = Question(id="asked", text=wanted.question, golden_answers=())
        try:
            async with self._places.take():
                trajectory = await rollout(
                    question,
                    policy=policy,
                    environment=self._served.make_environment(question),
                    trajectory_id=name,
                    group_id=name,
                    # As `workflow-r1 ask QUESTION --seed` has it: the same seed samples the same.
                    seed=derive_seed(seed, "ask", question.id),
                    max_response_tokens=wanted.max_tokens,
                    on_event=watch,
                )
        except BudgetExceededError as error:
            logger.warning("%s: %s", name, error)
            raise RequestError(429, "the server's budget is used up", code="insufficient_quota") from None
        if self._on_trajectory is not None:
            self._on_trajectory(trajectory)
        prompt_fills_context = trajectory.stop_reason is StopReason.CONTEXT_FULL and not trajectory.turns
        if trajectory.stop_reason is StopReason.PROMPT_TOO_LONG or prompt_fills_context:
            raise RequestError(
                413,
                f"expected a prompt within the policy's limit, received {len(trajectory.prompt_token_ids)} tokens; ask a "
                "shorter question",
                code="context_length_exceeded",
                param="messages",
            )
        if trajectory.stop_reason.is_infrastructure:
            # Its message names addresses that are none of the client's business; the log has it.
            logger.warning("%s: %s: %s", name, trajectory.stop_reason, trajectory.error)
            raise RequestError(
                503,
                f"a service behind the policy failed ({trajectory.stop_reason}); the server's log says more under {name}",
                code=str(trajectory.stop_reason),
            )
        trace = make_trace(
            trajectory,
            seed=seed,
            temperature=temperature,
            simulation=self._served.simulation,
            currency=self._served.currency,
            ignored_messages=wanted.num_ignored,
            sampling_seconds=sampling_seconds,
        )
        return _Outcome(trajectory, trace)

    # ------------------------------------------------------------------------------------------------------------- parts

    def _describe(self) -> dict[str, Any]:
        return {
            "id": self._served.model,
            "object": "model",
            "created": self._started,
            "owned_by": "workflow-r1",
            "simulation": self._served.simulation,
        }

    def _check_key(self, request: Request) -> None:
        if self._api_key is None:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode(), self._api_key):
            raise RequestError(
                401,
                "expected the server's key as Authorization: Bearer KEY, received another or none",
                code="invalid_api_key",
            )

    async def _read_body(self, request: Request) -> bytes:
        """Read the body, and stop reading where it is longer or slower than it may be."""
        # A web page can make its visitor's browser send any other type to this machine without asking.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestError(415, "expected the header Content-Type: application/json")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    body += part
                    if len(body) > self._limits.max_body_bytes:
                        raise RequestError(413, f"expected a body of at most {self._limits.max_body_bytes} bytes")
        except TimeoutError:
            raise RequestError(408, f"expected the body within {BODY_SECONDS:g} s") from None
        except ClientDisconnect:
            raise RequestError(400, "expected a whole body, the client left") from None
        return bytes(body)


def _whole(
    completion: Completion, wanted: ChatRequest, outcome: _Outcome, events: "asyncio.Queue[RolloutEvent | None]"
) -> dict[str, Any]:
    told = []
    while not events.empty():
        event = events.get_nowait()
        told.append("" if event is None else reasoning_text(event))
    reasoning = "".join(told) + no_answer_text(outcome.trajectory)
    return completion.whole(outcome.trajectory, outcome.trace, reasoning=reasoning, stop=wanted.stop)


async def _stream(
    completion: Completion,
    wanted: ChatRequest,
    work: "asyncio.Task[_Outcome]",
    first: "asyncio.Task[RolloutEvent | None]",
    events: "asyncio.Queue[RolloutEvent | None]",
) -> AsyncGenerator[str, None]:
    """Chunks as the turns come, then the answer. Left early (the client is gone), it ends the trajectory."""
    coming = first
    try:
        yield _event(completion.delta(role="assistant", content=""))
        while True:
            done, _ = await asyncio.wait({coming}, timeout=KEEP_ALIVE_SECONDS)
            if not done:
                yield ": still at it\n\n"
                continue
            event = coming.result()
            if event is None:
                break
            if text := reasoning_text(event):
                yield _event(completion.delta(reasoning_content=text))
            coming = asyncio.create_task(events.get())
        outcome = work.result()
        if text := no_answer_text(outcome.trajectory):
            yield _event(completion.delta(reasoning_content=text))
        yield _event(completion.delta(content=answer_text(outcome.trajectory, wanted.stop)))
        yield _event(completion.last(outcome.trajectory, outcome.trace))
        if wanted.include_usage:
            yield _event(completion.usage(outcome.trajectory))
        yield "data: [DONE]\n\n"
    except RequestError as error:
        yield _event(error.body())
    except Exception as error:
        yield _event(_describe_bug(error).body())
    finally:
        coming.cancel()
        work.cancel()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _json(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # ASCII alone: a chat server's reply may hold a lone surrogate, which JSON can escape and UTF-8 cannot hold.
    return Response(json.dumps(body), status_code=status, headers=headers, media_type="application/json")


async def _tell(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _json(error.body(), error.status, headers)


async def _tell_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = (
        "expected POST /v1/chat/completions, GET /v1/models or GET /health, received "
        f"{request.method} {request.url.path[:100]}"
    )
    return _json(RequestError(error.status_code, message).body(), error.status_code, error.headers)


async def _tell_bug(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this reply, and the server logs it.
    return _json(_describe_bug(error, logs=False).body(), 500)


def _describe_bug(error: Exception, *, logs: bool = True) -> RequestError:
    """What a client is told of an error that is not its own; the log has the rest."""
    if logs:
        logger.error("a request failed: %s", error, exc_info=None if isinstance(error, UserError) else error)
    return RequestError(500, "the server failed; its log says more", code="internal_error")
