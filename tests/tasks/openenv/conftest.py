"""Servers made with the real ``openenv`` package, and a policy that plays on them."""

import sys
from contextlib import contextmanager

import pytest
from environment_servers import GUESS_SERVER, free_port, halve, running

from workflow_r1.inference import ScriptedChatModel
from workflow_r1.rollout import ChatPolicy


@pytest.fixture
def guess_server():
    """Start a server of the real package: ``with guess_server(kind=..., port=...) as (address, process)``."""

    @contextmanager
    def start(*, port=None, **options):
        port = port or free_port()
        address = f"http://127.0.0.1:{port}"
        given = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        with running([sys.executable, str(GUESS_SERVER), str(port), *given], address) as process:
            yield address, process

    return start


@pytest.fixture
def player():
    """A policy that plays well."""

    def write(messages):
        return f"<think>halve</think><tool>Act: {halve([m.content for m in messages if m.role == 'user'])}</tool>"

    return ChatPolicy(ScriptedChatModel(write), name="halver")
