"""Arms of a comparison: runs that differ in nothing but their seed belong together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflow_r1.reports.run_record import RunRecord

_NOT_COMPARED = ("name", "directory", "seed", "logging")
"""Keys of the configuration that make no arm."""

MAX_NAME_CHARS = 60
"""Longest name of an arm by its settings; beyond it the run's directory names it."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs of one configuration."""

    name: str
    """The settings that the other arms do not have, or the name of the run's directory."""
    runs: tuple[RunRecord, ...]
    """Its runs, each with a seed of its own."""

    @property
    def by_seed(self) -> dict[int, RunRecord]:
        """Its runs by their seeds."""
        return {run.config.seed: run for run in self.runs}


def group_runs(runs: Sequence[RunRecord]) -> list[Arm]:
    """Group runs into arms, in the order of their first runs.

    Runs of one configuration and one seed differ in more than their settings, the version of the code perhaps: each of them is
    an arm.
    """
    grouped: list[tuple[dict[str, Any], list[RunRecord]]] = []
    for run in runs:
        settings = dict(_flatten(run.config.model_dump(mode="json", exclude=set(_NOT_COMPARED))))
        same = next((members for known, members in grouped if known == settings), None)
        if same is None:
            grouped.append((settings, [run]))
        else:
            same.append(run)
    split = [
        (settings, part)
        for settings, members in grouped
        for part in ([members] if _has_seeds_of_its_own(members) else [[run] for run in members])
    ]
    names = [_name(settings, members, [other for other, _ in split]) for settings, members in split]
    directories = _directory_names([members[0] for _, members in split])
    unique = Counter(names)
    return [
        Arm(name if name and unique[name] == 1 else directory, tuple(members))
        for name, directory, (_, members) in zip(names, directories, split, strict=True)
    ]


def _has_seeds_of_its_own(runs: Sequence[RunRecord]) -> bool:
    return len({run.config.seed for run in runs}) == len(runs)


def _name(settings: Mapping[str, Any], runs: Sequence[RunRecord], all_settings: Sequence[Mapping[str, Any]]) -> str:
    """Return the settings that not all arms share; empty where all are shared, or too many differ."""
    keys = sorted({key for other in all_settings for key in other.keys() | settings.keys()
                   if any(each.get(key) != settings.get(key) for each in all_settings)})  # fmt: skip
    name = ", ".join(f"{key}={settings[key]}" for key in keys if key in settings)
    return name if len(name) <= MAX_NAME_CHARS else ""


def _directory_names(runs: Sequence[RunRecord]) -> list[str]:
    """Return the names of the runs' directories, with as much of their paths as tells them apart."""
    parts = [run.directory.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return names


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flatten(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
