"""The flow of data through a stored trajectory: what each operator call, and the answer, was made of.

A trajectory records texts, not where the policy took them from; that is traced by their words. Values are the arguments of
a call (its tags apart) and the answer. Each value is traced so:

1. A value that is, word for word, the result of an earlier call comes from the latest such call; articles around it aside.
2. Any other value is taken apart into the longest runs of words that stand in a source. A run that is a whole result
   comes from the latest such call; one that stands in the question, from the question; any other, from the latest
   observation before the policy first wrote it itself. An observation counts where the run names something (a capital or a
   digit in it) or is long: single common words stand everywhere.
3. Names that no source holds are the policy's own. They come from the first thought that has them.
4. An answer that no observation holds, such as one of two names of the question or a *yes*, is concluded by the thought before
   it, and so is a call that nothing else feeds: the thought becomes a node, and is traced as a value is.

A node that no data reach hangs on the node before it by an edge of order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from workflow_r1.operators.results import read_result
from workflow_r1.prompts import ParsedTurn, parse_turn
from workflow_r1.trajectory import OperatorCall, StopReason, Trajectory
from workflow_r1.trajectory.outcome import outcome_of
from workflow_r1.workflows.values import read_values
from workflow_r1.workflows.words import Words, is_unspaced

QUESTION = "question"
"""Id of the question's node."""

ANSWER = "answer"
"""Id of the answer's node."""

MAX_TEXT = 120
"""Longest text of an edge."""

LONG_RUN = 3
"""Words that a run has at least, beside those that carry nothing, where it names nothing."""

NodeKind = Literal["question", "thought", "call", "answer", "malformed"]
"""Kind of a node."""


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A thing that data flow from or to."""

    id: str
    """Unique in the flow: ``question``, ``thought-2``, ``call-2-1`` (turn, number in the turn), ``malformed-3``, ``answer``."""
    kind: NodeKind
    """Kind of the node."""
    turn: int | None
    """Index of the turn, from 1; None for the question."""
    label: str
    """Name of the operator as the policy wrote it, or ``Question``, ``Thought``, ``Answer``, ``Malformed turn``."""
    state: str
    """``valid`` or ``invalid`` for a call, ``unanswered`` where it has no observation; the outcome for the answer, empty
    where nothing says whether it is right; empty for others."""


@dataclass(frozen=True, slots=True)
class FlowEdge:
    """A way that data took, or the mere order of two nodes."""

    source: str
    """Id of the node that it leaves."""
    target: str
    """Id of the node that it reaches."""
    kind: Literal["data", "order"]
    """``order`` only where no data reach the target."""
    text: str
    """The words by which it was traced, cut to :data:`MAX_TEXT` characters; empty for an edge of order."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A trajectory as a graph. It has no cycle: edges lead from earlier to later."""

    nodes: tuple[FlowNode, ...]
    """Nodes in the order of the trajectory, the question first."""
    edges: tuple[FlowEdge, ...]
    """Edges by their targets, in the same order; at most one between two nodes."""


def trace_flow(trajectory: Trajectory) -> Flow:
    """Trace the flow of data through a trajectory. It takes a few milliseconds, and never raises for one that was read."""
    return _Tracer(trajectory).trace()


@dataclass(frozen=True, slots=True)
class _Source:
    """A call whose observation may be used."""

    id: str
    turn: int
    observation: Words
    results: frozenset[str]


_Origins = dict[str, list[str]]
"""Texts by the ids of the nodes that they come from."""


class _Tracer:
    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self._turns = [parse_turn(turn.text) for turn in trajectory.turns]
        self._question = Words(_question_text(trajectory))
        self._thoughts = [
            Words(_thought_of(turn, text=trajectory.turns[at].text)) for at, turn in enumerate(self._turns)
        ]
        self._written = [
            Words(f"{thought.text}\n{' '.join(call.input for call in turn.calls)}")
            for thought, turn in zip(self._thoughts, self._turns, strict=True)
        ]
        self._sources: list[_Source] = []
        self._nodes = [FlowNode(QUESTION, "question", None, "Question", "")]
        self._edges: list[FlowEdge] = []

    def trace(self) -> Flow:
        before = QUESTION
        for at, parsed in enumerate(self._turns):
            turn = self._trajectory.turns[at]
            is_last = at == len(self._turns) - 1
            nodes = list(_nodes_of(turn.index, parsed, turn.calls))
            for node, call in nodes:
                self._join(node, self._origins(_values(call), at), at, before)
            if is_last and self._trajectory.answer is not None:
                self._join(self._answer_node(turn.index), self._answer_origins(at), at, before)
            for node, call in nodes:
                if isinstance(call, OperatorCall) and call.valid:
                    self._sources.append(_Source(node.id, at, Words(call.observation), frozenset(_results(call))))
            before = nodes[-1][0].id if nodes else before
        return Flow(tuple(self._nodes), tuple(self._edges))

    def _answer_node(self, turn: int) -> FlowNode:
        outcome = outcome_of(self._trajectory)
        return FlowNode(ANSWER, "answer", turn, "Answer", "" if outcome is None else outcome.value)

    def _join(self, node: FlowNode, origins: _Origins, at: int, before: str) -> None:
        """Add a node with the edges that reach it, and the thought among them where it is the first to be used."""
        known = {each.id for each in self._nodes}
        for number in range(len(self._turns)):
            id = _thought_id(self._trajectory.turns[number].index)
            if id in origins and id not in known:
                thought = FlowNode(id, "thought", self._trajectory.turns[number].index, "Thought", "")
                own = self._origins([self._thoughts[number]], number, is_thought=True)
                self._join(thought, own, number, self._before(number))
        self._nodes.append(node)
        self._edges += (FlowEdge(source, node.id, "data", _shorten(texts)) for source, texts in origins.items())
        if not origins:
            self._edges.append(FlowEdge(before, node.id, "order", ""))

    def _before(self, at: int) -> str:
        """Return the id of the last node of the turns before."""
        index = self._trajectory.turns[at].index
        earlier = [node.id for node in self._nodes if node.kind in ("call", "malformed") and (node.turn or 0) < index]
        return earlier[-1] if earlier else QUESTION

    def _answer_origins(self, at: int) -> _Origins:
        value = Words(self._trajectory.answer or "")
        origins = self._origins([value], at)
        if origins.keys() - {QUESTION}:
            return origins
        return self._by_thought(at, value.text) or origins

    def _origins(self, values: Sequence[Words], at: int, *, is_thought: bool = False) -> _Origins:
        """Trace values of a turn. Sources keep the order in which they were found."""
        found: _Origins = {}
        for value in values:
            whole = None if is_thought else self._result(value.core, at)
            if whole is not None:
                found.setdefault(whole, []).append(value.text.strip())
                continue
            for origin, text in self._runs(value, at, is_thought=is_thought):
                texts = found.setdefault(origin, [])
                if text not in texts:
                    texts.append(text)
        if not found and not is_thought and any(len(value) for value in values):
            return self._by_thought(at, " ".join(value.text.strip() for value in values))
        return found

    def _by_thought(self, at: int, text: str) -> _Origins:
        return {_thought_id(self._trajectory.turns[at].index): [text]} if len(self._thoughts[at]) else {}

    def _runs(self, value: Words, at: int, *, is_thought: bool) -> Iterator[tuple[str, str]]:
        """Take a value apart into the longest runs that have a source; yield the source of each and its text."""
        start = 0
        while start < len(value):
            if value.words[start].is_empty:
                start += 1
                continue
            end, origin = self._longest(value, start, at)
            if origin is None and not is_thought:
                end, origin = self._longest_own(value, start, at)
            if origin is not None:
                yield origin, value.shown(start, end)
            start = end

    def _longest(self, value: Words, start: int, at: int) -> tuple[int, str | None]:
        """Return the end of the longest run with a source, and the source; the next word where there is no such run."""
        end, texts = start, [self._question, *(source.observation for source in self._sources)]
        while end < len(value) and (texts := [text for text in texts if text.holds(value.run(start, end + 1))]):
            end += 1
        while end > start:
            if not value.words[end - 1].is_empty:
                origin = self._origin(value, start, end, at)
                if origin is not None:
                    return end, origin
            end -= 1
        return start + 1, None

    def _origin(self, value: Words, start: int, end: int, at: int) -> str | None:
        """Return the source of one run; None where no source is likely to have given it."""
        run = value.run(start, end)
        is_whole = end - start == len(value)
        given = self._result(run, at)
        if given is not None and (is_whole or self._names_something(value, start, end)):
            return given
        if self._question.holds(run):
            return QUESTION
        first_use = next((turn for turn, text in enumerate(self._written[: at + 1]) if text.holds(run)), at)
        for source in reversed(self._sources):
            if (
                source.turn < first_use
                and source.observation.holds(run)
                and (is_whole or self._names_something(value, start, end, source.observation))
            ):
                return source.id
        return None

    def _longest_own(self, value: Words, start: int, at: int) -> tuple[int, str | None]:
        """Return the end of the longest run without a source that names something and that a thought has brought in."""
        for turn, thought in enumerate(self._thoughts[: at + 1]):
            end = start
            while (
                end < len(value) and thought.holds(value.run(start, end + 1)) and not self._has_source(value, end, at)
            ):
                end += 1
            while end > start and value.words[end - 1].is_empty:
                end -= 1
            if end > start and self._names_something(value, start, end, thought):
                return end, _thought_id(self._trajectory.turns[turn].index)
        return start + 1, None

    def _has_source(self, value: Words, start: int, at: int) -> bool:
        return not value.words[start].is_empty and self._longest(value, start, at)[1] is not None

    def _result(self, run: str, at: int) -> str | None:
        """Return the latest earlier call with this result."""
        return next((each.id for each in reversed(self._sources) if each.turn < at and run in each.results), None)

    def _names_something(self, value: Words, start: int, end: int, source: Words | None = None) -> bool:
        words = [word for word in value.words[start:end] if not word.is_empty]
        if len(words) >= LONG_RUN or (len(words) >= 2 and is_unspaced(value.run(start, end))):
            return True
        named = frozenset[str]() if source is None else source.names
        return any(word.is_name or word.folded in named for word in words)


def _question_text(trajectory: Trajectory) -> str:
    """Return what was asked: for a task that opens an episode, its first message holds more than the instance's text."""
    opened = trajectory.ending is not None or trajectory.stop_reason is StopReason.DONE
    return trajectory.prompt[-1].content if opened and trajectory.prompt else trajectory.question.text


def _thought_of(parsed: ParsedTurn, *, text: str) -> str:
    return text if parsed.malformed else parsed.think or ""


def _thought_id(turn: int) -> str:
    return f"thought-{turn}"


def _nodes_of(
    turn: int, parsed: ParsedTurn, calls: Sequence[OperatorCall]
) -> Iterator[tuple[FlowNode, OperatorCall | str]]:
    """Yield the nodes of a turn but for its answer, with the call or the policy's text."""
    for number, call in enumerate(calls, start=1):
        yield (
            FlowNode(f"call-{turn}-{number}", "call", turn, call.operator, "valid" if call.valid else "invalid"),
            call,
        )
    if calls:
        return
    if parsed.malformed:
        yield FlowNode(f"malformed-{turn}", "malformed", turn, "Malformed turn", ""), ""
    for number, made in enumerate(parsed.calls, start=1):
        # The infrastructure or the budget ended the trajectory before an observation came.
        yield FlowNode(f"call-{turn}-{number}", "call", turn, made.operator, "unanswered"), made.input


def _values(call: OperatorCall | str) -> list[Words]:
    return [Words(value) for _, value in read_values(call if isinstance(call, str) else call.input)]


def _results(call: OperatorCall) -> Iterator[str]:
    result = read_result(call.operator, call.observation)
    for text in result.answers or (result.result,):
        if words := Words(text).core:
            yield words


def _shorten(texts: Sequence[str]) -> str:
    text = ", ".join(" ".join(each.split()) for each in dict.fromkeys(texts))
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
