"""Instructions to install missing packages, by the way in which this package was itself installed.

No package index is assumed to know the project: a checkout names itself, a wheel the place that it came from, and where
neither is known, the missing packages are named one by one.
"""

import json
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "workflow-r1"


def install_command(extra: str) -> str:
    """Return the shell command that adds an extra, or with an empty name the base packages, to this Python.

    The origin of the installation is read from pip's ``direct_url.json`` (PEP 610), which pip and uv write for a
    package that did not come from an index.

    Args:
        extra: a name under ``[project.optional-dependencies]`` in ``pyproject.toml``.
    """
    return f"{_pip()} install {_requirement(extra)}"


def requirements_of(extra: str) -> list[str]:
    """Return the requirements of an extra, as pip takes them; empty where the package is not installed or has no such extra."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    wanted = re.compile(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]")
    found: list[str] = []
    for line in lines:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if not (wanted.search(marker) if extra else "extra" not in marker):
            continue
        own = re.fullmatch(rf"{DISTRIBUTION}\[([\w-]+)\]", requirement)
        found += requirements_of(own[1]) if own else [requirement]
    return found


def _requirement(extra: str) -> str:
    extras = f"[{extra}]" if extra else ""
    origin = _origin()
    url = str(origin.get("url", ""))
    if "dir_info" in origin:
        folder = Path(unquote(urlsplit(url).path))
        place = "." if folder == Path.cwd() else str(folder)
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f'{editable}"{place}{extras}"'
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info'].get('commit_id', '')}".rstrip("@")
    if url and (not url.startswith("file:") or Path(unquote(urlsplit(url).path)).is_file()):
        return f'"{DISTRIBUTION}{extras} @ {url}"'
    packages = requirements_of(extra)
    return " ".join(f'"{package}"' for package in packages) or f'"{DISTRIBUTION}{extras}"'


def _origin() -> dict[str, dict[str, object]]:
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        origin = json.loads(text) if text else {}
    except (metadata.PackageNotFoundError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def _pip() -> str:
    """The pip of this Python: a bare ``pip`` may be another environment's."""
    python = Path(sys.executable)
    here = Path.cwd()
    shown = python.relative_to(here) if python.is_relative_to(here) else python
    return f"{shlex.quote(str(shown))} -m pip"
