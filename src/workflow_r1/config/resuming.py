"""Comparison of the configuration that a checkpoint was made with and the one that a resume brings."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from workflow_r1.config.run import RunConfig

ABSENT = "absent"
"""Stands for the value of a key that one side lacks."""


def differing_keys(
    saved: Mapping[str, Any], now: Mapping[str, Any], *, free: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values differ, in order, with both values.

    A key that a later version of the project has added is absent from an older checkpoint. It counts as its default there:
    the default of a new key is what was done before the key existed.

    Args:
        saved: configuration in the checkpoint, and what else was kept with it, as nested JSON values.
        now: the same of the run that resumes.
        free: keys, or beginnings of them, that may differ.
    """
    after = _flat(json.loads(json.dumps(now)))
    defaults = {key: default for key, default in _flat(_with_all_defaults(saved)).items() if key in after}
    before = defaults | _flat(saved)
    return {
        key: (before.get(key, ABSENT), after.get(key, ABSENT))
        for key in sorted(before.keys() | after.keys())
        if before.get(key, ABSENT) != after.get(key, ABSENT)
        and not any(key == each or key.startswith(f"{each}.") for each in free)
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flattened: dict[str, Any] = {}
    for key, value in values.items():
        flattened |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flattened


def _with_all_defaults(saved: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in saved.items() if key in RunConfig.model_fields}
    try:
        return RunConfig.model_validate(known).model_dump(mode="json")
    except ValidationError:  # A key was renamed or removed since: every difference is named.
        return {}
