"""A server of our own on the loopback interface, in a thread of the test's process."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from workflow_r1.environment import Environment, EnvironmentConfig, QuestionEnvironment
from workflow_r1.operators import OperatorResult, OperatorServices
from workflow_r1.rollout import Policy, ScriptedPolicy
from workflow_r1.services.connections import TimedProtocol, server_options
from workflow_r1.serving.app import Served, make_app
from workflow_r1.trajectory import Question, Usage

SCRIPT = ("<think>look it up</think><tool>Echo: jaws</tool>", "<think>settled</think><answer>Cincinnati</answer>")


class Echo:
    """An operator that repeats its input, once it is let."""

    name = "Echo"
    purpose = usage = "echoes"
    arguments = ()

    def __init__(self, *, error: Exception | None = None, usage: Usage | None = None) -> None:
        self.error = error
        self.used = usage or Usage()
        self.may_go = threading.Event()
        self.may_go.set()
        self.started = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(self, input: str, services: OperatorServices) -> OperatorResult:
        self.started.set()
        try:
            while not self.may_go.is_set():  # noqa: ASYNC110 (it is set by another thread)
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        return OperatorResult(observation=f"Echo({input})", usage=self.used)


def make_served(
    policy: Policy | None = None, operator: Echo | None = None, served: Any = None, **config: Any
) -> Served:
    settings = EnvironmentConfig(**{"operators": ("Echo",), "prompt_style": "brief"} | config)
    operators = {"Echo": operator or Echo()}

    def make_environment(question: Question) -> Environment:
        return QuestionEnvironment(question, config=settings, operators=operators, services=OperatorServices())

    policy = policy or ScriptedPolicy(SCRIPT)
    usual = {"model": "m", "make_environment": make_environment, "temperature": 0.0, "simulation": True}
    return Served(policy=policy, **usual | (served or {}))


@contextmanager
def running(app: Starlette, protocol: type[TimedProtocol] = TimedProtocol) -> Iterator[str]:
    """Serve while the context lasts; the address."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    options = server_options(max_connections=256) | {"http": protocol}
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a server: ``serve(policy, operator, config={}, served={}, **options of make_app)`` gives its address."""
    with ExitStack() as stack:

        def start(
            policy: Policy | None = None,
            operator: Echo | None = None,
            config: Any = None,
            served: Any = None,
            **options: Any,
        ) -> str:
            return stack.enter_context(
                running(make_app(make_served(policy, operator, served, **config or {}), **options))
            )

        yield start


@pytest.fixture
def echo() -> type[Echo]:
    """The operator that the servers of these tests have."""
    return Echo


@pytest.fixture
def run_server() -> Callable[[Starlette], AbstractContextManager[str]]:
    """Serve an application while a context lasts."""
    return running
