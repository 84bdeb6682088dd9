"""Arguments that several commands share: one name and one meaning each."""

from pathlib import Path
from typing import Annotated

import typer

CONFIG_HELP = (
    "A TOML file, the name of a preset (embedded, embedded-hard, smollm2-hotpotqa, smollm2-real, paper), or a run directory: its "
    "configuration and its trained policy. Without it: the embedded quickstart."
)

Source = Annotated[str | None, typer.Argument(metavar="CONFIG", help=CONFIG_HELP, show_default=False)]
OldConfigOption = Annotated[str | None, typer.Option("--config", "-c", hidden=True)]
"""Earlier option for CONFIG, which now comes first; still read."""
Overrides = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", metavar="KEY=VALUE", help="Set one key, e.g. -o training.steps=5. Repeatable."),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        "-m",
        metavar="NAME",
        help="Method that answers: policy, or a fixed workflow such as direct, cot or ensemble: docs/reference/methods.md.",
    ),
]
PolicyTemperature = Annotated[
    float, typer.Option(min=0.0, metavar="NUMBER", help="Sampling temperature of the policy; 0 is greedy.")
]
Questions = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Questions in place of the configuration's held-out ones.", show_default=False),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Trust the run directory, which somebody else may have made, to run the code and ask the services that its "
        "configuration names; remembered. See docs/explanation/security.md.",
    ),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
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
Host = Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is every one of this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen at; 0 takes a free one.")]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Environment variable with the key that clients must send; without it the server asks for no key.",
        show_default=False,
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="Name besides this machine's own under which clients reach the server, e.g. a proxy's. Repeatable.",
        show_default=False,
    ),
]
