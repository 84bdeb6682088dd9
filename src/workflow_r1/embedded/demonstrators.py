"""Scripted policies of the embedded world: demonstrators for the warm start, and oracles that show what can be reached.

A demonstrator reads the shown texts and never invents a value. Its *reading* is exact; its *strategy* is drawn from a
``Strategy``, so that imitation teaches the skills and leaves a mediocre mixture of strategies for RL to improve.
"""

import random
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Literal

from workflow_r1.embedded.expert import UNKNOWN
from workflow_r1.embedded.language import (
    Chain,
    Comparison,
    describe,
    describe_news,
    describe_other,
    read_bearers,
    read_news,
    read_question,
    read_statements,
    write_chain,
)
from workflow_r1.embedded.strategy import WARM_START, Strategy
from workflow_r1.embedded.world import EmbeddedWorld
from workflow_r1.environment.questions import NO_CALLS_LEFT
from workflow_r1.rollout.policy import PolicySession, SampledTurn
from workflow_r1.trajectory import FinishReason, Message

Skill = Literal["copy", "read", "notice", "compare", "plan"]
"""``copy``: a name into an operator's input. ``read``: a value out of an observation. ``notice``: that the observation
does not state it. ``compare``: which of two years is the earlier one. ``plan``: the relations that are left of a chain."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a turn, and the skill that writing it takes."""

    text: str
    skill: Skill | None = None


Script = Generator[list[Piece], str, None]
"""Yields turns, receives observations."""

Finding = Generator[list[Piece], str, tuple[str | None, list[Piece]]]
"""A part of a script that finds a fact: its value, None where it gives up, and the thought that states it."""


class Demonstrator:
    """A ``Policy`` without a model: scripts that act in the embedded world.

    Args:
        world: the world whose dials say how well it reads, and how much it copies into its thoughts.
        strategy: the habits of its scripts; None takes those of the world's dials.
        by_relation: other habits for the facts of some relations, which only an oracle tells apart.
    """

    def __init__(
        self,
        world: EmbeddedWorld,
        strategy: Strategy | None = None,
        *,
        by_relation: Mapping[str, Strategy] | None = None,
    ) -> None:
        self.world = world
        self.strategy = strategy or replace(WARM_START, **world.config.strategy)
        self.by_relation = by_relation or {}
        self.last_turns: list[list[Piece]] = []
        """The pieces of the turns of the session that was opened last."""

    @property
    def name(self) -> str:
        """Name for records."""
        return "demonstrator"

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[PolicySession]:
        """Open a session, as :class:`~workflow_r1.rollout.policy.Policy` says."""
        rng = random.Random(f"demonstrator {seed}")
        session = DemonstratorSession(self.world, self.strategy, rng, self.by_relation)
        self.last_turns = session.turns
        yield session


class DemonstratorSession:
    """One script at work; ``turns`` keeps the pieces of every turn for the measurement of skills."""

    def __init__(
        self,
        world: EmbeddedWorld,
        strategy: Strategy,
        rng: random.Random,
        by_relation: Mapping[str, Strategy] | None = None,
    ) -> None:
        self._dials = world.config
        self._strategy = strategy
        self._by_relation = by_relation or {}
        self._rng = rng
        self._script: Script | None = None
        self._observation = ""
        self._words: list[str] = []
        self._bearer = ""
        self.turns: list[list[Piece]] = []

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Take the prompt, then observations."""
        self._observation = messages[-1].content
        return ()

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Return the script's next turn."""
        if self._script is None:
            question = self._observation.split("Question:", 1)[-1].strip()
            self._words = question.removesuffix("?").split()
            self._script = self._answer(question)
            pieces = next(self._script)
        else:
            pieces = self._script.send(self._observation)
            if NO_CALLS_LEFT in self._observation and not _is_final(pieces):
                pieces = _final([Piece(" Give up.")], UNKNOWN)
        pieces = self._padded(pieces)
        self.turns.append(pieces)
        text = "".join(piece.text for piece in pieces)
        return SampledTurn(text=text, token_ids=(), logprobs=(), finish_reason=FinishReason.STOP)

    def _draw(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability

    def _padded(self, pieces: list[Piece]) -> list[Piece]:
        """Copy words of the question to the beginning of the thought, as many as the dials say."""
        fewest, most = self._dials.padding
        num = self._rng.randint(fewest, most) if most else 0
        if not num or not self._words:
            return pieces
        copied = " ".join(islice(cycle(self._words), num))
        return [pieces[0], Piece(f" {copied}.", "copy"), *pieces[1:]]

    def _answer(self, text: str) -> Script:
        strategy = self._strategy
        query = read_question(text)
        first = self._rng.random()
        if query is None or first < strategy.whole:
            value = yield from self._ask_once(text, "Ask the whole question.", strategy)
            yield _final([Piece(f" Answer: {value}. Done.", "read")], value)
        elif first < strategy.whole + strategy.whole_ensemble:
            value = yield from self._ask_thrice(text)
            yield _final([Piece(f" Answer: {value}. Done.", "read")], value)
        else:
            thought: list[Piece] = []
            if first < strategy.whole + strategy.whole_ensemble + strategy.optimise:
                yield _call([Piece(" Make the question clear.")], "PromptOptimizer", [Piece(f" {text}", "copy")])
            if isinstance(query, Comparison):
                yield from self._compare(query, thought)
            else:
                yield from self._follow(query, thought)

    def _follow(self, chain: Chain, thought: list[Piece]) -> Script:
        at, hop = chain.entity, 0
        doubtful: list[tuple[int, str, str]] = []  # hop, name that two bear, and which of them was shown
        while hop < len(chain.relations):
            noun = chain.relations[hop]
            returns = bool(doubtful) and hop == len(chain.relations) - 1 and self._draw(self._strategy.go_back)
            value, thought = yield from self._find(at, noun, [*thought, *self._left(chain, hop)], returns=returns)
            if value == UNKNOWN and returns:
                hop, at, shown = doubtful.pop()
                noun = chain.relations[hop]
                thought = [*thought, *self._left(chain, hop)]
                value, thought = yield from self._search(at, noun, describe_other(noun, at, shown), thought)
            elif self._bearer:
                doubtful.append((hop, at, self._bearer))
            if value is None or value == UNKNOWN:
                yield _final([*thought, Piece(" Give up.")], UNKNOWN)
                return
            at, hop = value, hop + 1
        yield _final([*thought, Piece(" Done.")], at)

    def _left(self, chain: Chain, hop: int) -> list[Piece]:
        """State the relations that are left to follow, where the dials say so."""
        if not self._dials.restating:
            return []
        # No commas: a small policy that copies a list looks for what followed the token that it wrote last.
        found = chain.relations[hop - 1] if hop else chain.entity
        return [Piece(f" From {found} then {' '.join(chain.relations[hop:])}.", "plan")]

    def _compare(self, comparison: Comparison, thought: list[Piece]) -> Script:
        years = []
        for entity in comparison.entities:
            year, thought = yield from self._find(entity, comparison.relation, thought)
            if year is None:
                yield _final([*thought, Piece(" Give up.")], UNKNOWN)
                return
            years.append(year)
        is_before = years[0] < years[1]
        if self._draw(self._strategy.outsource_comparison):
            task = [Piece("<task> Which is earlier,"), Piece(f" {years[0]} or {years[1]}", "copy"), Piece("?</task>")]
            instruction = Piece(" <instruction> Give the year.</instruction>")
            observation = yield _call([*thought, Piece(" Ask which.")], "Custom", [Piece(" "), *task, instruction])
            is_before = _field(observation, "Answer:") == years[0]
            thought = []
        # Small steps, each of which looks at the token before it or at what followed it last time: a small policy
        # cannot take them all at once.
        names = dict(zip(("one", "two"), comparison.entities, strict=True))
        earlier, later = ("one", "two") if is_before else ("two", "one")
        winner = later if comparison.last else earlier
        conclusion = [
            Piece(" Compare"),
            Piece(f" one {names['one']} {years[0]} two {names['two']} {years[1]}. Years {years[0]} {years[1]}", "copy"),
            Piece(f" {earlier}", "compare"),
            Piece(f" {names[earlier]}", "copy"),
            Piece(" then"),
            Piece(
                f" {later} {names[later]}. Take {'last' if comparison.last else 'first'} {winner} {names[winner]}.",
                "copy",
            ),
        ]
        yield _final([*thought, *conclusion, Piece(" Done.")], names[winner])

    def _find(self, entity: str, noun: str, thought: list[Piece], *, returns: bool = False) -> Finding:
        """Find one fact. Returns its value and the thought that states it, to open the next turn with.

        Args:
            entity: name of the entity.
            noun: noun of the relation.
            thought: beginning of the first turn's thought.
            returns: a value that no passage states is unknown, and not asked for.
        """
        strategy = self._by_relation.get(noun, self._strategy)
        question = write_chain(Chain(entity, (noun,)))
        wanted = describe(noun, entity)
        opening = [*thought, Piece(" Next:"), Piece(f" {wanted}.", "copy")]
        self._bearer = ""
        if self._draw(strategy.search):
            value, found = yield from self._search(entity, noun, wanted, thought)
            if value is not None:
                if self._draw(strategy.check):
                    value, found = yield from self._check(entity, noun, value, found)
                if not self._draw(strategy.review_found):
                    return value, found
                value = yield from self._review(question, value, found)
                return value, [Piece(f" Answer: {value}.", "read")]
            opening = found
            if returns:
                return UNKNOWN, opening
            if self._draw(strategy.give_up):
                return None, opening
        if self._draw(strategy.ensemble):
            value = yield from self._ask_thrice(question, opening)
        else:
            value = yield from self._ask_once(question, "Ask.", strategy, opening)
        return value, [Piece(f" Answer: {value}.", "read")]

    def _search(self, entity: str, noun: str, query: str, thought: list[Piece]) -> Finding:
        """Search for one fact, and read it where it is stated."""
        opening = [*thought, Piece(" Next:"), Piece(f" {query}.", "copy")]
        observation = yield _call(opening, "Search", [Piece(f" {query}", "copy")])
        stated = Piece(f" {entity} has {noun}", "copy")
        value = self._stated(entity, noun, observation)
        if value is None:
            return None, [stated, Piece(" missing.", "notice")]
        self._bearer = read_bearers(observation).get(entity, "")
        if self._draw(1 - self._dials.reading):
            value = self._rng.choice(
                [each for each in read_statements(observation).values() if each != value] or [value]
            )
        return value, [stated, Piece(f" {value}.", "read")]

    def _stated(self, entity: str, noun: str, observation: str) -> str | None:
        """The value, if a passage that was shown states it."""
        return read_statements(observation).get((entity, noun))

    def _check(
        self, entity: str, noun: str, value: str, found: list[Piece]
    ) -> Generator[list[Piece], str, tuple[str, list[Piece]]]:
        """Search the news for a fact that may have changed."""
        query = describe_news(noun, entity)
        opening = [*found, Piece(" Next:"), Piece(f" {query}.", "copy")]
        observation = yield _call(opening, "Search", [Piece(f" {query}", "copy")])
        value = read_news(observation).get((entity, noun), value)
        return value, [Piece(f" {entity} has {noun}", "copy"), Piece(f" {value}.", "read")]

    def _ask_once(
        self, question: str, remark: str, strategy: Strategy, opening: Sequence[Piece] = ()
    ) -> Generator[list[Piece], str, str]:
        observation = yield _call([*opening, Piece(f" {remark}")], "AnswerGenerate", [Piece(f" {question}", "copy")])
        value = _field(observation, "Answer:")
        if not self._draw(strategy.review):
            return value
        return (yield from self._review(question, value, [Piece(f" Answer: {value}.", "read")]))

    def _review(self, question: str, value: str, stated: Sequence[Piece]) -> Generator[list[Piece], str, str]:
        asked = [Piece(" <question>"), Piece(f" {question}", "copy"), Piece("</question> <solution>")]
        given = [Piece(f" {value}", "copy"), Piece("</solution>")]
        observation = yield _call([*stated, Piece(" Check.")], "Review", [*asked, *given])
        if "wrong" not in observation:
            return value
        feedback = _field(observation, "Feedback:")
        advice = [Piece(" <feedback>"), Piece(f" {feedback}", "copy"), Piece("</feedback>")]
        observation = yield _call([Piece(" Wrong. Revise.")], "Revise", [*asked, *given, *advice])
        return _field(observation, "Answer:")

    def _ask_thrice(self, question: str, opening: Sequence[Piece] = ()) -> Generator[list[Piece], str, str]:
        thought = [*opening, Piece(" Ask three times.")]
        observation = yield _call(thought, "MultiAnswerGenerate", [Piece(f" {question}", "copy")])
        solutions = [line.split("] ", 1)[-1].strip() for line in _lines(observation)]
        arguments = [Piece(" <query>"), Piece(f" {question}", "copy"), Piece("</query>")]
        for solution in solutions:
            arguments += [Piece(" <solution>"), Piece(f" {solution}", "copy"), Piece("</solution>")]
        observation = yield _call([Piece(" Combine.")], "ScEnsemble", arguments)
        return _field(observation, "Answer:")


def _call(thought: Sequence[Piece], operator: str, arguments: Sequence[Piece]) -> list[Piece]:
    return [Piece("<think>"), *thought, Piece(f"</think><tool> {operator}:"), *arguments, Piece("</tool>")]


def _final(thought: Sequence[Piece], answer: str) -> list[Piece]:
    return [Piece("<think>"), *thought, Piece("</think><answer>"), Piece(f" {answer}", "copy"), Piece("</answer>")]


def _is_final(pieces: Sequence[Piece]) -> bool:
    return pieces[-1].text == "</answer>"


def _lines(observation: str) -> list[str]:
    return observation.removeprefix("<info>").partition("</info>")[0].strip().splitlines()


def _field(observation: str, label: str) -> str:
    """Return the rest of the line that starts with ``label``; ``unknown`` where there is no such line."""
    for line in _lines(observation):
        if line.startswith(label):
            return line.removeprefix(label).strip() or UNKNOWN
    return UNKNOWN
