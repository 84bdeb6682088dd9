"""A workflow that a policy took again and again, as a static graph.

The trajectories share one sequence of operators. What an argument was made of is traced in each of them, and becomes a template:

| the policy wrote | the graph has |
|---|---|
| the question, or the whole result of a call | a reference to it |
| the same words in every trajectory | these words |
| a search query of its own | the result of a call of ``Custom`` that writes the next query from the question and what was found |
| any other text of its own | the question, with what was found before it |
| an answer that it read out of passages, or concluded | the result of a call of ``AnswerGenerate`` that reads them |

So an LLM does the reading that the policy did by itself, every time in the same place. A call whose result nothing uses, such as a
review that only confirmed, is left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from workflow_r1.errors import DataError
from workflow_r1.methods.expert_workflow import NEXT_QUERY
from workflow_r1.methods.graphs.checking import check_graph
from workflow_r1.methods.graphs.graph import MAX_NODES, Node, WorkflowGraph
from workflow_r1.methods.graphs.templates import QUESTION, references
from workflow_r1.methods.method import SEARCH
from workflow_r1.methods.passages import PASSAGES, put_before
from workflow_r1.operators import Argument, Operator
from workflow_r1.operators.results import SEVERAL_ANSWERS
from workflow_r1.trajectory import Trajectory
from workflow_r1.workflows.flow import TracedValue, trace_values

READER, WRITER = "AnswerGenerate", "Custom"
"""Operators that read an answer, and write a query, in the policy's place."""

Calls = list[list[TracedValue]]
"""The values of each call of one trajectory; then those of the answer."""


def generalise(
    trajectories: Sequence[Trajectory], operators: Mapping[str, Operator], *, description: str = ""
) -> WorkflowGraph:
    """Return the static graph of trajectories that called the same operators in the same order.

    Args:
        trajectories: at least one; calls that ran nothing are overlooked, and so are trajectories without an answer.
        operators: the operators that they called, and the two that read and write in the policy's place.
        description: description of the graph.

    Raises:
        DataError: no trajectory has an answer, one calls nothing or an operator that is not known here, or the sequence
            is longer than a graph may be.
    """
    answered = [trajectory for trajectory in trajectories if trajectory.answer is not None]
    if not answered:
        raise DataError("expected trajectories with an answer to make a graph of, found none")
    names = sequence_of(answered[0])
    if not names:
        raise DataError(
            "expected a workflow that calls an operator, found one that answers at once: a graph has nothing to run"
        )
    unknown = [name for name in (*names, READER, WRITER) if name not in operators]
    if unknown:
        raise DataError(
            f"expected operators among {', '.join(operators)}, found {unknown[0]}: a graph of a plug-in's operator is written by hand"
        )
    all_calls = [_calls_of(trajectory) for trajectory in answered]
    if any(len(calls) != len(names) + 1 for calls in all_calls):
        raise DataError(f"expected trajectories that all call {' > '.join(names)}, found others among them")
    builder = _Builder([operators[name] for name in names], all_calls)
    nodes, output = builder.build()
    nodes = _without_unused(nodes, output)
    if len(nodes) > MAX_NODES:
        raise DataError(f"expected a workflow of at most {MAX_NODES} nodes, found one of {len(nodes)}")
    graph = WorkflowGraph(description=description, nodes=tuple(nodes), output=output)
    problems = check_graph(graph, operators)
    if problems:
        raise DataError("; ".join(problems))
    return graph


def sequence_of(trajectory: Trajectory) -> tuple[str, ...]:
    """Return the operators of a trajectory's valid calls in order."""
    return tuple(call.operator for turn in trajectory.turns for call in turn.calls if call.valid)


def _calls_of(trajectory: Trajectory) -> Calls:
    by_node: dict[str, list[TracedValue]] = {}
    for value in trace_values(trajectory):
        by_node.setdefault(value.node, []).append(value)
    return list(by_node.values())


class _Builder:
    def __init__(self, operators: Sequence[Operator], all_calls: Sequence[Calls]) -> None:
        self._operators = operators
        self._all_calls = all_calls
        # Ids of calls differ between trajectories, their places do not.
        self._places = [
            {QUESTION: QUESTION} | {values[0].node: f"call_{at}" for at, values in enumerate(calls, start=1)}
            for calls in all_calls
        ]
        self._nodes: list[Node] = []

    def build(self) -> tuple[list[Node], str]:
        for at, operator in enumerate(self._operators):
            arguments = {
                argument.name: template
                for argument in operator.arguments
                if (template := self._template(at, operator, argument)) is not None
            }
            self._nodes.append(Node(name=f"call_{at + 1}", operator=operator.name, arguments=arguments))
        values = [calls[-1] for calls in self._all_calls]
        copied = self._copied(values)
        if copied is not None and copied != (QUESTION,):
            return self._nodes, f"{{{copied[0]}}}"
        asked = self._informed(self._origins(values))
        self._nodes.append(Node(name="answer", operator=READER, arguments={"question": asked}))
        return self._nodes, "{answer}"

    def _template(self, at: int, operator: Operator, argument: Argument) -> str | tuple[str, ...] | None:
        alone = len(operator.arguments) == 1
        values = [
            [value for value in calls[at] if value.argument == argument.name or (alone and not value.argument)]
            for calls in self._all_calls
        ]
        if sum(bool(each) for each in values) * 2 < len(values):
            return None  # An argument that most trajectories leave out.
        copied = self._copied(values)
        if argument.is_list:
            return self._list(copied, values)
        if copied is not None:
            return f"{{{copied[0]}}}"
        texts = Counter(value.text for each in values for value in each)
        text, number = texts.most_common(1)[0]
        origins = self._origins(values)
        if number == len(values) and (len(values) > 1 or not origins):
            return text.replace("{", "{{").replace("}", "}}")
        if operator.name == SEARCH:
            name = f"query_{at + 1}"
            arguments: dict[str, str | tuple[str, ...]] = {"task": self._informed(origins), "instruction": NEXT_QUERY}
            self._nodes.append(Node(name=name, operator=WRITER, arguments=arguments))
            return f"{{{name}}}"
        return self._informed(origins)

    def _list(self, copied: tuple[str, ...] | None, values: Sequence[Sequence[TracedValue]]) -> tuple[str, ...]:
        """Return the values of a list: all answers of one call, or the results of several; else those of all earlier calls."""
        sources = copied or tuple(origin for origin in self._origins(values) if origin != QUESTION)
        several = [source for source in sources if self._operator_of(source) == SEVERAL_ANSWERS]
        references = [
            f"{{{source}.answers}}" if source in several else f"{{{source}}}" for source in dict.fromkeys(sources)
        ]
        if several or len(references) > 1:
            return tuple(references)
        if not references:
            raise DataError("expected solutions that come from earlier calls, found solutions of the policy's own")
        return references[0], references[0]

    def _copied(self, values: Sequence[Sequence[TracedValue]]) -> tuple[str, ...] | None:
        """Return the places that the values are copies of, where they are in most trajectories, the same ones."""
        found: Counter[tuple[str, ...]] = Counter()
        for places, each in zip(self._places, values, strict=True):
            copied = [places.get(value.copied or "") for value in each]
            if copied and None not in copied:
                found[tuple(dict.fromkeys(place for place in copied if place))] += 1
        sources, number = found.most_common(1)[0] if found else ((), 0)
        return sources if number * 2 > len(values) else None

    def _origins(self, values: Sequence[Sequence[TracedValue]]) -> list[str]:
        """Return the places that gave words in at least half of the trajectories, in order."""
        found: Counter[str] = Counter()
        for places, each in zip(self._places, values, strict=True):
            found.update({places[origin] for value in each for origin in value.origins if origin in places})
        return sorted((place for place, number in found.items() if number * 2 >= len(values)), key=_number)

    def _informed(self, origins: Sequence[str]) -> str:
        """Return the template of the question with what its origins found before it, and what those were made of."""
        known = {place for place in origins if place != QUESTION}
        for at in range(len(self._operators), 0, -1):
            if f"call_{at}" in known:
                made_of = self._origins([calls[at - 1] for calls in self._all_calls])
                known |= {place for place in made_of if place != QUESTION}
        places = sorted(known, key=_number)
        passages = "\n".join(f"{{{place}.text}}" for place in places if self._operator_of(place) == SEARCH)
        others = "\n".join(f"{{{place}.text}}" for place in places if self._operator_of(place) != SEARCH)
        blocks = [f"{PASSAGES}\n{passages}" if passages else "", f"Found so far:\n{others}" if others else ""]
        return put_before(f"{{{QUESTION}}}", *blocks)

    def _operator_of(self, place: str) -> str:
        return "" if place == QUESTION else self._operators[_number(place) - 1].name


def _number(place: str) -> int:
    return 0 if place == QUESTION else int(place.rpartition("_")[2])


def _without_unused(nodes: Sequence[Node], output: str) -> list[Node]:
    """Leave out nodes whose result nothing uses, and then those that only they used."""
    kept = list(nodes)
    while True:
        used = {each.name for each in references(output)}
        used |= {name for node in kept for name in node.needs}
        if all(node.name in used for node in kept):
            return kept
        kept = [node for node in kept if node.name in used]
