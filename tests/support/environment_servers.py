"""Start servers of environments, and play on them."""

import re
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from workflow_r1.environment import EnvironmentConfig
from workflow_r1.operators import OperatorServices
from workflow_r1.rollout import rollout_groups
from workflow_r1.tasks import TaskEnvironment

GUESS_SERVER = Path(__file__).parents[1] / "tasks" / "openenv" / "guess_server.py"
START_SECONDS = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended at its start"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no server at {address} within {START_SECONDS} s")


@contextmanager
def running(command, address):
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        wait_until_healthy(address, process)
        yield process
    finally:
        process.kill()
        process.wait()


def halve(texts):
    """Guess by halving what the hints leave of 1 to 20."""
    low, high, guess = 1, 20, None
    for text in texts:
        if guess is not None and "Higher" in text:
            low = guess + 1
        elif guess is not None and "Lower" in text:
            high = guess - 1
        guess = (low + high) // 2
    return guess


def make_environments(task, **limits):
    config = EnvironmentConfig(operators=(), **limits)
    return lambda instance: TaskEnvironment(
        instance, task=task, config=config, operators={}, services=OperatorServices()
    )


def play(task, policy, instances, *, group_size=1, max_concurrency=64, **limits):
    """Roll the policy out on instances of a task; return the trajectories in a flat list."""
    import asyncio

    groups = asyncio.run(
        rollout_groups(
            instances,
            policy=policy,
            make_environment=make_environments(task, **limits),
            group_size=group_size,
            seed=0,
            max_concurrency=max_concurrency,
        )
    )
    return [trajectory for group in groups for trajectory in group]


def observed(trajectory):
    """The texts that the environment gave: after the prompt, each behind its tag."""
    return [re.sub(r"</?info>", "", turn.observation).strip() for turn in trajectory.turns if turn.observation]
