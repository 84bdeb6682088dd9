"""``workflow-r1 rescore``."""

from pathlib import Path
from typing import Annotated

import typer

from workflow_r1.cli.parameters import Trust

SHOWN = {
    "reward": "rollout/reward",
    "exact match": "rollout/exact_match",
    "success": "rollout/success",
    "groups": "rollout/num_groups",
    "groups without signal": "rollout/num_groups_without_signal",
}
"""Metrics of a step that are shown, by their names in the table."""


def rescore(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a training run.", show_default=False)],
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--override", "-o", metavar="KEY=VALUE", help="The new reward, e.g. -o reward=f1. Repeatable; keys of the section reward."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The new directory; must not exist yet. Default: runs/NAME-rescored-TIME.", show_default=False),
    ] = None,
    trust: Trust = False,
) -> None:  # fmt: skip
    """Score the stored trajectories of a run with another reward, without sampling again.

    The run stays as it is. The new directory has its trajectories with their new rewards, and metrics.jsonl; `workflow-r1 report`
    and `watch` read it as a run.
    """
    from workflow_r1.cli.tables import print_table
    from workflow_r1.running.rescoring import rescore_run
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    with console.status("scoring") as status:
        done = rescore_run(directory, override or (), output=output, trust=trust, notify=status.update)
    names = dict.fromkeys(key for step in done.steps for key in step.after if key.startswith("rollout/part/"))
    rows = []
    for name, key in {**SHOWN, **{f"part {key.rpartition('/')[2]}": key for key in names}}.items():
        before, after = done.mean(key, before=True), done.mean(key, before=False)
        if (before, after) != (None, None):
            rows.append([name, *("-" if value is None else f"{value:.4g}" for value in (before, after))])
    print_table(console, f"mean over {len(done.steps)} steps", ["", "stored reward", "new reward"], rows)
    console.print(f"trajectories and metrics in {done.directory}", style="dim", soft_wrap=True, markup=False)
