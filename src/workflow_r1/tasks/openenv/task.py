"""``task = "openenv"``: any environment behind an OpenEnv server, at an address.

Each trajectory has a session of its own (see :mod:`workflow_r1.tasks.openenv.session`). Instances are seeds, or the tasks
that the server itself lists.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from workflow_r1.errors import ConfigError, DataError, ServiceRejectedError, ServiceUnavailableError, UserError
from workflow_r1.operators import OperatorServices
from workflow_r1.services.proxies import find_proxy
from workflow_r1.services.secrets import mask_addresses, without_login
from workflow_r1.tasks.openenv.actions import ActionSchema, UnreadableActionError
from workflow_r1.tasks.openenv.session import (
    ActionRefusedError,
    ExecutionError,
    Observation,
    Session,
    SessionLimits,
    open_session,
    require_websockets,
    web_socket_address,
)
from workflow_r1.tasks.task import Action, Episode, Reply, Split, Task, TaskSettings
from workflow_r1.trajectory import Question

EVALUATION_SEEDS = 1_000_000_000
"""First seed of held-out instances: far from those that are trained on, since neighbouring seeds may share items."""

_HTTP_SECONDS = 30.0
"""Longest wait for the server's description of itself."""


class OpenEnvSettings(TaskSettings):
    """The table ``[tasks.openenv]``."""

    address: str = ""
    """Address of the server, e.g. ``http://127.0.0.1:8000``."""
    prompt: str = ""
    """Text before the first observation: the aim and the rules, where the environment does not tell them."""
    describe_action: bool = True
    """Say in the prompt how an action is written, by the server's schema."""
    observation_field: str | None = None
    """Field of the observation that the policy reads; None: its only text field, or else all of it as JSON."""
    reset: dict[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of the environment's ``reset``; a server drops those that it does not know."""
    environment: str | None = None
    """Name of the environment, for its own tasks to be the instances; None: instances are seeds."""
    train_split: str = "train"
    """Split of the environment's own tasks that is trained on."""
    evaluation_split: str = "test"
    """Split of the environment's own tasks that is held out."""
    num_train: int = Field(default=1024, ge=1)
    """Number of seeds that are trained on."""
    num_evaluation: int = Field(default=256, ge=1)
    """Number of seeds that are held out."""
    success_return: float | None = 1.0
    """Sum of rewards from which on an episode counts as a success; None where the environment knows none."""
    errors_are_mistakes: bool = False
    """Count an exception of the environment's own code as the policy's mistake, not as a failed service: for environments
    that refuse a move in this way."""
    reply_seconds: float = Field(default=60.0, gt=0.0)
    """Longest wait for the reply to a step."""
    session_seconds: float = Field(default=60.0, gt=0.0)
    """Longest wait for a free session."""


class OpenEnv(Task):
    """A task behind an OpenEnv server."""

    name = "openenv"
    Settings: ClassVar[type[TaskSettings]] = OpenEnvSettings
    actions: ClassVar[Mapping[str, str]] = {"Act": "an action of the environment"}
    settings: OpenEnvSettings

    def __init__(self, settings: TaskSettings) -> None:
        """Take the settings.

        Raises:
            ConfigError: the address cannot be that of a server.
            MissingExtraError: the WebSocket library is not installed.
        """
        super().__init__(settings)
        require_websockets()
        web_socket_address(self.settings.address)
        self._schema: ActionSchema | None = None

    @property
    def says_success(self) -> bool:  # type: ignore[override]
        """True where the settings say what a success is."""
        return self.settings.success_return is not None

    def instances(self, split: Split, num: int | None) -> Sequence[Question]:
        """Return the server's own tasks of the split, or seeds.

        Raises:
            ServiceUnavailableError: the server cannot be asked for its tasks.
            DataError: it has no such split, or no tasks at all.
        """
        settings = self.settings
        if settings.environment is not None:
            own = settings.train_split if split == "train" else settings.evaluation_split
            available = self._count_tasks(settings.environment, own)
            return [
                Question(
                    id=f"{settings.environment}/{own}/{index}",
                    text=f"{settings.environment}, task {index} of {own}",
                    golden_answers=(),
                    dataset=settings.environment,
                    split=own,
                    metadata={"reset": {"split": own, "index": index}},
                )
                for index in range(available if num is None else min(num, available))
            ]
        first, available = (0, settings.num_train) if split == "train" else (EVALUATION_SEEDS, settings.num_evaluation)
        place = without_login(settings.address)
        return [
            Question(
                id=f"seed-{seed}",
                text=f"{place}, seed {seed}",
                golden_answers=(),
                dataset=self.name,
                split=split,
                metadata={"reset": {"seed": seed}},
            )
            for seed in range(first, first + (available if num is None else min(num, available)))
        ]

    def open(self, instance: Question, services: OperatorServices) -> Episode:
        """Return an episode; its session opens at its start."""
        return _Episode(self, instance)

    async def action_schema(self) -> ActionSchema:
        """Return the schema of the server's actions; it is asked for once.

        Raises:
            ServiceUnavailableError: the server cannot be asked.
            ServiceRejectedError: its answer is no schema.
        """
        if self._schema is None:
            found = await asyncio.to_thread(self._get, "/schema")
            if not isinstance(found, Mapping) or not isinstance(found.get("action"), Mapping):
                raise ServiceRejectedError(
                    f"{without_login(self.settings.address)}: expected the schema of an OpenEnv server at /schema, received "
                    f"{str(found)[:100]}"
                )
            self._schema = ActionSchema.read(found["action"])
        return self._schema

    def _count_tasks(self, environment: str, split: str) -> int:
        from urllib.parse import quote

        path = f"/{quote(environment, safe='')}"
        splits = self._get(f"{path}/splits")
        names = [each.get("name") for each in splits if isinstance(each, Mapping)] if isinstance(splits, list) else []
        if split not in names:
            raise DataError(
                f"tasks.openenv: expected a split among {', '.join(map(str, names)) or 'none'}, received {split!r}; set "
                "tasks.openenv.train_split and evaluation_split"
            )
        found = self._get(f"{path}/num_tasks", {"split": split})
        number = found.get("num_tasks") if isinstance(found, Mapping) else None
        if not isinstance(number, int) or number < 1:
            raise DataError(
                f"tasks.openenv: expected tasks in the split {split!r} of {environment}, received {found!r}"
            )
        return number

    def _get(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask by HTTP: with a body by POST."""
        import httpx2

        address = self.settings.address
        parts = httpx2.URL(address)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        url = str(parts.copy_with(scheme=scheme)).rstrip("/").removesuffix("/ws") + path
        proxy = find_proxy(url)
        shown = without_login(url)
        try:
            with httpx2.Client(timeout=_HTTP_SECONDS, trust_env=False, proxy=proxy.url if proxy else None) as client:
                reply = client.get(url) if body is None else client.post(url, json=dict(body))
        except httpx2.HTTPError as error:
            raise ServiceUnavailableError(
                f"{shown}: expected an OpenEnv server: {mask_addresses(str(error))}; check that it runs"
            ) from None
        if reply.status_code == 501:
            raise DataError(f"{shown}: the environment lists no tasks of its own; leave out tasks.openenv.environment")
        if reply.status_code == 404:
            raise ConfigError(f"{shown}: expected an OpenEnv server with that environment, received 404")
        try:
            reply.raise_for_status()
            return reply.json()
        except (httpx2.HTTPStatusError, ValueError) as error:
            raise ServiceUnavailableError(
                f"{shown}: expected JSON, received status {reply.status_code}: {mask_addresses(str(error))}"
            ) from None


class _Episode(Episode):
    """One session."""

    def __init__(self, task: OpenEnv, instance: Question) -> None:
        self._task = task
        self._instance = instance
        self._session: Session | None = None
        self._return: float | None = None

    async def start(self) -> str:
        settings = self._task.settings
        try:
            schema = await self._task.action_schema()
        except UserError as error:  # The server answered before; to a running rollout it is a service that fails.
            raise ServiceUnavailableError(str(error)) from None
        limits = SessionLimits(settings.reply_seconds, settings.session_seconds)
        arguments = {**settings.reset, **self._instance.metadata.get("reset", {}), "episode_id": self._instance.id}
        self._session, first = await open_session(settings.address, limits, reset=arguments)
        if first.done:
            raise ServiceRejectedError(
                f"{self._session.address}: expected a live episode after reset, received its end"
            )
        usage = f"Act: write {schema.usage()}." if settings.describe_action else ""
        return "\n\n".join(part for part in (settings.prompt, self._text(first), usage) if part)

    async def act(self, action: Action) -> Reply:
        assert self._session is not None
        settings = self._task.settings
        schema = await self._task.action_schema()
        try:
            fields = dict(action.arguments) if action.arguments else schema.action(action.input)
            observation = await self._session.step(fields)
        except (UnreadableActionError, ActionRefusedError) as mistake:
            hint = "" if isinstance(mistake, UnreadableActionError) else f". Write {schema.usage()}."
            return Reply(observation=f"{mistake}{hint}", valid=False)
        except ExecutionError as error:
            if not settings.errors_are_mistakes:
                raise
            return Reply(observation=str(error), valid=False)
        if observation.reward is not None:
            self._return = (self._return or 0.0) + observation.reward
        if not observation.done:
            return Reply(observation=self._text(observation), reward=observation.reward)
        if self._return is None:
            raise ServiceRejectedError(
                f"{self._session.address}: expected a reward by the end of the episode, received none (a server writes NaN and "
                "infinity as null)"
            )
        success = None if settings.success_return is None else self._return >= settings.success_return
        return Reply(
            observation=self._text(observation),
            done=True,
            reward=observation.reward,
            success=success,
            parts={"return": self._return},
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _text(self, observation: Observation) -> str:
        fields, chosen = observation.fields, self._task.settings.observation_field
        if chosen is not None:
            if chosen not in fields:
                raise ServiceRejectedError(
                    f"{without_login(self._task.settings.address)}: expected the field {chosen!r} "
                    f"(tasks.openenv.observation_field) in the observation, received {', '.join(fields) or 'no field'}"
                )
            return _as_text(fields[chosen])
        texts = [value for value in fields.values() if isinstance(value, str)]
        return texts[0] if len(texts) == 1 and len(fields) == 1 else _as_text(fields)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
