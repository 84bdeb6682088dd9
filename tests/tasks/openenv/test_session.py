"""A session ends with its connection; every other failure has its own kind. The server here is a double of the protocol.

The real package's servers are in ``test_real_servers.py``.
"""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from workflow_r1.errors import ConfigError, ServiceRejectedError, ServiceTimeoutError, ServiceUnavailableError
from workflow_r1.tasks.openenv.session import (
    ActionRefusedError,
    ExecutionError,
    SessionLimits,
    open_session,
    web_socket_address,
)

websockets = pytest.importorskip("websockets")

LIMITS = SessionLimits(reply_seconds=2.0, session_seconds=1.0)


def observation(reward=None, *, done=False, **fields):
    return {
        "type": "observation",
        "data": {"observation": {"metadata": {}, **fields}, "reward": reward, "done": done},
    }


def error(code, message="m", **fields):
    return {"type": "error", "data": {"code": code, "message": message, **fields}}


@asynccontextmanager
async def serving(*replies, max_sessions=64):
    """Answer each message of a session with the next of ``replies``; None closes the connection."""
    from websockets.asyncio.server import serve

    received, live = [], 0

    async def handle(connection):
        nonlocal live
        if live >= max_sessions:
            await connection.send(json.dumps(error("CAPACITY_REACHED", active_sessions=live, max_sessions=live)))
            return
        live += 1
        try:
            for reply in replies:
                received.append(json.loads(await connection.recv()))
                if reply is None:
                    return
                await connection.send(reply if isinstance(reply, str | bytes) else json.dumps(reply))
            await connection.wait_closed()
        finally:
            live -= 1

    async with serve(handle, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", received


def play(*replies, steps=1, limits=LIMITS):
    """Reset, then step; return what came back and what the server received."""

    async def run():
        async with serving(*replies) as (address, received):
            session, first = await open_session(address, limits, reset={"seed": 3})
            try:
                return [first, *[await session.step({"x": index}) for index in range(steps)]], received
            finally:
                await session.close()

    return asyncio.run(run())


def test_a_reset_and_a_step():
    (first, second), received = play(observation(text="go"), observation(1, done=True, text="end"))
    assert received == [{"type": "reset", "data": {"seed": 3}}, {"type": "step", "data": {"x": 0}}]
    assert (first.fields, first.reward, first.done) == ({"text": "go"}, None, False)
    assert (second.fields, second.reward, second.done) == ({"text": "end"}, 1.0, True)


@pytest.mark.parametrize(("sent", "reward"), [(True, 1.0), (0, 0.0), (None, None), (-0.5, -0.5)])
def test_rewards_become_numbers(sent, reward):
    (_, second), _ = play(observation(), observation(sent))
    assert second.reward == reward


def test_a_large_observation_comes_whole():
    (first,), _ = play(observation(text="x" * 3_000_000), steps=0)
    assert len(first.fields["text"]) == 3_000_000


def test_a_refused_action_is_the_policys_and_the_session_lives():
    async def run():
        refused = error("VALIDATION_ERROR", errors=[{"loc": ["x"], "msg": "too large", "input": "secret"}])
        async with serving(observation(), refused, observation(text="still here")) as (address, _):
            session, _ = await open_session(address, LIMITS, reset={})
            with pytest.raises(ActionRefusedError, match=r"^x: too large$"):
                await session.step({"x": 99})
            after = await session.step({"x": 1})
            await session.close()
            return after.fields

    assert asyncio.run(run()) == {"text": "still here"}


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (None, ServiceUnavailableError, "connection was lost"),
        (error("SESSION_ERROR", "broken"), ServiceUnavailableError, "SESSION_ERROR: broken"),
        (error("EXECUTION_ERROR", "thirteen"), ExecutionError, "failed in step: thirteen"),
        ("not json", ServiceRejectedError, "OpenEnv 0.10"),
        ('{"type": "observation"}', ServiceRejectedError, "OpenEnv 0.10"),
        ({"type": "pong", "data": {}}, ServiceRejectedError, "OpenEnv 0.10"),
        ({"type": "observation", "data": {"observation": {}, "done": "no"}}, ServiceRejectedError, "OpenEnv 0.10"),
        (observation("much"), ServiceRejectedError, "OpenEnv 0.10"),
        (b"\xff\xfe", ServiceRejectedError, "OpenEnv 0.10"),
    ],
)
def test_every_failure_has_its_kind(reply, kind, words):
    with pytest.raises(kind, match=words):
        play(observation(), reply)


def test_a_late_reply_ends_the_session():
    async def run():
        async with serving(observation()) as (address, _):
            session, _ = await open_session(address, SessionLimits(reply_seconds=0.2), reset={})
            with pytest.raises(ServiceTimeoutError, match=r"within 0\.2 s"):
                await session.step({})
            # Otherwise the late reply would be read as that of the next step.
            with pytest.raises(ServiceUnavailableError, match="connection was lost"):
                await session.step({})
            await session.close()

    asyncio.run(run())


def test_a_full_server_is_asked_again_until_a_session_is_free():
    async def run():
        async with serving(observation(text="mine"), max_sessions=1) as (address, _):
            first, _ = await open_session(address, LIMITS, reset={})
            waiting = asyncio.create_task(open_session(address, LIMITS, reset={}))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await first.close()
            second, _ = await waiting
            with pytest.raises(ServiceUnavailableError, match=r"max_concurrent_envs, or lower sampling\.max_sessions"):
                await open_session(address, LIMITS, reset={})
            await second.close()

    asyncio.run(run())


def test_nobody_there():
    with pytest.raises(ServiceUnavailableError, match="check that it runs"):
        asyncio.run(open_session("http://127.0.0.1:9", LIMITS, reset={}))


@pytest.mark.parametrize(
    ("address", "sessions"),
    [
        ("http://h:1", "ws://h:1/ws"),
        ("https://h/env/", "wss://h/env/ws"),
        ("ws://h:1/ws", "ws://h:1/ws"),
    ],
)
def test_the_address_of_the_sessions(address, sessions):
    assert web_socket_address(address) == sessions


@pytest.mark.parametrize("address", ["", "h:1", "ftp://h", "http://"])
def test_an_address_of_no_server_is_refused(address):
    with pytest.raises(ConfigError, match=r"tasks\.openenv\.address"):
        web_socket_address(address)
