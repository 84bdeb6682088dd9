"""One session with an OpenEnv server: one WebSocket, one environment, one episode.

The protocol is OpenEnv's (``openenv`` 0.10, Meta-PyTorch): JSON text frames, answered in order.

| we send | the server answers |
|---|---|
| ``{"type": "reset", "data": {...arguments}}`` | ``{"type": "observation", "data": {"observation": {...}, "reward": r, "done": b}}`` |
| ``{"type": "step", "data": {...fields of the action}}`` | the same |
| ``{"type": "close"}`` | nothing: it closes |
| | ``{"type": "error", "data": {"message": ..., "code": ...}}`` in place of any of these |

A connection that is lost is never opened again: the server would play on in a new environment which nobody reset, and the
package's own client does just that, without a word. The session ends, and with it the trajectory.
"""

import asyncio
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from workflow_r1.errors import (
    ConfigError,
    MissingExtraError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from workflow_r1.installation import install_command
from workflow_r1.services.proxies import find_proxy
from workflow_r1.services.secrets import mask_addresses, without_login

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

MAX_FRAME_BYTES = 100 * 2**20
"""Longest frame that is read, as in OpenEnv's own client; the WebSocket library alone would refuse more than 1 MiB."""

CONNECT_SECONDS = 10.0
"""Longest wait for a connection."""

PING_SECONDS = 20.0
"""Time between two pings, and longest wait for the answer to one: a server that is gone is noticed in twice of it."""

_CAPACITY_PAUSE_SECONDS = (0.05, 1.0)
"""First and longest pause before another attempt at a server without a free session."""

_MAX_QUOTED_CHARS = 300
"""Longest part of the server's own words that a message repeats, in characters."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A server's reply to a reset or a step."""

    fields: Mapping[str, Any]
    """Fields of the observation, without ``metadata``."""
    reward: float | None
    """Reward of the step; None where the server gives none, and for NaN and infinity, which its JSON writes as null."""
    done: bool
    """True where the episode is over."""


class ActionRefusedError(Exception):
    """The server's schema refuses the action: the policy's mistake. The session stays open.

    Args:
        problems: mistakes, one line for each field.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ExecutionError(ServiceError):
    """The environment's own code raised on the server. The session stays open."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Patience with a server."""

    reply_seconds: float = 60.0
    """Longest wait for the reply to a reset or a step."""
    session_seconds: float = 60.0
    """Longest wait for a free session, where the server has no more at once."""


@dataclass(slots=True)
class Session:
    """An open session. Use :func:`open_session`."""

    address: str
    """Address of the server, for messages."""
    limits: SessionLimits
    """Patience."""
    connection: "ClientConnection" = field(repr=False)
    """The WebSocket."""

    async def reset(self, arguments: Mapping[str, Any]) -> Observation:
        """Begin the episode.

        Args:
            arguments: arguments of the environment's ``reset``; a server drops those that it does not know.

        Raises:
            ServiceError: the server failed, or refuses the arguments.
        """
        try:
            return await self._ask("reset", arguments)
        except ActionRefusedError as refused:
            raise ServiceRejectedError(
                f"{self.address}: expected the server to take the arguments of reset, but it says: {refused}; see the "
                "task's `reset`"
            ) from None

    async def step(self, action: Mapping[str, Any]) -> Observation:
        """Take one step.

        Raises:
            ActionRefusedError: the server's schema refuses the action; another one may be sent.
            ExecutionError: the environment itself raised; another step may be sent.
            ServiceError: the server failed or is gone; the session is over.
        """
        return await self._ask("step", action)

    async def close(self) -> None:
        """Say goodbye and leave; a server that is gone already is no error."""
        from websockets.exceptions import WebSocketException

        try:
            async with asyncio.timeout(2.0):
                await self.connection.send(json.dumps({"type": "close"}))
                await self.connection.close()
        except (WebSocketException, OSError, TimeoutError):
            self.connection.transport.abort()

    async def _ask(self, kind: str, data: Mapping[str, Any]) -> Observation:
        from websockets.exceptions import ConnectionClosed, WebSocketException

        try:
            async with asyncio.timeout(self.limits.reply_seconds):
                # A full server says so and closes, perhaps before this message is sent: its words are still to be read.
                with suppress(ConnectionClosed):
                    await self.connection.send(json.dumps({"type": kind, "data": dict(data)}))
                frame = await self.connection.recv()
        except TimeoutError:
            # A late reply would be taken for that of the next step.
            self.connection.transport.abort()
            raise ServiceTimeoutError(
                f"{self.address}: expected a reply to {kind} within {self.limits.reply_seconds:g} s, received none"
            ) from None
        except ConnectionClosed as closed:
            told = closed.rcvd or closed.sent
            why = f" ({told.code}{f', {told.reason}' if told.reason else ''})" if told else ""
            raise ServiceUnavailableError(
                f"{self.address}: expected a reply to {kind}, but the connection was lost{mask_addresses(why)}; the "
                "episode cannot be taken up again"
            ) from None
        except (WebSocketException, OSError) as error:
            raise ServiceUnavailableError(
                f"{self.address}: expected a reply to {kind}: {mask_addresses(str(error))}"
            ) from None
        return self._read(kind, frame)

    def _read(self, kind: str, frame: str | bytes) -> Observation:
        try:
            reply = json.loads(frame)
            data = reply["data"]
            type_ = reply["type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._misunderstood(kind, frame) from None
        if type_ == "error" and isinstance(data, Mapping):
            self._raise_error(kind, data)
        if type_ != "observation" or not isinstance(data, Mapping) or not isinstance(data.get("observation"), Mapping):
            raise self._misunderstood(kind, frame)
        reward, done = data.get("reward"), data.get("done")
        if not isinstance(done, bool) or not isinstance(reward, int | float | None):
            raise self._misunderstood(kind, frame)
        number = None if reward is None else float(reward)
        fields = {name: value for name, value in data["observation"].items() if name != "metadata"}
        return Observation(fields, number if number is None or math.isfinite(number) else None, done)

    def _raise_error(self, kind: str, data: Mapping[str, Any]) -> None:
        code = data.get("code")
        message = _quote(data.get("message"))
        if code == "VALIDATION_ERROR":
            raise ActionRefusedError(_problems(data) or (message,))
        if code == "CAPACITY_REACHED":
            raise _NoSessionError(f"{message} ({data.get('active_sessions')} of {data.get('max_sessions')})")
        if code == "EXECUTION_ERROR":
            raise ExecutionError(f"{self.address}: the environment failed in {kind}: {message}")
        raise ServiceUnavailableError(
            f"{self.address}: expected a reply to {kind}, received the error {code}: {message}"
        )

    def _misunderstood(self, kind: str, frame: str | bytes) -> ServiceError:
        return ServiceRejectedError(
            f"{self.address}: expected an observation as reply to {kind}, received {_quote(frame)}: does the server speak "
            "the protocol of OpenEnv 0.10?"
        )


async def open_session(address: str, limits: SessionLimits, *, reset: Mapping[str, Any]) -> tuple[Session, Observation]:
    """Open a session and begin its episode, as soon as the server has a free session.

    A server without one accepts the connection and refuses the first message, so that connecting and resetting belong
    together.

    Args:
        address: address of the server, ``http://HOST:PORT`` or with a path.
        limits: patience.
        reset: arguments of the environment's ``reset``.

    Raises:
        ConfigError: the address cannot be that of a server, or its proxy cannot be used.
        ServiceError: the server cannot be reached, fails, or has no free session in time.
    """
    loop = asyncio.get_running_loop()
    started, pause = loop.time(), _CAPACITY_PAUSE_SECONDS[0]
    while True:
        session = await _connect(address, limits)
        try:
            return session, await session.reset(reset)
        except _NoSessionError as full:
            await session.close()
            if loop.time() - started + pause > limits.session_seconds:
                raise ServiceUnavailableError(
                    f"{session.address}: expected a free session within {limits.session_seconds:g} s, but the server says: "
                    f"{full}; start it with a larger max_concurrent_envs, or lower sampling.max_sessions"
                ) from None
        except BaseException:
            await session.close()
            raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _CAPACITY_PAUSE_SECONDS[1])


async def _connect(address: str, limits: SessionLimits) -> Session:
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    shown = without_login(address)
    proxy = find_proxy(address)
    try:
        connection = await connect(
            web_socket_address(address),
            max_size=MAX_FRAME_BYTES,
            open_timeout=min(CONNECT_SECONDS, limits.reply_seconds),
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            proxy=None if proxy is None else proxy.url,
        )
    except TimeoutError:
        raise ServiceTimeoutError(f"{shown}: expected an OpenEnv server, received no reply in time") from None
    except (WebSocketException, OSError) as error:
        raise ServiceUnavailableError(
            f"{shown}: expected an OpenEnv server: {mask_addresses(str(error))}; check that it runs"
        ) from None
    return Session(shown, limits, connection)


def web_socket_address(address: str) -> str:
    """Return the address of the sessions, ``ws://HOST/ws``, from that of the server.

    Raises:
        ConfigError: it is no address of a server.
    """
    parts = urlsplit(address)
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise ConfigError(
            f"tasks.openenv.address: expected the address of a server, such as http://127.0.0.1:8000, received {address!r}"
        )
    path = parts.path.rstrip("/")
    return urlunsplit((schemes[parts.scheme], parts.netloc, path if path.endswith("/ws") else f"{path}/ws", "", ""))


def require_websockets() -> None:
    """Refuse where the WebSocket library is not installed.

    Raises:
        MissingExtraError: names the extra.
    """
    import importlib.util

    if importlib.util.find_spec("websockets") is None:
        raise MissingExtraError(
            f'task = "openenv" needs websockets, which is not installed; run: {install_command("openenv")}'
        )


class _NoSessionError(ServiceError):
    """All sessions of the server are taken."""


def _problems(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Describe each field that the server's schema refuses, without its input: that is the policy's own text."""
    errors = data.get("errors")
    found = []
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, Mapping) and isinstance(error.get("msg"), str):
            place = error.get("loc")
            names = ".".join(str(part) for part in place) if isinstance(place, list | tuple) else str(place or "")
            found.append(f"{names}: {_quote(error['msg'])}" if names else _quote(error["msg"]))
    return tuple(found)


def _quote(text: object) -> str:
    shown = mask_addresses(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))
    return shown if len(shown) <= _MAX_QUOTED_CHARS else f"{shown[:_MAX_QUOTED_CHARS]}..."
