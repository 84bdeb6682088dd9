"""Options by which several commands select stored trajectories."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.errors import UserError

if TYPE_CHECKING:
    from workflow_r1.workflows.selection import Selection

Stored = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="The directory of a run or of an evaluation, or a file of trajectories.", show_default=False
    ),
]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="ID", help="Only the trajectory of this id. Repeatable.", show_default=False),
]
Outcomes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OUTCOME",
        help="Only right, wrong, no_answer, malformed, out_of_budget or failed ones. Repeatable.",
        show_default=False,
    ),
]
Steps = Annotated[
    str | None,
    typer.Option(metavar="N[-M]", help="Only those of a step of training, or of steps N to M.", show_default=False),
]
QuestionClass = Annotated[
    str | None,
    typer.Option(
        "--class", metavar="NAME", help="Only those of a class of questions, e.g. two-hop.", show_default=False
    ),
]
Operator = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Only those that called an operator; (invalid) for a call that ran none.",
        show_default=False,
    ),
]
QuestionText = Annotated[
    str | None,
    typer.Option(
        "--question",
        metavar="TEXT",
        help="Only those of a question, by its id or some of its words.",
        show_default=False,
    ),
]
Text = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Only those in which a text stands: in the question, a turn or an observation.",
        show_default=False,
    ),
]
Effect = Annotated[
    str | None,
    typer.Option(
        metavar="EFFECT",
        help="Only those in which an operator changed the answer: right_to_wrong, wrong_to_right or no_change.",
        show_default=False,
    ),
]
OfMethod = Annotated[
    str | None,
    typer.Option("--method", "-m", metavar="NAME", help="Only a method of an evaluation.", show_default=False),
]
Benchmark = Annotated[
    str | None,
    typer.Option("--benchmark", "-b", metavar="NAME", help="Only a benchmark of an evaluation.", show_default=False),
]


def read_selection(
    *,
    ids: list[str] | None = None,
    outcome: list[str] | None = None,
    step: str | None = None,
    question_class: str | None = None,
    operator: str | None = None,
    question: str | None = None,
    text: str | None = None,
    effect: str | None = None,
) -> "Selection":
    """Read the options.

    Raises:
        UserError: an outcome, an effect or a step is not one.
    """
    from workflow_r1.trajectory.outcome import Outcome
    from workflow_r1.workflows.effects import EffectKind
    from workflow_r1.workflows.selection import Selection

    for given, known, name in ((outcome or [], Outcome, "outcome"), ([effect] if effect else [], EffectKind, "effect")):
        for each in given:
            if each not in set(known):
                raise UserError(f"--{name}: expected one of {', '.join(known)}, received {each!r}")
    return Selection(
        ids=frozenset(ids) if ids else None,
        outcomes=frozenset(map(Outcome, outcome)) if outcome else None,
        steps=None if step is None else _read_steps(step),
        question_class=question_class,
        operator=operator,
        question=question,
        text=text,
        effect=None if effect is None else EffectKind(effect),
    )


def _read_steps(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        steps = int(first), int(last if dash else first)
    except ValueError:
        steps = 1, 0
    if steps[0] > steps[1]:
        raise UserError(f"--step: expected a number such as 3, or a range such as 3-7, received {text!r}")
    return steps
