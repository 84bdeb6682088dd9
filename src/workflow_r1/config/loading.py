"""Turns TOML and command-line overrides into one validated configuration."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from workflow_r1.config.effect import KeysWithoutEffectError
from workflow_r1.config.mistakes import Location, explain, field_at, find_place, is_free, shorten, split_key
from workflow_r1.config.run import DERIVED, QUESTIONS, RunConfig
from workflow_r1.config.writing import dump_toml
from workflow_r1.errors import ConfigError
from workflow_r1.nearest import did_you_mean
from workflow_r1.references import is_file

PRESETS = Path(__file__).parent / "presets"
"""Configurations that ship with the package, one TOML file each."""

EXTENDS = "extends"
"""Key of a file that starts from a preset or from another file; the resolved configuration has it no more."""

DEFAULT_PRESET = "embedded"
"""Preset of a command without a configuration."""


def preset_names() -> list[str]:
    """Names of the configurations that ship with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_run_config(path: Path | str | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file, apply the overrides, and validate the whole.

    Args:
        path: a TOML file, or the name of a preset (``embedded``, ``paper``, ...); None takes the preset ``embedded``.
            Relative paths inside it are relative to the working directory; those of ``plugins``, ``task``,
            ``reward.weights``, ``search.callable`` and ``extends``, to the file. ``extends = "embedded"`` starts from that
            preset or file and changes some keys.
        overrides: ``section.key=value``, later ones win. The value is read as TOML; anything that is not TOML is a bare
            string. An empty value returns the key to its default.

    Raises:
        ConfigError: the message names every wrong key and value, its place, the expected one, and the nearest right key.
    """
    file, text = _read_source(path)
    return _read(text, file, overrides)


def change_run_config(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Return the configuration with the overrides, which are read and validated as :func:`load_run_config` does.

    Raises:
        ConfigError: names every wrong key and value, and the nearest right key.
    """
    return _read(dump_toml(config), Path("configuration"), overrides) if overrides else config


def change_settings(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with some settings changed by the program, validated as those of a file are.

    A section whose keys stay keeps its very objects. Keys that have no effect any more are not looked for: the user, who
    set them, did not make the change.

    Args:
        config: the configuration to change.
        changes: values by section and key, with dots (``{"sampling.temperature": 0.0}``), as the fields hold them.

    Raises:
        ConfigError: names every wrong key and value, and the nearest right key.
    """
    places = {split_key(key): "configuration" for key in changes}
    try:
        return RunConfig.model_validate(_with_changes(config, changes), context={DERIVED: True})
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, Path("configuration"), "", places))) from None


def _with_changes(settings: BaseModel, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are set, with the changes; a section with changes as a table, for it to be validated anew."""
    table = {name: getattr(settings, name) for name in settings.model_fields_set}
    inner: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        section, _, rest = key.partition(".")
        if rest:
            inner.setdefault(section, {})[rest] = value
        else:
            table[section] = value
    for section, of_section in inner.items():
        held = getattr(settings, section, None)
        table[section] = _with_changes(held, of_section) if isinstance(held, BaseModel) else of_section
    return table


def _read(text: str, file: Path, overrides: Sequence[str]) -> RunConfig:
    table, inherited = _extended(text, file, (file,))
    places: dict[Location, str] = {}
    for override in overrides:
        _apply_override(table, override, places)
        inherited = {location: place for location, place in inherited.items() if location not in places}
    _make_code_absolute(table, Path())
    chosen_now = ("task",) in places and table.get("task") != QUESTIONS
    if chosen_now and ("environment", "operators") not in places:
        table.get("environment", {}).pop("operators", None)  # That pool is the other task's.
    _leave_the_pool_to_the_task(table)
    try:
        return _validate(table)
    except ValidationError as error:
        if not _drop(table, [key for key in _keys_without_effect(error) if key in inherited]):
            raise ConfigError("\n".join(explain(error, file, text, places, inherited))) from None
    # The file itself has taken the effect of keys that it inherits.
    try:
        return _validate(table)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, file, text, places, inherited))) from None


def _validate(table: Mapping[str, Any]) -> RunConfig:
    # Strict, so that `steps = true` or `steps = "3"` is a mistake; through JSON, where strictness still lets a
    # string be a path and a list a tuple.
    return RunConfig.model_validate_json(json.dumps(table, default=str), strict=True)


def _extended(text: str, file: Path, chain: tuple[Path, ...]) -> tuple[dict[str, Any], dict[Location, str]]:
    """Read a file's table into that of the preset or file which it extends.

    Args:
        text: TOML of the file.
        file: the file.
        chain: the file and those that extend it, to refuse a circle.

    Returns:
        The table, and the place of each key that is another file's.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Also a number of too many digits, and brackets nested too deep.
        raise ConfigError(f"{file}: expected TOML: {error}") from None
    _make_code_absolute(table, file.parent)
    source = table.pop(EXTENDS, None)
    if source is None:
        return table, {}
    place = find_place((EXTENDS,), file, text, {})
    if not isinstance(source, str) or not source.strip():
        raise ConfigError(
            f"{place}: {EXTENDS}: expected the name of a preset ({', '.join(preset_names())}) or a TOML file, received "
            f"{shorten(source)}"
        )
    try:
        base, base_text = _read_source(source if source in preset_names() else file.parent / source)
    except ConfigError as error:
        raise ConfigError(f"{place}: {EXTENDS}: {error}") from None
    if any(base.resolve() == earlier.resolve() for earlier in chain):
        circle = " -> ".join(str(each) for each in (*chain, base))
        raise ConfigError(
            f"{place}: {EXTENDS}: expected a file that does not extend this one, found a circle: {circle}"
        )
    merged, inherited = _extended(base_text, base, (*chain, base))
    if "task" in table:
        merged.get("environment", {}).pop("operators", None)  # That pool is the other task's.
    inherited = {key: inherited.get(key) or find_place(key, base, base_text, {}) for key in _leaves(merged)}
    _merge(merged, table)
    own = set(_leaves(table))
    return merged, {key: where for key, where in inherited.items() if key not in own}


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Lay a table over another: a section key by key, any other value, lists too, as a whole."""
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


def _leaves(table: Mapping[str, Any], prefix: Location = ()) -> Iterator[Location]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key)


def _drop(table: dict[str, Any], keys: Sequence[Location]) -> bool:
    """Remove keys; False where there are no keys to remove."""
    for *above, name in keys:
        section = table
        for part in above:
            section = section[part]
        del section[name]
    return bool(keys)


def _keys_without_effect(error: ValidationError) -> list[Location]:
    causes = [detail.get("ctx", {}).get("error") for detail in error.errors()]
    return [split_key(key) for cause in causes if isinstance(cause, KeysWithoutEffectError) for key, _ in cause.found]


def _read_source(path: Path | str | None) -> tuple[Path, str]:
    file = PRESETS / f"{DEFAULT_PRESET}.toml" if path is None else Path(path)
    if path is not None and not file.exists() and str(path) in preset_names():
        file = PRESETS / f"{path}.toml"
    if not file.is_file():
        found = "a directory" if file.is_dir() else "nothing"
        near = did_you_mean(file.name, preset_names())
        raise ConfigError(
            f"expected a TOML file or the name of a preset ({', '.join(preset_names())}), found {found} at {file}{near}"
        )
    try:
        return file, file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: expected TOML in UTF-8: {error}") from None


def _make_code_absolute(table: dict[str, Any], directory: Path) -> None:
    """Let files of the user's own code be found from wherever the resolved configuration is read."""

    def absolute(file: object) -> object:
        return str((directory / file).resolve()) if isinstance(file, str) and is_file(file) else file

    def absolute_function(reference: str) -> str:
        source, separator, name = reference.rpartition(":")
        return f"{absolute(source)}{separator}{name}"

    plugins = table.get("plugins")
    if isinstance(plugins, list):
        table["plugins"] = [absolute(plugin) for plugin in plugins]
    task = table.get("task")
    if isinstance(task, str) and ":" in task:
        table["task"] = absolute_function(task)
    reward = table.get("reward")
    if isinstance(reward, dict) and isinstance(weights := reward.get("weights"), dict):
        reward["weights"] = {absolute_function(name): weight for name, weight in weights.items()}
    elif isinstance(reward, str):
        table["reward"] = absolute_function(reward)
    search = table.get("search")
    function = search.get("callable") if isinstance(search, dict) else None
    if isinstance(function, dict) and isinstance(function.get("function"), str):
        function["function"] = absolute_function(function["function"])


def _leave_the_pool_to_the_task(table: dict[str, Any]) -> None:
    """Without a pool of its own, a task that is not question answering has no operators beside its actions."""
    environment = table.setdefault("environment", {}) if table.get("task", QUESTIONS) != QUESTIONS else None
    if isinstance(environment, dict):
        environment.setdefault("operators", [])


def _apply_override(table: dict[str, Any], override: str, places: dict[Location, str]) -> None:
    key, separator, value = override.partition("=")
    location = split_key(key)
    if not separator or not all(location):
        raise ConfigError(f"expected an override of the form section.key=value, received {override!r}")
    if location == (EXTENDS,):
        raise ConfigError(
            f"override {override!r}: {EXTENDS} stands in a file; on the command line name the preset or file itself as CONFIG"
        )
    places[location] = f"override {override!r}"
    parent = table
    for part in location[:-1]:
        parent = parent.setdefault(part, {})
        if not isinstance(parent, dict):
            raise ConfigError(f"override {override!r}: {part!r} is a value, not a section")
    if value.strip():
        parent[location[-1]] = _parse_value(value)
    elif field_at(location) is None and not is_free(location):
        parent[location[-1]] = ""  # Left in, so that validation refuses the unknown key.
    else:
        parent.pop(location[-1], None)


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    return parsed["value"] if len(parsed) == 1 else text.strip()
