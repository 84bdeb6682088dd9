"""Turns a configuration into TOML, and Python values into overrides."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from workflow_r1.config.mistakes import Location
from workflow_r1.errors import ConfigError


def dump_toml(config: BaseModel) -> str:
    """Write a configuration as TOML that :func:`~workflow_r1.config.load_run_config` reads back as the same configuration.

    Keys that are None are left out: None is the default of every key that can be None, and TOML has no word for it.
    """
    return "\n".join(_dump_section(config.model_dump(mode="json"), ())).lstrip("\n") + "\n"


def _dump_section(section: Mapping[str, Any], location: Location) -> Iterator[str]:
    values = {key: value for key, value in section.items() if value is not None and not isinstance(value, Mapping)}
    if location and (values or not section):
        yield f"\n[{'.'.join(map(_dump_key, location))}]"
    for key, value in values.items():
        yield f"{_dump_key(key)} = {_dump_value(value)}"
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _dump_section(value, (*location, key))


def _dump_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _dump_value(key)


def _dump_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which JSON leaves bare.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(_dump_value(item) for item in value)}]"
    if isinstance(value, Mapping):  # Within a list.
        return f"{{{', '.join(f'{_dump_key(key)} = {_dump_value(item)}' for key, item in value.items())}}}"
    return repr(value)


def write_override(key: str, value: object) -> str:
    """Write ``section.key=value`` for a Python value; None returns the key to its default.

    Raises:
        ConfigError: the value is of no kind that a configuration holds.
    """
    try:
        plain = json.loads(json.dumps(value, default=_as_text))
    except (TypeError, ValueError):
        raise ConfigError(
            f"{key}: expected a number, a text, a path, or a list or mapping of them, received {value!r}"
        ) from None
    return f"{key}=" if plain is None else f"{key}={_dump_value(plain)}"


def _as_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError
