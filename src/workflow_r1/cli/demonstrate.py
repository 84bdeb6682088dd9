"""``workflow-r1 demonstrate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Overrides, Source, Trust

if TYPE_CHECKING:
    from workflow_r1.running.demonstrations import Demonstrations


def demonstrate(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="JSONL of trajectories; must not exist yet.")
    ] = Path("demonstrations.jsonl"),
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Keep the right trajectories of a policy from this file (rejection sampling), in place of a script's. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Questions with supporting_titles, in place of the configuration's training questions.",
            show_default=False,
        ),
    ] = None,
    untitled: Annotated[
        bool,
        typer.Option(
            "--untitled",
            help="Demonstrate questions without supporting_titles too, by a passage that holds most of the question's words.",
        ),
    ] = False,
    num: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep at most N trajectories.", show_default=False)
    ] = None,
    per_question: Annotated[int, typer.Option(min=1, metavar="N", help="Keep at most N of each question.")] = 1,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed. Default: the configuration's.", show_default=False)
    ] = None,
) -> None:
    """Write right, well-formed trajectories for a warm start: by gold titles with real searches, or a policy's own.

    The script searches hop by hop, quotes the words around the answer from a passage that Search returned, and answers
    with them. It never writes a value that was not shown.
    """
    from workflow_r1.running.configuration import open_config
    from workflow_r1.running.demonstrations import demonstrate as carry_out
    from workflow_r1.running.demonstrations import describe_dropped
    from workflow_r1.running.terminal import Terminal

    settings = open_config(config, override, trust=trust)
    console = Terminal()
    with Terminal(stderr=True).status("demonstrating") as status:

        def show(done: "Demonstrations") -> None:
            status.update(f"demonstrating: {len(done.kept):,} kept of {done.num_questions:,} questions")

        done = carry_out(
            settings, output=output, sources=source or [], questions=questions, num=num, per_question=per_question,
            seed=seed, untitled=untitled, on_progress=show,
        )  # fmt: skip
    calls = ", ".join(f"{count:,} with {number} calls" for number, count in sorted(done.searches.items()))
    console.print(
        f"{done.num_questions:,} questions, {done.num_trajectories:,} trajectories; kept {len(done.kept):,} in {output} ({calls})\n"
        f"left out: {describe_dropped(done)}",
        markup=False,
        soft_wrap=True,
    )
