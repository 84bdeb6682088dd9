"""Makes a method of a workflow that is written down as a function, and the same method with search."""

import random
from collections.abc import Callable, Iterable

from workflow_r1.config.methods import MethodsConfig
from workflow_r1.methods.method import SEARCH, WITH_SEARCH, Method
from workflow_r1.methods.passages import put_before, show_passages
from workflow_r1.methods.workflow import FixedWorkflow, Workflow
from workflow_r1.operators import OPERATORS, Operator

StartWorkflow = Callable[[str, random.Random], Workflow]
"""Makes the workflow from the question's text and a source of random numbers."""


def fixed_method(
    name: str,
    summary: str,
    make: Callable[[MethodsConfig], StartWorkflow],
    operators: Iterable[Operator | str],
) -> Method:
    """Make a method of a workflow.

    Args:
        name: name of the method.
        summary: its work, in one line.
        make: returns, for the settings, the function that starts the workflow on a question.
        operators: operators that it calls; those of the package's pool by name.
    """
    pool = [OPERATORS[each] if isinstance(each, str) else each for each in operators]
    return Method(
        name,
        summary,
        lambda context: FixedWorkflow(name, make(context.settings)),
        operators={operator.name: operator for operator in pool},
    )


def fixed_methods(
    name: str,
    summary: str,
    make: Callable[[MethodsConfig], StartWorkflow],
    operators: Iterable[Operator | str],
) -> tuple[Method, Method]:
    """Make a method, and the same with the passages that a search finds before the question. See :func:`fixed_method`."""
    operators = tuple(operators)
    return (
        fixed_method(name, summary, make, operators),
        fixed_method(
            name + WITH_SEARCH,
            f"{summary}, with the passages found for the question before it",
            lambda settings: search_first(make(settings)),
            (*operators, SEARCH),
        ),
    )


def search_first(start: StartWorkflow) -> StartWorkflow:
    """Let a workflow find the passages on its question before it begins."""

    def start_with_passages(question: str, rng: random.Random) -> Workflow:
        (observation,) = yield [f"{SEARCH}: {question}"]
        return (yield from start(put_before(question, show_passages(observation)), rng))

    return start_with_passages
