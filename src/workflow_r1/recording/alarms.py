"""Alarms of a run: ways in which it goes wrong, since which step, and with which remedy. ``alarms.jsonl`` holds them."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from workflow_r1.recording.run_files import ALARMS

logger = logging.getLogger(__name__)

AlarmKind = Literal[
    "no_signal",
    "reward_fallen",
    "right_less_likely",
    "ratio_below_1",
    "clip_inactive",
    "clip_everywhere",
    "thoughts_shrunk",
    "thoughts_grown",
    "thoughts_repeated",
    "one_workflow",
    "malformed",
    "surprisal_fallen",
    "surprisal_risen",
]
"""Kinds of alarm; ``docs/reference/run-directory.md`` describes each."""

ALARM_TITLES: dict[AlarmKind, str] = {
    "no_signal": "nothing to learn from",
    "reward_fallen": "the reward has fallen",
    "right_less_likely": "right trajectories become less likely",
    "ratio_below_1": "the importance ratio drifts below 1",
    "clip_inactive": "the clip stops nothing",
    "clip_everywhere": "the clip removes nearly every gradient",
    "thoughts_shrunk": "the thoughts have shrunk",
    "thoughts_grown": "the thoughts have grown",
    "thoughts_repeated": "the thoughts repeat themselves",
    "one_workflow": "all follow one workflow",
    "malformed": "malformed trajectories",
    "surprisal_fallen": "the policy has stopped exploring",
    "surprisal_risen": "the policy has become erratic",
}
"""Each kind in a few words."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm of a run."""

    kind: AlarmKind
    """Kind of the alarm; it is raised once until it is over."""
    step: int
    """Step whose figures raised it."""
    message: str
    """The finding with its figures: one sentence without its full stop."""
    remedy: str
    """The advice, in the same form."""
    until: int | None = None
    """Step whose figures ended it; None while it lasts."""


@dataclass(frozen=True, slots=True)
class AlarmEnded:
    """The end of an alarm."""

    kind: AlarmKind
    """Kind of the alarm that is over."""
    step: int
    """Step whose figures ended it."""


def to_row(change: Alarm | AlarmEnded) -> dict[str, Any]:
    """Return the line of ``alarms.jsonl`` that says that an alarm began or ended."""
    row = asdict(change)
    row.pop("until", None)
    return row


def join_changes(changes: Iterable[Alarm | AlarmEnded]) -> list[Alarm]:
    """Return the alarms in the order in which they began, each with its end.

    An alarm that is raised again while it lasts has more to say: the one before ends there.
    """
    alarms: list[Alarm] = []
    lasting: dict[str, int] = {}
    for change in changes:
        if (place := lasting.pop(change.kind, None)) is not None:
            alarms[place] = replace(alarms[place], until=change.step)
        if isinstance(change, Alarm):
            lasting[change.kind] = len(alarms)
            alarms.append(change)
    return alarms


def read_alarms(directory: Path | str) -> list[Alarm]:
    """Read the alarms of a run, which may still be at work. A line that cannot be read is left out, with a warning in the log.

    Args:
        directory: the run directory. Where it has no ``alarms.jsonl``, there was no alarm.
    """
    path = Path(directory) / ALARMS
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    changes = []
    for number, line in enumerate(lines, start=1):
        change = _parse(line)
        if change is not None:
            changes.append(change)
        elif line.strip():
            logger.warning("%s:%d: expected an alarm, found other text: the line is left out", path, number)
    return join_changes(changes)


def _parse(line: bytes) -> Alarm | AlarmEnded | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, Mapping) or row.get("kind") not in get_args(AlarmKind) or type(row.get("step")) is not int:
        return None
    if row.keys() == {"kind", "step"}:
        return AlarmEnded(row["kind"], row["step"])
    message, remedy = row.get("message"), row.get("remedy")
    if not (isinstance(message, str) and isinstance(remedy, str)):
        return None
    return Alarm(row["kind"], row["step"], message, remedy)
