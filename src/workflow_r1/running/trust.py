"""Trust in a run directory: whether its configuration may run code, start programs, ask services and send keys.

A run directory may come from somebody else. :func:`effects_of` lists the effects of its configuration beyond reading
and computing here; a command with such effects first asks :func:`check_trust`, which refuses a directory that this user
neither made nor trusted. Runs that are made here are trusted by a record that is written with them. A record holds for
one resolved path and one content: a directory that is moved, or whose configuration or code is changed, is asked about
again.

Records lie in ``$XDG_STATE_HOME/workflow-r1/trusted`` (``~/.local/state`` where the variable is not set), one small
file for each directory, outside every run directory. ``docs/explanation/security.md`` says what an untrusted directory
can still do.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from workflow_r1.errors import UntrustedError
from workflow_r1.services.secrets import without_login

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig

CONFIG = "config.toml"
"""The file that makes a folder a run directory."""

Location = tuple[str, ...]
"""A configuration key with its sections, outermost first."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect of a configuration on the outside, or by code that it names."""

    does: str
    """A phrase that follows ``would``."""
    keys: frozenset[Location]
    """The keys that decide it."""


def effects_of(config: "RunConfig") -> list[Effect]:
    """List the effects of a configuration beyond reading files and computing here.

    Every section with an address or the environment variable of a key counts: a new service is never forgotten.
    """
    from workflow_r1.config import RunConfig

    found = [Effect(f"run the Python code of {_quote(plugin)}", frozenset({("plugins",)})) for plugin in config.plugins]
    if ":" in config.task:
        found.append(_effect(f"run the Python code of the task {_quote(config.task)}", "task"))
    for name, settings in config.tasks.items():
        chosen = frozenset(("tasks", name, key) for key in settings)
        found.append(Effect(f"give settings to the task {_quote(name)}, which may ask addresses", chosen))
    search = config.search
    if search.callable is not None:
        found.append(_effect(f"run the Python function {_quote(search.callable.function)}", "search.callable.function"))
    for name in config.reward.weights:
        if ":" in name:
            found.append(Effect(f"run the Python function {_quote(name)}", frozenset({("reward", "weights", name)})))
    if search.mcp is not None and search.mcp.command:
        seen = f", which sees {', '.join(map(_quote, search.mcp.environment))}" if search.mcp.environment else ""
        command = _quote(" ".join(search.mcp.command))
        found.append(_effect(f"start the program {command}{seen}", "search.mcp.command", "search.mcp.environment"))
    for name, settings in config.operators.items():
        given = frozenset(("operators", name, key) for key in settings)
        found.append(Effect(f"give settings to the operator {_quote(name)}, if it is installed here", given))
    for name in config.verl.options:
        keys: frozenset[Location] = frozenset({("verl", "options", name), ("verl", "options", *name.split("."))})
        found.append(Effect(f"set verl's option {_quote(name)}", keys))
    if config.logging.wandb_project is not None:
        told = f"send figures to the project {_quote(config.logging.wandb_project)} of Weights & Biases"
        found.append(_effect(told, "logging.wandb_project"))
    if config.llm.kind == "openai" and config.llm.base_url is None:
        told = f"ask OpenAI's own address with the key in {_quote(config.llm.api_key_env)}"
        found.append(_effect(told, "llm.kind"))
    return [*found, *_services(config, RunConfig(), ())]


def _services(record: BaseModel, default: BaseModel | None, location: Location) -> Iterator[Effect]:
    """Every section with an address, or the variable of a key, that is not the default's."""
    fields = type(record).model_fields
    address = next((name for name in ("base_url", "url") if name in fields), None)
    names = [name for name in (address, "api_key_env") if name is not None and name in fields]
    chosen = [name for name in names if getattr(record, name) != getattr(default, name, None)]
    if chosen:
        url, variable = (getattr(record, name, None) if name else None for name in (address, "api_key_env"))
        place = "an address" if url is None else _quote(without_login(url))
        key = f" with the key in the environment variable {_quote(variable)}" if variable else ""
        yield Effect(f"ask {place}{key}", frozenset((*location, name) for name in chosen))
    for name in fields:
        value = getattr(record, name)
        inner = {(name,): value} if not isinstance(value, dict) else {(name, key): each for key, each in value.items()}
        for place_of, each in inner.items():
            if isinstance(each, BaseModel):
                usual = getattr(default, name, None)
                yield from _services(each, usual if isinstance(usual, BaseModel) else None, (*location, *place_of))


def _effect(does: str, *keys: str) -> Effect:
    return Effect(does, frozenset(tuple(key.split(".")) for key in keys))


def _quote(text: object) -> str:
    """Return one line for any contents of a stranger's file."""
    shown = " ".join(str(text).split())
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


# ---------------------------------------------------------------------------------------------------------- the question


def untrusted_effects(directory: Path, config: "RunConfig", overrides: Sequence[str] = ()) -> list[Effect]:
    """Return the effects of a run directory's configuration that its user has not allowed; empty where it is trusted.

    Args:
        directory: directory of the run.
        config: its configuration with the overrides.
        overrides: overrides of the command line, ``section.key=value``: their effects are the user's own choice.
    """
    own = [tuple(override.partition("=")[0].strip().split(".")) for override in overrides]
    effects = [effect for effect in effects_of(config) if not all(_is_set(key, own) for key in effect.keys)]
    return [] if not effects or is_trusted(directory) else effects


def _is_set(key: Location, own: Sequence[Location]) -> bool:
    return any(key[: len(each)] == each for each in own)


def check_trust(directory: Path, config: "RunConfig", *, overrides: Sequence[str] = (), trust: bool = False) -> None:
    """Refuse to act on a run directory that its user neither made nor trusted.

    Args:
        directory: directory of the run.
        config: its configuration with the overrides.
        overrides: overrides of the command line.
        trust: the user trusts it now; that is recorded.

    Raises:
        UntrustedError: the message lists the configuration's effects, and the way to allow them.
    """
    effects = untrusted_effects(directory, config, overrides)
    if not effects:
        return
    if trust:
        remember(directory)
        return
    file = _record_of(directory)
    known = file is not None and file.is_file()
    state = "was changed since you trusted it" if known else "was not made here by you"
    listed = "".join(f"\n  {effect.does}" for effect in effects)
    raise UntrustedError(
        f"{directory} {state}, and its configuration would{listed}\n"
        f"Read {directory / CONFIG} and the code that it names; if you trust it, say so once with --trust, in Python "
        "with load_config(..., trust=True)"
    )


def is_trusted(directory: Path) -> bool:
    """Return True where the user made or trusted this directory with this content."""
    file = _record_of(directory)
    try:
        record = None if file is None else json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    expected = {"directory": str(directory.resolve()), "content": _content(directory)}
    return isinstance(record, dict) and all(record.get(key) == value for key, value in expected.items())


def remember(directory: Path) -> None:
    """Trust a run directory from now on. Where no record can be kept (a read-only home), it holds for this command alone."""
    record = {
        "directory": str(directory.resolve()),
        "content": _content(directory),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    file = _record_of(directory)
    if file is None:
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(record) + "\n", encoding="utf-8")
        new.replace(file)


def _record_of(directory: Path) -> Path | None:
    """Return the path of a directory's record, which may not exist yet; None where this user can keep no records."""
    state = _state()
    if state is None:
        return None
    name = hashlib.sha256(str(directory.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return state / "trusted" / f"{name}.json"


def _state() -> Path | None:
    chosen = os.environ.get("XDG_STATE_HOME", "")
    # The specification has relative paths ignored.
    if Path(chosen).is_absolute():
        return Path(chosen) / "workflow-r1"
    try:
        return Path.home() / ".local" / "state" / "workflow-r1"
    except RuntimeError:  # A user without a home, as containers run: nothing is remembered, nothing is trusted.
        return None


def _content(directory: Path) -> str:
    """SHA-256 of the configuration and of all Python files that came with it."""
    digest = hashlib.sha256()
    for file in (directory / CONFIG, *sorted(directory.rglob("*.py"))):
        try:
            content = file.read_bytes()
        except OSError:
            content = b""
        digest.update(f"{file.relative_to(directory)}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()
