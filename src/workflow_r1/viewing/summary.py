"""Everything of a run but its trajectories: curves, alarms, evaluations, configuration. Whatever is missing is left out."""

import hashlib
import json
import math
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workflow_r1.config.training import PRESET_SWITCHES, USUAL_SWITCHES
from workflow_r1.evaluation.card import CARD
from workflow_r1.recording.alarms import ALARM_TITLES, ALARMS, read_alarms
from workflow_r1.recording.run_files import EVALUATIONS, METRICS
from workflow_r1.services.secrets import mask_addresses
from workflow_r1.viewing.source import Json, Source
from workflow_r1.workflows import make_atlas, pair_questions

MAX_CONFIG_CHARS = 200_000
"""Longest configuration that is shown."""

MAX_PAIRS = 60
"""Most pairs of trajectories before and after learning."""

_HIDDEN = ("update/turn_", "rollout/num_", "update/num_", "evaluation/class/")
"""Beginnings of metrics that the page of curves does not offer, but for the few that it reads."""

_READ = ("ratio_mean", "clip_fraction", "num_groups", "num_groups_without_signal", "num_trajectories", "num_failed")
"""Ends of metrics that it reads."""


def summarise(source: Source, title: str) -> Json:
    """Describe a run or an evaluation in one object."""
    directory = source.path if source.path.is_dir() else None
    problems: list[str] = []
    metrics = _read_rows(directory, METRICS, problems)
    evaluations = _read_rows(directory, EVALUATIONS, problems)
    text = _read_text(directory, "config.toml", problems, needed=source.kind == "training")
    config = _parse(text, problems)
    environment = _read_object(directory, "environment.json", problems)
    card = _read_object(directory, CARD, problems)
    described = environment or card
    simulation = described.get("simulation")
    return {
        "title": title,
        "kind": source.kind,
        "name": str(config.get("name") or source.name),
        "started": str(described.get("started") or ""),
        "live": source.is_at_work,
        "simulation": simulation if isinstance(simulation, bool) else _is_simulation(config),
        "problems": [*source.problems, *problems],
        "config": mask_addresses(text)[:MAX_CONFIG_CHARS],
        "environment": mask_addresses(json.dumps(environment, indent=2)) if environment else "",
        "card": mask_addresses(json.dumps(card, indent=2))[:MAX_CONFIG_CHARS] if card else "",
        "same_but_seed": _fingerprint(config),
        "seed": config.get("seed"),
        "advantage": advantage_of(config),
        "currency": _section(config, "prices").get("currency", "USD"),
        "num_steps": _section(config, "training").get("steps"),
        "metrics": _as_columns(metrics),
        "evaluations": [_without_hidden(row) for row in evaluations],
        "alarms": _read_alarms(directory, problems),
        **_workflows(source),
    }


def advantage_of(config: Json) -> str:
    """Kind of advantage that a configuration names, by its preset where not by itself.

    It is empty without a configuration, and where each turn has an advantage of its own (``objective.credit``).
    """
    objective = _section(config, "objective")
    if not config or objective.get("credit", "outcome") != "outcome":
        return ""
    preset = objective.get("preset")
    switches = PRESET_SWITCHES.get(preset, {}) if isinstance(preset, str) else {}
    kind = objective.get("advantage", switches.get("advantage", USUAL_SWITCHES["advantage"]))
    return kind if isinstance(kind, str) else ""


def read_config(source: Source) -> Json:
    """The configuration of a run; empty where none can be read."""
    return _parse(_read_text(source.path if source.path.is_dir() else None, "config.toml", [], needed=False), [])


def _section(config: Json, name: str) -> Json:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _is_simulation(config: Json) -> bool:
    return any(
        _section(config, section).get(key) == "embedded" for section, key in (("data", "source"), ("llm", "kind"))
    )


def _fingerprint(config: Json) -> str:
    """Equal for runs that differ in seeds, names and places alone."""
    kept = {key: value for key, value in config.items() if key not in ("seed", "directory", "name")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16] if config else ""


def _workflows(source: Source) -> Json:
    rows = source.all_rows()
    pairs = pair_questions(rows) if source.kind == "training" else ()
    return {
        "atlas": asdict(make_atlas(rows)),
        "pairs": [
            {"question": pair.before.question, "before": pair.before.id, "after": pair.after.id}
            for pair in pairs[:MAX_PAIRS]
        ],
        "num_pairs": len(pairs),
    }


def _read_alarms(directory: Path | None, problems: list[str]) -> list[Json]:
    try:
        return (
            [asdict(alarm) | {"title": ALARM_TITLES[alarm.kind]} for alarm in read_alarms(directory)]
            if directory is not None
            else []
        )
    except OSError as error:
        problems.append(f"{ALARMS} cannot be read: {error.strerror}")
        return []


def _read_text(directory: Path | None, name: str, problems: list[str], *, needed: bool) -> str:
    if directory is None:
        return ""
    try:
        return (directory / name).read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        if needed:
            problems.append(f"no {name}: the run's configuration is unknown")
    except OSError as error:
        problems.append(f"{name} cannot be read: {error.strerror}")
    return ""


def _parse(text: str, problems: list[str]) -> Json:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(f"config.toml is not TOML: {error}")
    return {}


def _read_object(directory: Path | None, name: str, problems: list[str]) -> Json:
    text = _read_text(directory, name, problems, needed=False)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"{name} is not JSON: {error}")
        return {}
    return found if isinstance(found, dict) else {}


def _read_rows(directory: Path | None, name: str, problems: list[str]) -> list[Json]:
    """Read one object per line; lines that are something else are counted. A last one without its end is still being written."""
    if directory is None:
        return []
    try:
        lines = (directory / name).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{name} cannot be read: {error.strerror}")
        return []
    rows: list[Json] = []
    lost: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
        elif number < len(lines):
            lost.append(number)
    if lost:
        problems.append(
            f"{name}: {len(lost)} {'line' if len(lost) == 1 else 'lines'} cannot be read, the first is {lost[0]}"
        )
    return rows


def _as_columns(rows: list[Json]) -> Json:
    """Return metrics as one list for each, with None where a step has no value."""
    keys = sorted({key for row in rows for key in row if _is_shown(key)})
    return {
        "step": [row["step"] for row in rows],
        "series": {key: [_number(row.get(key)) for row in rows] for key in keys},
    }


def _is_shown(key: str) -> bool:
    return key != "step" and (not key.startswith(_HIDDEN) or key.endswith(_READ))


def _without_hidden(row: Json) -> Json:
    return {key: _number(value) for key, value in row.items() if isinstance(value, int | float)}


def _number(value: Any) -> float | int | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None
