"""The task of a configuration as an OpenEnv server, for trainers that speak that protocol. Needs the extra ``serve``.

A client's action is a whole turn of its policy, as text; the observation is what the policy reads next. One WebSocket is
one session with one live episode. The protocol is that of ``openenv`` 0.10, and its own client drives it in a test. What
that package leaves open is decided here:

1. ``reset`` takes ``seed``, ``split``, ``index``, ``instance`` and ``episode_id``; a wrong value is refused by name.
2. A step before ``reset`` or after the end is an ``EXECUTION_ERROR``: played on, it would teach a policy nonsense.
3. A service that fails ends the episode with an ``EXECUTION_ERROR`` that says so: it is not the policy's outcome, and a
   trainer should leave the episode out.
4. The rewards of an episode add up to its reward: a step has the task's own for the turn, or null; the last has the rest.
"""

import json
import logging
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from workflow_r1.environment import Environment
from workflow_r1.errors import ServiceError
from workflow_r1.rewards import Score
from workflow_r1.services.admission import Admission, AdmissionRules, Refusal
from workflow_r1.trajectory import Message, Question, ScoredTrajectory, Trajectory, Turn

logger = logging.getLogger(__name__)

MAX_TURN_CHARS = 1_000_000
"""Longest turn of a policy that is read, in characters."""

Model = TypeVar("Model", bound=BaseModel)

_STRICT = ConfigDict(extra="forbid", strict=True)


class ResetArguments(BaseModel):
    """Arguments of a reset; without any, an instance is drawn at random."""

    model_config = _STRICT

    seed: int | None = None
    """Seed of the choice of an instance, where no index names one."""
    episode_id: str | None = Field(default=None, max_length=256)
    """The client's own name for the episode."""
    split: str = "train"
    """Split of the instance."""
    index: int | None = None
    """Number of the instance within the split."""
    instance: str | None = None
    """Id of the instance within the split."""


class TurnAction(BaseModel):
    """An action: one whole turn of the policy."""

    model_config = _STRICT

    text: str = Field(max_length=MAX_TURN_CHARS, description="everything that the policy wrote in its turn")
    metadata: dict[str, Any] = Field(default_factory=dict)


class TurnObservation(BaseModel):
    """An observation."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(
        description="what the policy reads next: the prompt after a reset, then observations; empty at the end"
    )
    messages: list[dict[str, str]] = Field(default_factory=list, description="the same as chat messages to append")
    stop_reason: str | None = Field(default=None, description="reason for the end of the episode")
    success: bool | None = Field(default=None, description="at the end: the policy reached the goal")
    parts: dict[str, float] = Field(default_factory=dict, description="at the end: parts of the reward by name")
    done: bool = False
    reward: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class EpisodeState(BaseModel):
    """The state of a session."""

    model_config = ConfigDict(extra="forbid")

    episode_id: str | None = None
    step_count: int = 0
    instance: str | None = Field(default=None, description="id of the instance")


@dataclass(frozen=True, slots=True)
class ServedTask:
    """The task that is served."""

    name: str
    """Name of the environment for clients."""
    instances: Mapping[str, Sequence[Question]]
    """Instances of each split, at least one each."""
    make_environment: Callable[[Question], Environment]
    """Makes a fresh environment for each episode."""
    score: Score
    """Scores a finished trajectory."""
    description: str = ""
    """One line for clients."""


def make_environment_app(
    served: ServedTask,
    *,
    max_sessions: int,
    rules: AdmissionRules | None = None,
    lifetime: AbstractAsyncContextManager[object] | None = None,
    on_trajectory: Callable[[Trajectory], None] | None = None,
) -> Starlette:
    """Make the server's application.

    Args:
        served: the task.
        max_sessions: sessions at once; one more is refused (``CAPACITY_REACHED``).
        rules: rules of admission for all requests; None takes the rules' own defaults.
        lifetime: entered before the first request, left after the last.
        on_trajectory: called with each trajectory that came to its end, scored, without tokens.
    """
    endpoint = _Endpoint(served, max_sessions, on_trajectory)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        async with lifetime or nullcontext():
            yield

    return Starlette(
        routes=[
            WebSocketRoute("/ws", endpoint.session),
            Route("/health", endpoint.health, methods=["GET"]),
            Route("/schema", endpoint.schema, methods=["GET"]),
            Route("/metadata", endpoint.metadata, methods=["GET"]),
            Route("/list_environments", endpoint.list_environments, methods=["GET"]),
            Route("/{name}/splits", endpoint.splits, methods=["GET"]),
            Route("/{name}/num_tasks", endpoint.num_tasks, methods=["POST"]),
            Route("/{name}/task", endpoint.task, methods=["POST"]),
        ],
        middleware=[Middleware(Admission, rules or AdmissionRules(), describe=_describe_refusal)],
        exception_handlers={HTTPException: _tell},
        lifespan=lifespan,
    )


@dataclass(slots=True)
class _Episode:
    """A live or finished episode of a session."""

    id: str
    question: Question
    environment: Environment
    prompt: tuple[Message, ...] = ()
    turns: list[Turn] = field(default_factory=list)
    over: bool = False


class _RefusedError(Exception):
    """A message that is answered by an error; the session stays open."""

    def __init__(self, code: str, message: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.data = {"message": message, "code": code, **({"errors": list(errors)} if errors else {})}


class _Endpoint:
    """Handlers of the paths."""

    def __init__(
        self, served: ServedTask, max_sessions: int, on_trajectory: Callable[[Trajectory], None] | None
    ) -> None:
        self._served = served
        self._max_sessions = max_sessions
        self._on_trajectory = on_trajectory
        self._num_sessions = 0

    # --------------------------------------------------------------------------------------------------------- sessions

    async def session(self, socket: WebSocket) -> None:
        """Play one session after another message, until the client leaves."""
        await socket.accept()
        if self._num_sessions >= self._max_sessions:
            full = {"active_sessions": self._num_sessions, "max_sessions": self._max_sessions}
            message = f"all {self._max_sessions} sessions are taken; try again later"
            await _send(socket, "error", {"message": message, "code": "CAPACITY_REACHED", **full})
            await socket.close()
            return
        self._num_sessions += 1
        player = _Player(self._served, self._on_trajectory)
        try:
            while True:
                kind, data = await player.answer(await socket.receive())
                if kind == "close":
                    await socket.close()
                    return
                await _send(socket, kind, data)
        except WebSocketDisconnect:
            pass
        finally:
            self._num_sessions -= 1
            await player.leave()

    # ------------------------------------------------------------------------------------------------------ description

    async def health(self, request: Request) -> Response:
        """Reply that all is well."""
        return JSONResponse({"status": "healthy", "sessions": self._num_sessions, "max_sessions": self._max_sessions})

    async def schema(self, request: Request) -> Response:
        """Give the JSON schemas of actions, observations, state and the arguments of a reset."""
        return JSONResponse(
            {
                "action": TurnAction.model_json_schema(),
                "observation": TurnObservation.model_json_schema(),
                "state": EpisodeState.model_json_schema(),
                "reset_observation": TurnObservation.model_json_schema(),
                "reset": ResetArguments.model_json_schema(),
            }
        )

    async def metadata(self, request: Request) -> Response:
        """Describe the environment."""
        from workflow_r1.version import __version__

        return JSONResponse(
            {"name": self._served.name, "description": self._served.description, "version": __version__}
        )

    async def list_environments(self, request: Request) -> Response:
        """List the one environment."""
        return JSONResponse([self._served.name])

    async def splits(self, request: Request) -> Response:
        """List the splits."""
        self._check_name(request)
        return JSONResponse([{"name": name, "type": _split_type(name)} for name in self._served.instances])

    async def num_tasks(self, request: Request) -> Response:
        """Count the instances of a split."""
        split = self._split((await self._body(request)).get("split"))
        return JSONResponse({"num_tasks": len(self._served.instances[split])})

    async def task(self, request: Request) -> Response:
        """Describe one instance, without its golden answers."""
        body = await self._body(request)
        instances, index = self._served.instances[self._split(body.get("split"))], body.get("index")
        if not isinstance(index, int) or not 0 <= index < len(instances):
            raise HTTPException(400, f"expected an index from 0 to {len(instances) - 1}, received {index!r}"[:200])
        return JSONResponse({"task": {"id": instances[index].id, "text": instances[index].text}})

    def _check_name(self, request: Request) -> None:
        if request.path_params["name"] != self._served.name:
            raise HTTPException(404, f"expected the environment {self._served.name}")

    async def _body(self, request: Request) -> Mapping[str, Any]:
        self._check_name(request)
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise HTTPException(400, "expected a JSON object")
        return body

    def _split(self, name: Any) -> str:
        if name not in tuple(self._served.instances):
            raise HTTPException(
                400, f"expected a split among {', '.join(self._served.instances)}, received {name!r}"[:200]
            )
        return str(name)


class _Player:
    """The episodes of one session, one after the other."""

    def __init__(self, served: ServedTask, on_trajectory: Callable[[Trajectory], None] | None) -> None:
        self._served = served
        self._on_trajectory = on_trajectory
        self._episode: _Episode | None = None

    async def answer(self, event: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Return kind and data of the answer to a message.

        Raises:
            WebSocketDisconnect: the client has left.
        """
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1005))
        try:
            return await self._answer(event.get("text"))
        except _RefusedError as refused:
            return "error", refused.data
        except ServiceError as error:
            logger.warning("an episode ended by a failed service: %s", error)
            return "error", {"message": f"a service failed, leave this episode out: {error}", "code": "EXECUTION_ERROR"}
        except Exception:
            logger.exception("the task is wrong")
            return "error", {"message": "the task is wrong; the server's log says where", "code": "EXECUTION_ERROR"}

    async def leave(self) -> None:
        """Close what is still live."""
        if self._episode is not None:
            episode, self._episode = self._episode, None
            await episode.environment.close()

    async def _answer(self, text: str | None) -> tuple[str, Mapping[str, Any]]:
        try:
            message = json.loads(text or "")
        except (ValueError, RecursionError):
            raise _RefusedError("INVALID_JSON", "expected a JSON object as a text frame") from None
        if not isinstance(message, dict):
            raise _RefusedError("VALIDATION_ERROR", "expected a JSON object")
        if unknown := sorted(set(message) - {"type", "data"}):
            raise _RefusedError("VALIDATION_ERROR", f"unexpected: {', '.join(map(str, unknown))[:200]}")
        handlers: dict[str, Callable[[Any], Awaitable[tuple[str, Mapping[str, Any]]]]] = {
            "reset": self._reset,
            "step": self._step,
            "state": self._state,
            "close": self._close,
        }
        handler = handlers.get(message["type"]) if isinstance(message.get("type"), str) else None
        if handler is None:
            raise _RefusedError("UNKNOWN_TYPE", f"expected a type among {', '.join(handlers)}")
        return await handler(message.get("data"))

    async def _reset(self, data: Any) -> tuple[str, Mapping[str, Any]]:
        arguments = _validate(ResetArguments, data or {})
        question = self._choose(arguments)
        await self.leave()
        episode = _Episode(
            id=arguments.episode_id or secrets.token_hex(8),
            question=question,
            environment=self._served.make_environment(question),
        )
        self._episode = episode
        episode.over = True  # Until it has started.
        episode.prompt = await episode.environment.start()
        episode.over = False
        return "observation", _observation(episode.prompt, reward=None)

    def _choose(self, arguments: ResetArguments) -> Question:
        if arguments.split not in self._served.instances:
            splits = ", ".join(self._served.instances)
            raise _RefusedError(
                "VALIDATION_ERROR", f"split: expected one of {splits}, received {arguments.split!r}"[:300]
            )
        instances = self._served.instances[arguments.split]
        if arguments.instance is not None:
            found = next((each for each in instances if each.id == arguments.instance), None)
            if found is None:
                raise _RefusedError("VALIDATION_ERROR", f"instance: expected the id of one in {arguments.split}")
            return found
        if arguments.index is not None:
            if not 0 <= arguments.index < len(instances):
                raise _RefusedError("VALIDATION_ERROR", f"index: expected 0 to {len(instances) - 1}")
            return instances[arguments.index]
        return random.Random(arguments.seed).choice(instances)

    async def _step(self, data: Any) -> tuple[str, Mapping[str, Any]]:
        text = _validate(TurnAction, data).text
        episode = self._episode
        if episode is None:
            raise _RefusedError("EXECUTION_ERROR", "expected a reset before the first step")
        if episode.over:
            raise _RefusedError("EXECUTION_ERROR", "the episode is over: reset before another step")
        episode.over = True  # Until this step returns a live one: a failure, too, ends the episode.
        step = await episode.environment.step(text)
        episode.turns.append(
            Turn(
                index=len(episode.turns) + 1,
                text=text,
                well_formed=step.well_formed,
                calls=step.calls,
                observation=step.observation,
                reward=step.reward,
            )
        )
        if step.stop_reason is None:
            episode.over = False
            return "observation", _observation(step.messages, reward=step.reward)
        trajectory = Trajectory(
            id=episode.id,
            group_id=episode.question.id,
            question=episode.question,
            policy="client",
            prompt=episode.prompt,
            turns=tuple(episode.turns),
            answer=step.answer,
            stop_reason=step.stop_reason,
            ending=step.ending,
        )
        scored: ScoredTrajectory = self._served.score(trajectory)
        if self._on_trajectory is not None:
            self._on_trajectory(scored)
        reward = scored.reward
        told = sum(turn.reward for turn in episode.turns[:-1] if turn.reward is not None)
        return "observation", _observation(
            (),
            reward=reward.total - told,
            done=True,
            stop_reason=step.stop_reason.value,
            success=reward.success,
            parts=dict(reward.parts),
        )

    async def _state(self, data: Any) -> tuple[str, Mapping[str, Any]]:
        episode = self._episode
        if episode is None:
            return "state", EpisodeState().model_dump()
        return "state", EpisodeState(
            episode_id=episode.id, step_count=len(episode.turns), instance=episode.question.id
        ).model_dump()

    async def _close(self, data: Any) -> tuple[str, Mapping[str, Any]]:
        return "close", {}


def _observation(
    messages: Sequence[Message], *, reward: float | None, done: bool = False, **end: Any
) -> Mapping[str, Any]:
    observation = TurnObservation(
        text="\n\n".join(message.content for message in messages),
        messages=[message.model_dump() for message in messages],
        **end,
    )
    return {"observation": observation.model_dump(exclude={"done", "reward"}), "reward": reward, "done": done}


def _validate(model: type[Model], data: Any) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # Without the input, which may be long.
        raise _RefusedError(
            "VALIDATION_ERROR",
            "Invalid message",
            json.loads(error.json(include_input=False, include_url=False, include_context=False)),
        ) from None


async def _send(socket: WebSocket, kind: str, data: Mapping[str, Any]) -> None:
    await socket.send_text(json.dumps({"type": kind, "data": dict(data)}))


def _split_type(name: str) -> str:
    return {"train": "train", "evaluation": "test"}.get(name, "validation")


def _describe_refusal(refusal: Refusal) -> Mapping[str, Any]:
    return {"detail": refusal.message}


async def _tell(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, status_code=error.status_code)
