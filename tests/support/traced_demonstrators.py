"""Demonstrators of the embedded world that say where each word which they write came from.

Every word that a session reads is marked with an invisible character of its source: the question, or the turn whose observation
it stood in. The scripts carry words about without looking at the marks, which are read off, and removed, where they write.
So the labels come from the scripts at work, not from a comparison of texts.
"""

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import replace

from workflow_r1.embedded import demonstrators
from workflow_r1.embedded.demonstrations import ENVIRONMENT, SEARCH_K
from workflow_r1.embedded.demonstrators import Demonstrator, DemonstratorSession
from workflow_r1.embedded.expert import SimulatedExpert
from workflow_r1.embedded.language import RELATIONS, Chain, read_question
from workflow_r1.embedded.world import EmbeddedWorld
from workflow_r1.environment import QuestionEnvironment
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.prompts import parse_turn
from workflow_r1.rollout import rollout

FIRST_MARK = 0xE000
"""A private-use character stands for the question, the next ones for the turns."""

_MARKS = re.compile("[\ue000-\ue0ff]")

_RELATION_WORDS = {
    word
    for relation in RELATIONS.values()
    for text in (relation.noun, relation.event, *relation.asks)
    for word in re.findall(r"[a-z]{4,}", text)
} - {"which", "what", "where", "when"}
"""Words by which the scripts name a relation of the question: one that stands in the question was taken from there."""


def mark(text, source):
    """Mark every word of a text but for labels before a colon, and tags."""
    return re.sub(r"(?<![</])\b\w+\b(?!:)", lambda word: word[0] + chr(FIRST_MARK + source), text)


def strip(text):
    return _MARKS.sub("", text)


def sources_of(text):
    return {ord(found) - FIRST_MARK for found in _MARKS.findall(text)}


def read_marked_question(text):
    query = read_question(strip(text))
    if isinstance(query, Chain):
        return replace(query, entity=mark(query.entity, 0))
    return query and replace(query, entities=tuple(mark(entity, 0) for entity in query.entities))


class TracedSession(DemonstratorSession):
    """A script at work on marked words. ``edges`` holds the labels: (source, target) by the ids of the flow."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.edges = set()
        self._turn = 0
        self._question = ""

    def extend(self, messages):
        text = messages[-1].content
        if not self._turn:
            before, _, question = text.partition("Question:")
            self._question = question.strip()
            text = f"{before}Question: {mark(self._question, 0)}"
        else:
            text = mark(text, self._turn)
        self._observation = text
        return ()

    def _stated(self, entity, noun, observation):
        value = super()._stated(strip(entity), noun, strip(observation))
        return value and re.search(f"{re.escape(value)}[\ue000-\ue0ff]", observation)[0]

    async def sample(self, *, max_tokens):
        sampled = await super().sample(max_tokens=max_tokens)
        self._turn += 1
        turn = parse_turn(sampled.text)
        for call in turn.calls:
            sources = sources_of(call.input)
            if call.operator != "Custom" and self._names_relation(call.input):
                sources.add(0)
            self._label(sources, f"call-{self._turn}-1")
        if turn.answer is not None:
            sources = sources_of(turn.answer)
            if not sources - {0}:
                # Concluded: one of two names of the question, or that nothing is known.
                sources |= sources_of(turn.think) | ({0} if self._names_relation(turn.think) else set())
            self._label(sources, "answer")
        return replace(sampled, text=strip(sampled.text))

    def _names_relation(self, text):
        return bool(_RELATION_WORDS & set(re.findall(r"[a-z]+", text)) & set(re.findall(r"[a-z]+", self._question)))

    def _label(self, sources, target):
        self.edges |= {("question" if source == 0 else f"call-{source}-1", target) for source in sources}


class TracedDemonstrator(Demonstrator):
    """A demonstrator whose last session keeps its labels."""

    @asynccontextmanager
    async def session(self, *, seed):
        self.last = TracedSession(self.world, self.strategy, demonstrators.random.Random(f"demonstrator {seed}"))
        yield self.last


def traced_demonstrations(strategy, num, monkeypatch, *, world_seed=1):
    """Return trajectories of a strategy, each with its labelled edges."""
    monkeypatch.setattr(demonstrators, "read_question", read_marked_question)
    world = EmbeddedWorld(world_seed)
    services = OperatorServices(
        chat=SimulatedExpert(world), search=world.search, config=OperatorConfig(search_k=SEARCH_K)
    )
    demonstrator = TracedDemonstrator(world, strategy)

    async def make():
        made = []
        for number, question in enumerate(world.questions("evaluation", num, seed=world_seed)):
            trajectory = await rollout(
                question, policy=demonstrator, trajectory_id=question.id, group_id=question.id, seed=number,
                environment=QuestionEnvironment(question, config=ENVIRONMENT, operators=OPERATORS, services=services),
            )  # fmt: skip
            made.append((trajectory, frozenset(demonstrator.last.edges)))
        return made

    return asyncio.run(make())
