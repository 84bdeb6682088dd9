"""Fixed workflows to compare a policy with. Each goes through the same environment, operators and scoring as a policy.

A fixed workflow is a generator: it yields operator calls, is sent what came back, and returns the answer.
"""

import re
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from workflow_r1.environment import EnvironmentConfig
from workflow_r1.operators import OPERATORS, Operator, OperatorResult, OperatorServices, operator
from workflow_r1.operators.asking import read_parts
from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.trajectory import FinishReason, Message

Workflow = Generator[str, str, str]
"""Yields ``Operator: input``, is sent the observation, returns the answer (empty where there is none)."""

_QUESTION = re.compile(r"^Question: ", flags=re.MULTILINE)
"""What stands before the question in a prompt of either style."""


@operator(purpose="Asks the LLM the bare question, once.")
async def direct(question: str, *, services: OperatorServices) -> OperatorResult:
    """Ask with no room to reason, and do not ask again. An operator of this comparison only, not of the pool."""
    request = f"{question}\n\nGive the answer alone, in as few words as possible, inside <answer></answer>."
    reply = await services.require_chat()(
        [Message(role="user", content=request)], max_tokens=services.config.max_tokens
    )
    answer = read_parts(reply.text, ("answer",)).get("answer", reply.text.strip())
    return OperatorResult(observation=f"Answer: {answer}", usage=reply.usage)


def answer_directly(question: str) -> Workflow:
    """Ask the LLM once, with no room to reason."""
    return read_answer((yield f"Direct: {question}"))


def answer_once(question: str) -> Workflow:
    """Let the LLM reason and answer, once."""
    return read_answer((yield f"AnswerGenerate: {question}"))


def answer_by_vote(question: str) -> Workflow:
    """Draw several answers and let the LLM pick the most consistent."""
    observation = yield f"MultiAnswerGenerate: {question}"
    solutions = read_answers(observation)
    if len(solutions) < 2:
        return solutions[0] if solutions else ""
    tagged = "".join(f"<solution>{solution}</solution>" for solution in solutions)
    return read_answer((yield f"ScEnsemble: <query>{question}</query>{tagged}"))


def read_answer(observation: str) -> str:
    """What stands after the last ``Answer:`` at the start of a line."""
    found = re.findall(r"^Answer:(.*?)(?=^Answer:|\Z)", observation, flags=re.DOTALL | re.MULTILINE)
    return found[-1].strip() if found else ""


def read_answers(observation: str) -> list[str]:
    """What stands after each ``[Answer n]`` at the start of a line."""
    parts = re.split(r"^\[Answer \d+\]", observation, flags=re.MULTILINE)
    return [part.strip() for part in parts[1:] if part.strip()]


@dataclass(frozen=True, slots=True)
class Method:
    """A fixed workflow by its name."""

    name: str
    """As it stands in tables and files."""
    workflow: Callable[[str], Workflow]
    """From the question's text to its operator calls and answer."""
    operators: Mapping[str, Operator]
    """What it may call."""


def _pool(*names: str) -> dict[str, Operator]:
    return {name: OPERATORS[name] for name in names}


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("direct", answer_directly, {"Direct": direct}),
        Method("answer-generate", answer_once, _pool("AnswerGenerate")),
        Method("self-consistency", answer_by_vote, _pool("MultiAnswerGenerate", "ScEnsemble")),
    )
}
"""Every fixed workflow by its name."""


def method_environment(method: Method) -> EnvironmentConfig:
    """Limits in which a fixed workflow never runs out, and the prompt that it reads."""
    return EnvironmentConfig(
        operators=tuple(method.operators),
        prompt_style="brief",
        max_operator_calls=8,
        max_turns=8,
        max_observation_chars=65536,
        parallel_calls=False,
    )


class FixedWorkflow:
    """A policy without a model: it carries out one fixed workflow."""

    def __init__(self, method: Method) -> None:
        self.method = method

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.method.name

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["FixedWorkflowSession"]:
        """Open a session. A fixed workflow draws nothing itself, so ``seed`` is not used."""
        yield FixedWorkflowSession(self.method.workflow)


class FixedWorkflowSession:
    """One fixed workflow at work on one question."""

    def __init__(self, workflow: Callable[[str], Workflow]) -> None:
        self._start = workflow
        self._workflow: Workflow | None = None
        self._received = ""
        self._answer: str | None = None

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Take the prompt, then observations."""
        self._received = messages[-1].content
        return ()

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Return the workflow's next call, or its answer once it has returned."""
        if self._answer is None:
            try:
                if self._workflow is None:
                    self._workflow = self._start(_QUESTION.split(self._received, maxsplit=1)[-1].strip())
                    call = next(self._workflow)
                else:
                    call = self._workflow.send(self._received.removeprefix("<info>").removesuffix("</info>").strip())
            except StopIteration as stop:
                self._answer = stop.value
        action = f"<tool>{call}</tool>" if self._answer is None else f"<answer>{self._answer}</answer>"
        text = f"<think>The workflow is fixed.</think>{action}"
        return SampledTurn(text=text, token_ids=(), logprobs=(), finish_reason=FinishReason.STOP)
