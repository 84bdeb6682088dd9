"""``workflow-r1 index``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.retrieval.index_build import BuildProgress

LINES = 20
"""Lines of progress where the output is no terminal."""


def index(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="JSONL of `id, title, text` or `id, contents`, or .gz.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Directory of the index (search.index).")],
) -> None:
    """Build the BM25 index of a corpus, of any size, for search.kind = "bm25".

    Ctrl-C or a full disk costs a minute of the work at most: the same command resumes. An index of another corpus, or of an
    earlier release, is replaced.
    """
    from workflow_r1.errors import DataError
    from workflow_r1.retrieval import BM25Index
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    if output.exists() and corpus.is_file():
        try:
            known = BM25Index.open(output, corpus_path=corpus)
        except DataError:
            pass
        else:
            console.print(
                f"{output} holds the index of {corpus}, {len(known):,} passages", soft_wrap=True, markup=False
            )
            return
    try:
        with showing_build(console, output) as show:
            built = BM25Index.build(corpus, output, on_progress=show)
    except KeyboardInterrupt:
        console.print("interrupted; the same command resumes", style="dim")
        raise typer.Exit(130) from None
    size = sum(path.stat().st_size for path in output.iterdir())
    console.print(f"{len(built):,} passages in {output}, {size / 1e9:.2f} GB", soft_wrap=True, markup=False)


@contextmanager
def showing_build(console: "Console", directory: Path) -> Iterator[Callable[["BuildProgress"], None]]:
    """Show the progress of a build: in place on a terminal, else line by line."""
    doing = f"building the index in {directory}"
    started = time.monotonic()
    first: float | None = None
    printed = 0

    with console.status(doing) as status:

        def show(progress: "BuildProgress") -> None:
            nonlocal first, printed
            first = progress.share if first is None else first
            text = f"{doing}: {_show(progress, time.monotonic() - started, first)}"
            if console.is_terminal:
                status.update(text)
            elif (part := int(progress.share * LINES)) > printed and progress.doing == "reading":
                printed = part
                console.print(text, soft_wrap=True, markup=False, highlight=False)

        yield show


def _show(progress: "BuildProgress", seconds: float, first: float) -> str:
    """Describe the progress; ``first`` is the share that was done at the start."""
    if progress.doing == "scoring":
        return f"{progress.num_passages:,} passages read, {progress.share:.0%} scored"
    text = f"{progress.num_passages:,} passages read, {progress.share:.0%}"
    if progress.share > first and seconds > 10:
        left = seconds * (1 - progress.share) / (progress.share - first)
        text += f", {left / 60:.0f} min left"
    return text
