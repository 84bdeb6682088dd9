"""The proposer of the next workflow: an LLM, or chance, as a control and where there is no LLM."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from workflow_r1.errors import ContentRejectedError, DataError
from workflow_r1.inference import ChatModel, ChatRequest
from workflow_r1.methods.aflow.edits import draw_edit
from workflow_r1.methods.graphs import WorkflowGraph
from workflow_r1.methods.graphs.checking import make_graph
from workflow_r1.operators import Operator
from workflow_r1.prompts import cut_middle, neutralise
from workflow_r1.trajectory import Message, Usage

MAX_SHOWN = 600
"""Characters of a question or an answer that are shown to the LLM."""

_MAX_TOKENS = 4096
"""Longest proposal."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A change of the parent that was tried before."""

    modification: str
    """The change, in the proposer's words."""
    score: float
    """Score of the changed workflow, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A validation question that the parent got wrong."""

    question: str
    """The question."""
    golden_answers: tuple[str, ...]
    """Golden answers of the question."""
    answer: str
    """Answer of the workflow; empty where it gave no answer."""


@dataclass(frozen=True, slots=True)
class Task:
    """The workflow to improve, and everything that may be known of it."""

    parent: WorkflowGraph
    """The workflow to change."""
    score: float
    """Its score, 0 to 1."""
    trials: Sequence[Trial]
    """Earlier changes of it, with their scores."""
    mistakes: Sequence[Mistake]
    """Some of its mistakes."""
    operators: Mapping[str, Operator]
    """The pool."""
    max_nodes: int
    """Most nodes of the new workflow."""
    seed: int
    """Seed of all the proposer's draws."""
    tried: frozenset[str] = frozenset()
    """Fingerprints of all workflows that were tried, of whichever parent."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A proposal that could not be used."""

    reply: str
    """The proposer's reply."""
    problem: str
    """Problem of the reply, and the form to write instead."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of a proposer."""

    text: str
    """A JSON object with ``modification`` and ``graph``, if all is well."""
    usage: Usage
    """Usage of writing it."""


class Proposer(Protocol):
    """Proposes one change of a workflow."""

    @property
    def name(self) -> str:
        """Name for records and reports; says so where it is a simulation."""
        ...

    async def __call__(self, task: Task, refused: Sequence[Refusal]) -> Reply:
        """Propose.

        Args:
            task: the workflow to improve.
            refused: earlier proposals for the same task that could not be used, in order.

        Raises:
            ServiceError: a service that it needs failed after its retries.
        """
        ...


class LLMProposer:
    """Asks an LLM.

    Args:
        chat: the LLM.
        temperature: temperature of its proposals.
    """

    def __init__(self, chat: ChatModel, *, temperature: float = 0.7) -> None:
        self._chat = chat
        self._temperature = temperature

    @property
    def name(self) -> str:
        """Name for records and reports."""
        return "LLM"

    async def __call__(self, task: Task, refused: Sequence[Refusal]) -> Reply:
        """Propose; the LLM sees its earlier proposals and their problems."""
        messages = [Message(role="user", content=render_task(task))]
        for refusal in refused:
            messages.append(Message(role="assistant", content=cut_middle(refusal.reply, 8000) or "(no text)"))
            complaint = (
                f"This cannot be used: {refusal.problem}\nReply again with the whole JSON object and nothing else."
            )
            messages.append(Message(role="user", content=complaint))
        # A server that draws by the number of the sample must not repeat a proposal for an unchanged archive.
        request = ChatRequest(
            messages=tuple(messages),
            temperature=self._temperature,
            max_tokens=_MAX_TOKENS,
            sample_index=task.seed % 2**20 + len(refused),
        )
        try:
            reply = await self._chat(request)
        except ContentRejectedError:
            if not refused:
                raise
            # The service refuses the LLM's own earlier words: the next request leaves them out.
            reply = await self._chat(replace(request, messages=request.messages[:1]))
        return Reply(reply.text, reply.usage)


class RandomProposer:
    """Draws one random valid edit that was not tried, without looking at scores or mistakes. A control; no LLM takes part."""

    @property
    def name(self) -> str:
        """Name for records and reports."""
        return "random edits (a simulation of an LLM's proposals)"

    async def __call__(self, task: Task, refused: Sequence[Refusal]) -> Reply:
        """Propose."""
        rng = random.Random(f"{task.seed} {len(refused)}")
        modification, graph = draw_edit(
            task.parent, task.operators, max_nodes=task.max_nodes, rng=rng, known=task.tried
        )
        return Reply(json.dumps({"modification": modification, "graph": graph.model_dump(mode="json")}), Usage())


def read_proposal(text: str, operators: Mapping[str, Operator], *, max_nodes: int) -> tuple[str, WorkflowGraph]:
    """Read a modification and a graph from a proposer's reply; prose and code fences around the object are left out.

    Raises:
        DataError: it holds no usable graph; the message says what to write instead.
    """
    text = text.rpartition("</think>")[2]
    start, end = text.find("{"), text.rfind("}")
    try:
        row = json.loads(text[start : end + 1]) if start >= 0 else None
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected one JSON object, received text that is not JSON ({error})") from None
    if not isinstance(row, dict) or set(row) != {"modification", "graph"}:
        raise DataError('expected a JSON object {"modification": "...", "graph": {...}} and nothing else')
    modification = row["modification"]
    if not isinstance(modification, str) or not modification.strip():
        raise DataError("modification: expected a sentence that says what was changed and why")
    graph = make_graph(row["graph"], operators)
    if len(graph.nodes) > max_nodes:
        raise DataError(f"nodes: expected at most {max_nodes}, received {len(graph.nodes)}; leave some out")
    return modification.strip()[:1000], graph


def render_task(task: Task) -> str:
    """Write the request to the LLM."""
    menu = "\n".join(_render_operator(operator) for operator in task.operators.values())
    trials = "\n".join(
        f"- {trial.score:.3f} ({trial.score - task.score:+.3f}): {trial.modification}" for trial in task.trials
    )
    mistakes = "\n".join(
        f"- question: {_show(mistake.question)}\n  right: {_show(' | '.join(mistake.golden_answers))}\n"
        f"  answered: {_show(mistake.answer) or '(nothing)'}"
        for mistake in task.mistakes
    )
    parent = task.parent.model_dump(mode="json", exclude={"schema_version", "description"})
    return _REQUEST.format(
        menu=menu,
        max_nodes=task.max_nodes,
        parent=json.dumps(parent, indent=1, ensure_ascii=False),
        score=task.score,
        trials=trials or "(none yet)",
        mistakes=mistakes or "(none)",
    )


_REQUEST = """\
A workflow answers questions by calling operators; most of them ask a language model. Improve it by ONE change, so that more \
answers are exactly right. Answers are compared word for word with short golden answers (a name, a date, a number, yes or no).

The form of a workflow, in JSON:
{{"nodes": [{{"name": "...", "operator": "...", "arguments": {{"argument": "template"}}}}], "output": "template"}}
- A name has small letters, digits and underscores. Each node is one call. Nodes that do not need one another run side by side.
- A template is text with references: {{question}} is the question, {{name}} the result of a node (the answer alone, without \
reasoning), {{name.text}} all that it returned. A plain brace is written {{{{ or }}}}.
- An argument that takes several values is a list of two or more templates; a value {{name.answers}} stands for each of the \
answers of a MultiAnswerGenerate.
- The output is the answer, usually one reference.
- No cycles; every node is used; at most {max_nodes} nodes.

Operators:
{menu}

The workflow to change (exact match {score:.3f}):
{parent}

Changes of it that were tried, with the score that came of them:
{trials}

Some questions that it answers wrongly:
{mistakes}

Change one thing: add a step, replace or remove one, rewire an argument, or reword an instruction. Do not repeat a change that was \
tried. Instructions must be general: nothing of the questions above may stand in them.
Reply with one JSON object and nothing else:
{{"modification": "what you changed and why, in one sentence", "graph": {{"nodes": [...], "output": "..."}}}}"""


def _render_operator(operator: Operator) -> str:
    arguments = ", ".join(
        f"{argument.name} ({'two or more values' if argument.is_list else argument.expected}"
        f"{', optional' if argument.is_optional else ''})"
        for argument in operator.arguments
    )
    return f"- {operator.name}: {operator.purpose} Arguments: {arguments}."


def _show(text: str) -> str:
    return neutralise(cut_middle(" ".join(text.split()), MAX_SHOWN))
