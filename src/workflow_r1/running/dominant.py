"""The dominant workflow of a policy: the sequence of operators that it took most often, as a static graph."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflow_r1.methods.graphs import WorkflowGraph, generalise
from workflow_r1.operators import OPERATORS, Operator
from workflow_r1.running.stored import Selected
from workflow_r1.trajectory.index import IndexRow
from workflow_r1.trajectory.outcome import INVALID, Outcome

MAX_TRACED = 200
"""Trajectories of the sequence that are traced: the first of them."""


@dataclass(frozen=True, slots=True)
class DominantWorkflow:
    """The sequence of operators that was taken most often, and its graph."""

    sequence: tuple[str, ...]
    """Operators in the order of their calls."""
    num: int
    """Trajectories that took it."""
    num_trajectories: int
    """Trajectories in all, failures of the infrastructure left out."""
    graph: WorkflowGraph
    """The static graph."""
    operators: Mapping[str, Operator]
    """The operators that it was checked against."""


def dominant_workflow(selected: Sequence[Selected]) -> DominantWorkflow:
    """Make the graph of the sequence that the selected trajectories took most often; calls that ran nothing are overlooked.

    Raises:
        DataError: the sequence makes no graph: it calls nothing or a plug-in's operator, or none of its trajectories has an answer.
    """
    rows = [(each, row) for each in selected for row in each.rows if row.outcome is not Outcome.FAILED]
    counts = Counter(_sequence(row) for _, row in rows)
    sequence, num = counts.most_common(1)[0] if counts else ((), 0)
    taken = [each.file.index.read(row) for each, row in rows if _sequence(row) == sequence and row.answer is not None][
        :MAX_TRACED
    ]
    shown = " > ".join(sequence)
    description = f"{shown}: taken in {num} of {len(rows)} trajectories."
    return DominantWorkflow(sequence, num, len(rows), generalise(taken, OPERATORS, description=description), OPERATORS)


def _sequence(row: IndexRow) -> tuple[str, ...]:
    return tuple(operator for operator in row.operators if operator != INVALID)
