"""A policy without a model: it carries out a workflow that is written down as a generator."""

import random
import re
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager

from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.trajectory import FinishReason, Message
from workflow_r1.trajectory.outcome import NO_ANSWER

Workflow = Generator[Sequence[str], list[str], str]
"""Yields calls (``Operator: input``) that run side by side, receives an observation of each, returns the answer (empty
without one).
"""

_QUESTION = re.compile(r"^Question: ", flags=re.MULTILINE)
"""Text before the question in a prompt of either style."""

_OBSERVATION = re.compile(r"<info>(.*?)</info>", flags=re.DOTALL)


class FixedWorkflow:
    """Carries out one workflow for every question.

    Args:
        name: name of the method.
        start: makes the workflow from the question's text and the trajectory's own source of random numbers.
    """

    def __init__(self, name: str, start: Callable[[str, random.Random], Workflow]) -> None:
        self._name = name
        self._start = start

    @property
    def name(self) -> str:
        """Name of the method."""
        return self._name

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["FixedWorkflowSession"]:
        """Open a session; all draws of the workflow derive from ``seed``."""
        yield FixedWorkflowSession(self._start, random.Random(seed))


class FixedWorkflowSession:
    """One workflow at work on one question."""

    def __init__(self, start: Callable[[str, random.Random], Workflow], rng: random.Random) -> None:
        self._start = start
        self._rng = rng
        self._workflow: Workflow | None = None
        self._received = ""
        self._num_calls = 0
        self._answer: str | None = None

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Take the prompt, then observations."""
        self._received = messages[-1].content
        return ()

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Return the workflow's next calls, or its answer once it has returned."""
        calls: Sequence[str] = ()
        if self._answer is None:
            try:
                if self._workflow is None:
                    self._workflow = self._start(question_of(self._received), self._rng)
                    calls = next(self._workflow)
                else:
                    calls = self._workflow.send(self._observations())
            except StopIteration as stop:
                self._answer = stop.value
        self._num_calls = len(calls)
        action = "".join(f"<tool>{call}</tool>" for call in calls) if self._answer is None else ""
        text = f"<think>The workflow is fixed.</think>{action or f'<answer>{self._answer or NO_ANSWER}</answer>'}"
        return SampledTurn(text=text, token_ids=(), logprobs=(), finish_reason=FinishReason.STOP)

    def _observations(self) -> list[str]:
        """Return an observation of each call. The environment may say more, such as that no call is left, and may leave
        some out: those are empty.
        """
        found = observations_of(self._received)[: self._num_calls]
        return found + [""] * (self._num_calls - len(found))


def question_of(prompt: str) -> str:
    """Return the text of the question in a prompt of either style."""
    return _QUESTION.split(prompt, maxsplit=1)[-1].strip()


def observations_of(message: str) -> list[str]:
    """Return the texts of the observations in a message that answers a turn."""
    return [text.strip() for text in _OBSERVATION.findall(message)]
