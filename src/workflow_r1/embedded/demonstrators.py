"""Scripted policies of the embedded world: demonstrators for the warm start, and oracles that show what can be reached.

A demonstrator reads the shown texts and never invents a value. Its *reading* is exact; its *strategy* is drawn from a
``Strategy``, so that imitation teaches the skills and leaves a mediocre mixture of strategies for RL to improve.
"""

import random
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from workflow_r1.embedded.expert import UNKNOWN
from workflow_r1.embedded.language import Chain, Comparison, describe, read_question, write_chain
from workflow_r1.embedded.world import EmbeddedWorld
from workflow_r1.rollout.policy import PolicySession, SampledTurn
from workflow_r1.trajectory import FinishReason, Message

Skill = Literal["copy", "read", "notice", "compare"]
"""``copy``: a name into an operator's input. ``read``: a value out of an observation. ``notice``: that the observation
does not state it. ``compare``: which of two years is the earlier one."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """Probabilities of the choices that a demonstrator makes; each is drawn anew whenever it comes up."""

    whole: float = 0.47
    """Ask the whole question at once with ``AnswerGenerate``."""
    whole_ensemble: float = 0.08
    """Ask the whole question three times and combine."""
    optimise: float = 0.03
    """Have the question made clear first, then go hop by hop."""
    search: float = 0.6
    """Hop by hop: ``Search`` for the fact; otherwise ask the expert for it."""
    give_up: float = 0.3
    """Answer ``unknown`` when no passage states the fact."""
    ensemble: float = 0.2
    """Ask three times and combine the answers when asking for one fact; otherwise ask once."""
    review: float = 0.12
    """Have a single answer of the expert reviewed, and revised where it is called wrong."""
    review_found: float = 0.1
    """The same for a value that a passage states: of no use, but a policy that tries it must have seen how."""
    outsource_comparison: float = 0.05
    """Let ``Custom`` compare two years."""


WARM_START = Strategy()
"""The mixture that the shipped policy imitates."""

_ONE_WAY = Strategy(
    whole=0,
    whole_ensemble=0,
    optimise=0,
    search=1,
    give_up=0,
    ensemble=0,
    review=0,
    review_found=0,
    outsource_comparison=0,
)
STRATEGIES: dict[str, Strategy] = {
    "ask the whole question": replace(_ONE_WAY, whole=1),
    "ask the whole question three times": replace(_ONE_WAY, whole_ensemble=1),
    "ask the whole question and review": replace(_ONE_WAY, whole=1, review=1),
    "ask hop by hop": replace(_ONE_WAY, search=0),
    "search, else give up": replace(_ONE_WAY, give_up=1),
    "search, else ask": _ONE_WAY,
    "search, else ask three times": replace(_ONE_WAY, ensemble=1),
    "search, else ask and review": replace(_ONE_WAY, review=1),
    "warm-start mixture": WARM_START,
}
"""Oracle scripts by name; each shows the score that its strategy reaches when its reading is exact."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a turn, and the skill that writing it takes."""

    text: str
    skill: Skill | None = None


Script = Generator[list[Piece], str, None]
"""Yields turns, receives observations."""


class Demonstrator:
    """A ``Policy`` without a model: scripts that act in the embedded world.

    Args:
        world: used only to tell whether a shown passage states a fact.
        strategy: the skills and habits of its scripts.
    """

    def __init__(self, world: EmbeddedWorld, strategy: Strategy = WARM_START) -> None:
        self.world = world
        self.strategy = strategy
        self.last_turns: list[list[Piece]] = []
        """The pieces of the turns of the session that was opened last."""

    @property
    def name(self) -> str:
        """Name for records."""
        return "demonstrator"

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[PolicySession]:
        """Open a session, as :class:`~workflow_r1.rollout.policy.Policy` says."""
        session = DemonstratorSession(self.world, self.strategy, random.Random(f"demonstrator {seed}"))
        self.last_turns = session.turns
        yield session


class DemonstratorSession:
    """One script at work; ``turns`` keeps the pieces of every turn for the measurement of skills."""

    def __init__(self, world: EmbeddedWorld, strategy: Strategy, rng: random.Random) -> None:
        self._world = world
        self._strategy = strategy
        self._rng = rng
        self._script: Script | None = None
        self._observation = ""
        self.turns: list[list[Piece]] = []

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Take the prompt, then observations."""
        self._observation = messages[-1].content
        return ()

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Return the script's next turn."""
        if self._script is None:
            question = self._observation.split("Question:", 1)[-1].strip()
            self._script = self._answer(question)
            pieces = next(self._script)
        else:
            pieces = self._script.send(self._observation)
        self.turns.append(pieces)
        text = "".join(piece.text for piece in pieces)
        return SampledTurn(text=text, token_ids=(), logprobs=(), finish_reason=FinishReason.STOP)

    def _draw(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability

    def _answer(self, text: str) -> Script:
        strategy = self._strategy
        query = read_question(text)
        first = self._rng.random()
        if query is None or first < strategy.whole:
            value = yield from self._ask_once(text, "Ask the whole question.")
            yield _final([Piece(f" Answer: {value}. Done.", "read")], value)
        elif first < strategy.whole + strategy.whole_ensemble:
            value = yield from self._ask_thrice(text, "Ask three times.")
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
        at = chain.entity
        for noun in chain.relations:
            value, thought = yield from self._find(at, noun, thought)
            if value is None:
                yield _final([*thought, Piece(" Give up.")], UNKNOWN)
                return
            at = value
        yield _final([*thought, Piece(" Done.")], at)

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

    def _find(
        self, entity: str, noun: str, thought: list[Piece]
    ) -> Generator[list[Piece], str, tuple[str | None, list[Piece]]]:
        """Find one fact. Returns its value and the thought that states it, to open the next turn with."""
        question = write_chain(Chain(entity, (noun,)))
        wanted = describe(noun, entity)
        opening = [*thought, Piece(" Next:"), Piece(f" {wanted}.", "copy")]
        if self._draw(self._strategy.search):
            observation = yield _call(opening, "Search", [Piece(f" {wanted}", "copy")])
            value = self._stated(entity, noun, observation)
            stated = Piece(f" {entity} has {noun}", "copy")
            if value is not None:
                found = [stated, Piece(f" {value}.", "read")]
                if not self._draw(self._strategy.review_found):
                    return value, found
                value = yield from self._review(question, value, found)
                return value, [Piece(f" Answer: {value}.", "read")]
            opening = [stated, Piece(" missing.", "notice")]
            if self._draw(self._strategy.give_up):
                return None, opening
        if self._draw(self._strategy.ensemble):
            value = yield from self._ask_thrice(question, "Ask three times.", opening)
        else:
            value = yield from self._ask_once(question, "Ask.", opening)
        return value, [Piece(f" Answer: {value}.", "read")]

    def _ask_once(self, question: str, remark: str, opening: Sequence[Piece] = ()) -> Generator[list[Piece], str, str]:
        observation = yield _call([*opening, Piece(f" {remark}")], "AnswerGenerate", [Piece(f" {question}", "copy")])
        value = _field(observation, "Answer:")
        if not self._draw(self._strategy.review):
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

    def _ask_thrice(
        self, question: str, remark: str, opening: Sequence[Piece] = ()
    ) -> Generator[list[Piece], str, str]:
        thought = [*opening, Piece(f" {remark}")]
        observation = yield _call(thought, "MultiAnswerGenerate", [Piece(f" {question}", "copy")])
        solutions = [line.split("] ", 1)[-1].strip() for line in _lines(observation)]
        arguments = [Piece(" <query>"), Piece(f" {question}", "copy"), Piece("</query>")]
        for solution in solutions:
            arguments += [Piece(" <solution>"), Piece(f" {solution}", "copy"), Piece("</solution>")]
        observation = yield _call([Piece(" Combine.")], "ScEnsemble", arguments)
        return _field(observation, "Answer:")

    def _stated(self, entity: str, noun: str, observation: str) -> str | None:
        """The value, if a passage of the entity was shown and states it."""
        known = self._world.entities.get(entity)
        if known is None or noun not in known.facts or noun in known.missing or f"] {entity}:" not in observation:
            return None
        return known.facts[noun]


def _call(thought: Sequence[Piece], operator: str, arguments: Sequence[Piece]) -> list[Piece]:
    return [Piece("<think>"), *thought, Piece(f"</think><tool> {operator}:"), *arguments, Piece("</tool>")]


def _final(thought: Sequence[Piece], answer: str) -> list[Piece]:
    return [Piece("<think>"), *thought, Piece("</think><answer>"), Piece(f" {answer}", "copy"), Piece("</answer>")]


def _lines(observation: str) -> list[str]:
    return observation.removeprefix("<info>").removesuffix("</info>").strip().splitlines()


def _field(observation: str, label: str) -> str:
    """Return the rest of the line that starts with ``label``; ``unknown`` where there is no such line."""
    for line in _lines(observation):
        if line.startswith(label):
            return line.removeprefix(label).strip() or UNKNOWN
    return UNKNOWN
