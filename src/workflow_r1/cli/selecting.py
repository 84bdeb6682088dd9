"""Arguments by which several commands select stored trajectories."""

from pathlib import Path
from typing import Annotated

import typer

Stored = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="The directory of a run or of an evaluation, or a file of trajectories.", show_default=False
    ),
]
Conditions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Conditions that all hold: outcome=wrong,malformed (right, wrong, no_answer, malformed, out_of_budget, failed); "
        "step=3 or step=3-7; class=two-hop; operator=Search; question=ID or some of its words; text=TEXT anywhere in it; "
        "effect=right_to_wrong (wrong_to_right, no_change) where an operator changed the answer; id=ID; method=NAME and "
        "benchmark=NAME of an evaluation.",
        show_default=False,
    ),
]
