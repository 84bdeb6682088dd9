"""The server's application: chat completions, responses, ``GET /v1/models``, ``GET /health``. Needs the extra ``serve``.

All requests share one policy, so that a policy in this process samples them in one batch. A request takes one of a
limited number of places, or waits for one; where too many wait, it is refused. A client that leaves ends its
trajectory. Work that grows with the request (reading it, counting the tokens of its prompt) runs in a thread.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from workflow_r1.environment import Environment, QuestionEnvironment
from workflow_r1.errors import BudgetExceededError, DataError, UserError
from workflow_r1.rollout import Policy, RolloutEvent, SampledPolicy, TurnSampled, derive_seed, rollout
from workflow_r1.services.admission import Admission, AdmissionRules, Refusal
from workflow_r1.serving.chat import ChatReply, read_chat
from workflow_r1.serving.history import Asked, History, ask_within
from workflow_r1.serving.replies import Outcome, Reply, make_trace, no_answer_text, reasoning_text, write_answer
from workflow_r1.serving.requests import AnswerRequest, RequestError
from workflow_r1.serving.responses import ResponsesReply, read_responses
from workflow_r1.trajectory import Message, Question, StopReason, Trajectory

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 15.0
"""Silence of a stream, in seconds, after which it sends a comment, so that no proxy takes it for dead."""

CLIENT_LEFT = 499
"""Status in place of a reply that nobody will read."""

CHARS_PER_TOKEN = 16
"""No text has more characters to a token of its prompt: a longer question is refused before it is tokenised."""

SHORT_CHARS = 500
"""Longest question whose tokens are not counted beforehand: counting takes no time worth a thread."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to ask."""

    read: Callable[..., AnswerRequest]
    """Maker of the request from a body and the model's name."""
    make_reply: Callable[..., Reply]
    """Maker of the reply from the trajectory's name, the model's name and the request."""


PROTOCOLS = {
    "/v1/chat/completions": Protocol(read_chat, ChatReply),
    "/v1/responses": Protocol(read_responses, ResponsesReply),
}
"""Handlers of all ways to ask, by path."""


@dataclass(frozen=True, slots=True)
class Served:
    """The policy that is served, and its settings."""

    model: str
    """Name that clients ask for."""
    policy: Policy
    """Policy that is sampled."""
    make_environment: Callable[[Question], Environment]
    """A fresh environment for each request."""
    temperature: float
    """Temperature of requests that name no temperature."""
    simulation: bool
    """True where any part is the embedded world's."""
    currency: str = "USD"
    """Currency of the costs in the traces."""
    history: History = "text"
    """Treatment of the messages before the question."""
    count_tokens: Callable[[Sequence[Message]], int] | None = None
    """Counter of a prompt's tokens, called in a thread before the policy gets it; None leaves that to the policy."""
    question_of: Callable[[str], Question] = lambda text: Question(id="asked", text=text, golden_answers=())
    """The question, or the instance of another task, that a text asks for; it raises a ``DataError`` for an unknown one."""
    warn: Callable[[str], Sequence[str]] = lambda question: ()
    """Warnings against false readings of an answer, by the question's text."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits of the server's work."""

    max_concurrency: int = 32
    """Trajectories that are live at once."""
    max_waiting: int = 256
    """Requests that wait for one of them to end; one more is refused (429)."""


def make_app(
    served: Served,
    *,
    limits: ServerLimits = ServerLimits(),
    rules: AdmissionRules | None = None,
    on_trajectory: Callable[[Trajectory], None] | None = None,
    lifetime: AbstractAsyncContextManager[object] | None = None,
) -> Starlette:
    """Make the server's application.

    Args:
        served: the policy with its operators.
        limits: limits of trajectories.
        rules: rules of admission for all requests; None takes the rules' own defaults.
        on_trajectory: called with each trajectory that came to its end.
        lifetime: entered before the first request, left after the last.
    """
    endpoint = _Endpoint(served, limits, on_trajectory)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        async with lifetime or nullcontext():
            yield

    return Starlette(
        routes=[
            *(Route(path, endpoint.handler(protocol), methods=["POST"]) for path, protocol in PROTOCOLS.items()),
            Route("/v1/models", endpoint.models, methods=["GET"]),
            Route("/v1/models/{model:path}", endpoint.model, methods=["GET"]),
            Route("/health", endpoint.health, methods=["GET"]),
        ],
        middleware=[Middleware(Admission, rules or AdmissionRules(), describe=_describe_refusal)],
        exception_handlers={RequestError: _tell, HTTPException: _tell_unknown, Exception: _tell_bug},
        lifespan=lifespan,
    )


class _Places:
    """Places of the requests that are served, and the queue of those that wait."""

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
                headers={"Retry-After": "1"},
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


class _Endpoint:
    """Handlers of the protocols, and their common parts."""

    def __init__(
        self,
        served: Served,
        limits: ServerLimits,
        on_trajectory: Callable[[Trajectory], None] | None,
    ) -> None:
        self._served = served
        self._limits = limits
        self._on_trajectory = on_trajectory
        self._places = _Places(limits)
        self._started = int(time.time())

    # ---------------------------------------------------------------------------------------------------------- handlers

    async def health(self, request: Request) -> Response:
        """Reply that all is well, with the description of the served policy."""
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
        return _json({"object": "list", "data": [self._describe()]})

    async def model(self, request: Request) -> Response:
        """Describe the one model."""
        if request.path_params["model"] != self._served.model:
            received = request.path_params["model"][:100]
            message = f"expected the model {self._served.model}, received {received!r}"
            raise RequestError(404, message, code="model_not_found", param="model")
        return _json(self._describe())

    def handler(self, protocol: Protocol) -> Callable[[Request], Awaitable[Response]]:
        """The handler of a protocol's path."""

        async def answer(request: Request) -> Response:
            return await self._serve(request, protocol)

        return answer

    async def _serve(self, request: Request, protocol: Protocol) -> Response:
        """Answer one request, whole or as a stream."""
        wanted = await asyncio.to_thread(protocol.read, await request.body(), model=self._served.model)
        name = f"serve-{secrets.token_hex(8)}"
        reply = protocol.make_reply(name, model=self._served.model, request=wanted)
        events: asyncio.Queue[RolloutEvent | None] = asyncio.Queue()
        work = asyncio.create_task(self._answer(name, wanted, events.put_nowait))
        # None after the last event, however the trajectory ended.
        work.add_done_callback(lambda _: events.put_nowait(None))
        gone = asyncio.create_task(_wait_until_gone(request))
        streams = False
        try:
            if not wanted.stream:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                return _json(reply.whole(work.result())) if work.done() else Response(status_code=CLIENT_LEFT)
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
                _stream(reply, work, first, events),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            )
        finally:
            gone.cancel()
            if not streams:
                work.cancel()

    # ------------------------------------------------------------------------------------------------------------- steps

    async def _answer(self, name: str, wanted: AnswerRequest, tell: Callable[[RolloutEvent], None]) -> Outcome:
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
        reasoning: list[str] = []

        def watch(event: RolloutEvent) -> None:
            if isinstance(event, TurnSampled):
                sampling_seconds[event.index] = event.seconds
            reasoning.append(reasoning_text(event))
            tell(event)

        try:
            async with self._places.take():
                asked = await self._write_question(wanted)
                question = await self._find_question(asked.text)
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
            raise _too_long(len(wanted.question))
        if trajectory.stop_reason.is_infrastructure:
            # Its message names addresses, which are not the client's business; the log has it.
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
            asked=asked.text,
            ignored_messages=asked.num_unread,
            sampling_seconds=sampling_seconds,
        )
        return Outcome(
            trajectory=trajectory,
            trace=trace,
            answer=write_answer(trajectory, wanted),
            reasoning="".join(reasoning) + no_answer_text(trajectory),
            warnings=(*wanted.warnings, *asked.warnings, *self._served.warn(asked.text)),
        )

    async def _find_question(self, text: str) -> Question:
        """Return the question, or the instance of another task, that a text asks for.

        Raises:
            RequestError: 404 the task has no such instance.
        """
        try:
            return await asyncio.to_thread(self._served.question_of, text)
        except DataError as error:
            raise RequestError(404, str(error), code="no_such_instance") from None

    async def _write_question(self, wanted: AnswerRequest) -> Asked:
        """Write the question for the policy, as long as its prompt may be.

        Raises:
            RequestError: 413 the question alone is too long.
        """
        served = self._served
        long = len(wanted.question) > SHORT_CHARS or bool(wanted.others)
        count_tokens = served.count_tokens if long else None
        max_tokens = served.make_environment(Question(id="asked", text="", golden_answers=())).config.max_prompt_tokens

        def fits(text: str) -> bool:
            if len(text) > max_tokens * CHARS_PER_TOKEN:
                return False
            environment = served.make_environment(Question(id="asked", text=text, golden_answers=()))
            # Another task's prompt is not made of the text, and so cannot be shortened with it.
            if count_tokens is None or not isinstance(environment, QuestionEnvironment):
                return True
            return count_tokens(environment.initial_messages()) <= max_tokens

        asked = await asyncio.to_thread(ask_within, wanted, served.history, fits=fits)
        if asked is None:
            raise _too_long(len(wanted.question))
        return asked

    # ------------------------------------------------------------------------------------------------------------- parts

    def _describe(self) -> dict[str, Any]:
        return {
            "id": self._served.model,
            "object": "model",
            "created": self._started,
            "owned_by": "workflow-r1",
            "simulation": self._served.simulation,
        }


async def _stream(
    reply: Reply,
    work: "asyncio.Task[Outcome]",
    first: "asyncio.Task[RolloutEvent | None]",
    events: "asyncio.Queue[RolloutEvent | None]",
) -> AsyncGenerator[str, None]:
    """Events as the turns come, then the answer. Left early (the client is gone), it ends the trajectory."""
    coming = first
    try:
        for each in reply.begin():
            yield each
        while True:
            done, _ = await asyncio.wait({coming}, timeout=KEEP_ALIVE_SECONDS)
            if not done:
                yield ": still at it\n\n"
                continue
            event = coming.result()
            if event is None:
                break
            if text := reasoning_text(event):
                for each in reply.reason(text):
                    yield each
            coming = asyncio.create_task(events.get())
        for each in reply.end(work.result()):
            yield each
    except RequestError as error:
        for each in reply.fail(error):
            yield each
    except Exception as error:
        for each in reply.fail(_describe_bug(error)):
            yield each
    finally:
        coming.cancel()
        work.cancel()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_long(num_chars: int) -> RequestError:
    return RequestError(
        413,
        f"expected a prompt within the policy's limit, received a question of {num_chars} characters; ask a shorter one",
        code="context_length_exceeded",
        param="messages",
    )


def _describe_refusal(refusal: Refusal) -> Mapping[str, Any]:
    return RequestError(refusal.status, refusal.message, code=refusal.code).body()


def _json(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # ASCII alone: a chat server's reply may hold a lone surrogate, which JSON can escape and UTF-8 cannot hold.
    return Response(json.dumps(body), status_code=status, headers=headers, media_type="application/json")


async def _tell(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _json(error.body(), error.status, error.headers)


async def _tell_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    asked = " or ".join(f"POST {path}" for path in PROTOCOLS)
    message = f"expected {asked}, GET /v1/models or GET /health, received {request.method} {request.url.path[:100]}"
    return _json(RequestError(error.status_code, message).body(), error.status_code, error.headers)


async def _tell_bug(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this reply, and the server logs it.
    return _json(_describe_bug(error, logs=False).body(), 500)


def _describe_bug(error: Exception, *, logs: bool = True) -> RequestError:
    """Describe to a client an error that is not its own; the log has the rest."""
    if logs:
        logger.error("a request failed: %s", error, exc_info=None if isinstance(error, UserError) else error)
    return RequestError(500, "the server failed; its log says more", code="internal_error")
