"""Turns TOML and command-line overrides into one validated configuration, and back into TOML."""

import json
import re
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from workflow_r1.config.effect import KeysError, KeysWithoutEffectError
from workflow_r1.config.run import DERIVED, QUESTIONS, RunConfig
from workflow_r1.errors import ConfigError
from workflow_r1.nearest import did_you_mean, nearest
from workflow_r1.references import is_file

PRESETS = Path(__file__).parent / "presets"
"""Configurations that ship with the package, one TOML file each."""

EXTENDS = "extends"
"""Key of a file that starts from a preset or from another file; the resolved configuration has it no more."""

DEFAULT_PRESET = "embedded"
"""Preset of a command without a configuration."""

Location = tuple[str, ...]
"""Section and key, outermost first."""


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
    places = {_split_key(key): "configuration" for key in changes}
    try:
        return RunConfig.model_validate(_with_changes(config, changes), context={DERIVED: True})
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, Path("configuration"), "", places))) from None


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
            raise ConfigError("\n".join(_explain(error, file, text, places, inherited))) from None
    # What the file itself says has taken the effect of keys that it inherits.
    try:
        return _validate(table)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, file, text, places, inherited))) from None


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
    place = _place((EXTENDS,), file, text, {})
    if not isinstance(source, str) or not source.strip():
        raise ConfigError(
            f"{place}: {EXTENDS}: expected the name of a preset ({', '.join(preset_names())}) or a TOML file, received "
            f"{_short(source)}"
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
    inherited = {key: inherited.get(key) or _place(key, base, base_text, {}) for key in _leaves(merged)}
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
    return [_split_key(key) for cause in causes if isinstance(cause, KeysWithoutEffectError) for key, _ in cause.found]


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
        return file, file.read_text(encoding="utf-8")
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
    location = _split_key(key)
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
    elif _field_at(location) is None and not _is_free(location):
        parent[location[-1]] = ""  # Left in, so that validation refuses the unknown key.
    else:
        parent.pop(location[-1], None)


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    return parsed["value"] if len(parsed) == 1 else text.strip()


# ---------------------------------------------------------------------------------------------------------- messages


def _explain(
    error: ValidationError,
    file: Path,
    text: str,
    places: Mapping[Location, str],
    inherited: Mapping[Location, str] = types.MappingProxyType({}),
) -> Iterator[str]:
    """One line per wrong key or value."""

    def place_of(location: Location) -> str:
        return inherited[location] if location in inherited else _place(location, file, text, places)

    told: set[Location] = set()
    for detail in error.errors():
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, KeysError):
            for key, reason in cause.found:
                yield f"{place_of(_split_key(key))}: {key}: {reason}"
            continue
        # Pydantic appends the alternatives of a union and the indices of a list to the location.
        location = _longest_field(tuple(str(part) for part in detail["loc"]))
        unknown = detail["type"] == "extra_forbidden"
        if unknown:
            location = tuple(str(part) for part in detail["loc"])
        if location in told:
            continue
        told.add(location)
        place = place_of(location)
        key = ".".join(location)
        if unknown:
            yield f"{place}: unknown key {key!r}{_suggest_key(location)}"
            continue
        value = detail["input"]
        annotation = _field_at(location)
        if detail["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
            expected = f"a value {detail['msg'].removeprefix('Input should be ')}"
        elif detail["type"] == "value_error":
            expected = detail["msg"].removeprefix("Value error, ")
        else:
            expected = describe(annotation) if annotation is not None else detail["msg"]
        near = did_you_mean(str(value), [choice for choice in _choices(annotation) if isinstance(choice, str)])
        absent = detail["type"] == "missing" and len(location) == len(detail["loc"])
        received = "nothing" if absent else _short(value)
        yield f"{place}: {key}: expected {expected}, received {received}{near}"


def _place(location: Location, file: Path, text: str, places: Mapping[Location, str]) -> str:
    for overridden in sorted(places, key=len, reverse=True):
        shared = min(len(overridden), len(location))
        if overridden[:shared] == location[:shared]:
            return places[overridden]
    section: Location = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            section = _split_key(header.group(1))
            if section == location:
                return f"{file}:{number}"
        elif entry := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            found = section + _split_key(entry.group(1))
            if found == location[: len(found)]:
                return f"{file}:{number}"
    return str(file)


def _suggest_key(location: Location) -> str:
    siblings = _section_at(location[:-1])
    if siblings is None:
        return ""
    close = nearest(location[-1], siblings.model_fields)
    if close is not None:
        return f"; did you mean {'.'.join((*location[:-1], close))!r}?"
    elsewhere = [known for known in _all_keys(RunConfig) if known[-1] == location[-1]]
    if elsewhere:
        return f"; did you mean {'.'.join(elsewhere[0])!r}?"
    return f"; {'.'.join(location[:-1]) or 'the configuration'} has {', '.join(siblings.model_fields)}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def describe(annotation: Any) -> str:
    """Describe the values that a field takes, in words."""
    words = ", ".join(json.dumps(choice) for choice in _choices(annotation))
    words = f"one of {words}" if words else ""
    plain = [part for part in _alternatives(annotation) if get_origin(part) is not Literal]
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a string",
        Path: "a path (a string)",
        date: "a date such as 2026-01-31",
    }
    for part in plain:
        if part is type(None):
            continue
        if isinstance(part, type) and issubclass(part, BaseModel):
            name = f"a section with {', '.join(part.model_fields)}"
        elif get_origin(part) is tuple:
            inner = {str: "strings", float: "numbers", int: "whole numbers"}.get(get_args(part)[0], "values")
            number = "" if Ellipsis in get_args(part) else f"{len(get_args(part))} "
            name = f"a list of {number}{inner}"
        elif get_origin(part) is dict:
            entry = get_args(part)[1]
            if get_origin(entry) is Annotated:
                entry = get_args(entry)[0]
            is_section = get_origin(entry) is dict or (isinstance(entry, type) and issubclass(entry, BaseModel))
            name = f"{'a section' if is_section else 'values' if entry is Any else describe(entry)} for each name"
        else:
            name = names.get(part, str(part))
        words = f"{words} or {name}" if words else name
    return words


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _choices(annotation: Any) -> list[Any]:
    return [choice for part in _alternatives(annotation) if get_origin(part) is Literal for choice in get_args(part)]


def _split_key(text: str) -> Location:
    """The parts of a dotted key; a part in quotes may hold dots."""
    parts = re.split(r"""\.(?=(?:[^"']|"[^"]*"|'[^']*')*$)""", text)
    return tuple(part.strip().strip("\"'") for part in parts)


def _section_at(location: Location) -> type[BaseModel] | None:
    """Return the model of a section; None where there is no such section."""
    model: type[BaseModel] = RunConfig
    parts = list(location)
    while parts:
        field = model.model_fields.get(parts.pop(0))
        alternatives = _alternatives(field.annotation) if field else ()
        if alternatives and get_origin(alternatives[0]) is dict:
            # A section for each name that the user chooses: the next part is such a name.
            if not parts:
                return None
            parts.pop(0)
            alternatives = get_args(alternatives[0])
        inner = [option for option in alternatives if isinstance(option, type) and issubclass(option, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def _field_at(location: Location) -> Any | None:
    """The annotation of a key; None where there is no such key."""
    section = _section_at(location[:-1]) if location else None
    field = section.model_fields.get(location[-1]) if section else None
    return field.annotation if field else None


def _is_free(location: Location) -> bool:
    """Return True where a key is a name of the user's own, or lies where the configuration has no keys of its own."""
    if _section_at(location[:-1]) is not None:
        return False
    above = (_field_at(location[:length]) for length in range(1, len(location)))
    return any(get_origin(part) is dict for annotation in above for part in _alternatives(annotation))


def _longest_field(location: Location) -> Location:
    for length in range(len(location), 0, -1):
        if _field_at(location[:length]) is not None:
            return location[:length]
    return location


def _all_keys(model: type[BaseModel], prefix: Location = ()) -> Iterator[Location]:
    for name in model.model_fields:
        inner = _section_at((*prefix, name))
        if inner is None:
            yield (*prefix, name)
        else:
            yield from _all_keys(inner, (*prefix, name))


# ------------------------------------------------------------------------------------------------------------ writing


def dump_toml(config: BaseModel) -> str:
    """Write a configuration as TOML that :func:`load_run_config` reads back as the same configuration.

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
