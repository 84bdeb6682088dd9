"""The simulated expert's work step by step: it reads a request of ReAct, and finds the fact that is needed next."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from workflow_r1.embedded.language import Chain, Comparison, Query

_REQUEST = re.compile(r"\nThought ([0-9]+):\Z")
_MENU = "- Finish["
_ACTION = re.compile(r"^- (\w+)\[", re.MULTILINE)
_STEP = re.compile(r"^Action [0-9]+: (\w+)\[(.*)\]\nObservation [0-9]+: ", re.MULTILINE)
_NEXT_THOUGHT = re.compile(r"^Thought [0-9]+:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Work:
    """A request of ReAct, read."""

    question: str
    """Question of the request."""
    step: int
    """Number of the step that is to be taken."""
    actions: frozenset[str]
    """Names of the actions, ``Finish`` included."""
    searched: frozenset[str]
    """Queries of the searches."""
    passages: tuple[str, ...]
    """Passages of the searches."""
    answers: Mapping[str, str]
    """Answers of ``AnswerGenerate`` by question."""


def is_step(request: str) -> bool:
    """Return True where a request asks for a step of ReAct."""
    return _REQUEST.search(request) is not None and _MENU in request


def read_work(request: str) -> Work:
    """Read a request of ReAct."""
    menu, _, rest = request.partition("\n\nQuestion: ")
    question, _, steps = rest.partition("\n")
    number = _REQUEST.search(request)
    searched, passages, answers = set[str](), list[str](), dict[str, str]()
    for action in _STEP.finditer(steps):
        observation = _NEXT_THOUGHT.split(steps[action.end() :], maxsplit=1)[0]
        if action[1] == "Search":
            searched.add(action[2])
            passages.append(observation)
        elif action[1] == "AnswerGenerate":
            answers[action[2]] = observation.rpartition("Answer: ")[2].strip()
    return Work(
        question=question.strip(),
        step=int(number[1]) if number else 0,
        actions=frozenset(_ACTION.findall(menu)),
        searched=frozenset(searched),
        passages=tuple(passages),
        answers=answers,
    )


def next_fact(query: Query, facts: Mapping[tuple[str, str], str]) -> tuple[str, str] | None:
    """Return the entity and the relation of the first fact that a query needs and ``facts`` lack; None where all are known."""
    if isinstance(query, Comparison):
        return next(((name, query.relation) for name in query.entities if (name, query.relation) not in facts), None)
    at = query.entity
    for noun in query.relations:
        if (at, noun) not in facts:
            return at, noun
        at = facts[at, noun]
    return None


def conclude(query: Query, facts: Mapping[tuple[str, str], str]) -> str:
    """Return the answer that the facts give, all that the query needs."""
    if isinstance(query, Comparison):
        first, second = query.entities
        is_before = facts[first, query.relation] < facts[second, query.relation]
        return first if is_before != query.last else second
    assert isinstance(query, Chain)
    at = query.entity
    for noun in query.relations:
        at = facts[at, noun]
    return at
