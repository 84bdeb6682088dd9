"""Stored trajectories in the form of other tools: files of ATIF, logs of Inspect AI, traces of Trackio."""

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from workflow_r1.assembly.chat_models import SIMULATED_EXPERT
from workflow_r1.errors import UserError
from workflow_r1.running.configuration import require
from workflow_r1.running.stored import Selected
from workflow_r1.trajectory import Trajectory
from workflow_r1.trajectory.index import IndexRow


@dataclass(frozen=True, slots=True)
class Origin:
    """The statements of a directory about its trajectories. Read as data: nothing of the configuration is carried out."""

    name: str
    """Name of the directory or file."""
    llm: str | None
    """The LLM behind the operators; None where the directory does not say."""
    currency: str | None
    """Currency of the costs; None where the directory does not say."""
    environment: dict[str, Any]
    """Machine, versions and command of the run; empty where the directory does not say."""

    @classmethod
    def of(cls, place: Path) -> "Origin":
        """Read the origin of a place; a file of trajectories alone says nothing."""
        config: dict[str, Any] = {}
        environment: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            config = tomllib.loads((place / "config.toml").read_text(encoding="utf-8"))
        with suppress(OSError, ValueError):
            found = json.loads((place / "environment.json").read_text(encoding="utf-8"))
            environment = found if isinstance(found, dict) else {}
        llm, prices = (each if isinstance(each, dict) else {} for each in (config.get("llm"), config.get("prices")))
        simulated = llm.get("kind") == "embedded"
        model = SIMULATED_EXPERT if simulated else str(llm.get("model") or "") or None
        currency = str(prices.get("currency", "USD")) if config else None
        return cls(place.resolve().name, model, currency, environment)

    @property
    def began(self) -> datetime | None:
        """Time at which the run began; None where the directory does not say."""
        try:
            return datetime.fromisoformat(str(self.environment.get("started"))).astimezone(UTC)
        except ValueError:
            return None


def export_atif(selected: Sequence[Selected], output: Path, origin: Origin, *, with_tokens: bool = False) -> int:
    """Write trajectories as documents of ATIF, one JSON document a line. The file appears whole, in place of an earlier one.

    Args:
        selected: the trajectories.
        output: the file.
        origin: statements of their directory.
        with_tokens: with token ids and log-probabilities.

    Returns:
        Number of documents.

    Raises:
        MissingExtraError: ``atif`` is not installed.
        OSError: the file cannot be written.
    """
    require("atif", extra="atif", purpose="an export in ATIF")
    from workflow_r1.reports.atif_documents import make_document

    def lines() -> Iterator[str]:
        for trajectory in _read(selected):
            document = make_document(trajectory, llm=origin.llm, currency=origin.currency, with_tokens=with_tokens)
            # ASCII, since a text may hold a lone surrogate, which UTF-8 cannot.
            yield json.dumps(document.to_json_dict(), separators=(",", ":")) + "\n"

    return _write_lines(output, lines())


def export_trackio(selected: Sequence[Selected], origin: Origin, *, project: str) -> int:
    """Log trajectories as traces of Trackio, by their steps, into its own store on this machine.

    Args:
        selected: the trajectories.
        origin: statements of their directory; the run gets its name.
        project: project of Trackio.

    Returns:
        Number of traces.

    Raises:
        MissingExtraError: ``trackio`` is not installed.
    """
    require("trackio", extra="trackio", purpose="an export to Trackio")
    import trackio

    from workflow_r1.reports.trackio_traces import make_trace

    number = 0
    trackio.init(
        project=project,
        name=origin.name,
        config={"exported_from": origin.name},
        embed=False,
        auto_log_cpu=False,
        auto_log_gpu=False,
    )
    try:
        for trajectory in _read(selected):
            trackio.log({"trajectory": make_trace(trajectory, llm=origin.llm)}, step=trajectory.step or 0)
            number += 1
    finally:
        trackio.finish()
    return number


def export_inspect_steps(
    selected: Sequence[Selected], output: Path, origin: Origin, *, on_log: Callable[[Path, int], None]
) -> list[Path]:
    """Write trajectories as logs of Inspect AI, one for each step of training. Each appears whole, in place of an earlier one.

    Args:
        selected: the trajectories.
        output: directory of the logs; made where it is missing.
        origin: statements of their directory.
        on_log: called with each log that was written, and the number of its samples.

    Returns:
        The files.

    Raises:
        MissingExtraError: ``inspect_ai`` is not installed.
        OSError: a log cannot be written.
    """
    require("inspect_ai", extra="inspect", purpose="an export for Inspect AI")
    from workflow_r1.reports.inspect_training import Source, write_step

    output.mkdir(parents=True, exist_ok=True)
    written = []
    for each in selected:
        ended = datetime.fromtimestamp(each.file.index.path.stat().st_mtime, UTC)
        source = Source(
            name=origin.name,
            llm=origin.llm or "LLM",
            began=origin.began or ended,
            ended=ended,
            is_simulation=bool(origin.environment.get("simulation")),
            metadata={"environment": origin.environment},
        )
        for step, rows in groupby(sorted(each.rows, key=_step_of), key=_step_of):
            path = output / ("trajectories.eval" if step < 0 else f"step-{step:05d}.eval")
            trajectories = list(each.file.index.read_all(list(rows)))
            log = write_step(path, source, trajectories, step=None if step < 0 else step)
            written.append(path)
            on_log(path, len(log.samples or []))
    return written


def _step_of(row: IndexRow) -> int:
    return -1 if row.step is None else row.step


def _read(selected: Sequence[Selected]) -> Iterator[Trajectory]:
    for each in selected:
        yield from each.read()


def _write_lines(path: Path, lines: Iterator[str]) -> int:
    """Write lines as they come, and put the file in its place at the end."""
    if path.is_dir():
        raise UserError(f"--output: expected a file, found a folder at {path}; choose another place")
    partial = path.with_name(f".{path.name}.partial")
    number = 0
    try:
        with partial.open("w", encoding="ascii") as file:
            for line in lines:
                file.write(line)
                number += 1
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return number
