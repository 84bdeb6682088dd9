#!/usr/bin/env bash
# OpenAI Agents and Pydantic AI leave a docstring's example and warning out of what the model reads.
#
# Expected (a guess, made before running): the description of a tool is its docstring without the parameters, which go into the
#   schema.
# What happens: both keep the first paragraphs alone. Text under "Warning:" or "Example:" is dropped without a word, though "Note:
#   ..." on one line stays. "Returns:" is dropped by the one and makes the other wrap the description in XML tags.
# Versions: openai-agents 0.24.0, pydantic-ai-slim 2.68.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openai-agents==0.24.0 pydantic-ai-slim==2.68.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from agents import function_tool
from pydantic_ai import Tool


def archive(path: str) -> str:
    """Archive a folder.

    Note: it may take a minute.

    Warning:
        The folder is gone afterwards.

    Example:
        archive("reports/2025")

    Args:
        path: The folder.

    Returns:
        The name of the archive.
    """


seen = {"openai-agents": function_tool(archive).description, "pydantic-ai-slim": Tool(archive).tool_def.description}
print("expected: both hold the note, the warning and the example")
for library, description in seen.items():
    print(f"seen, {library} {importlib.metadata.version(library)}: {description!r}")
kept = "Archive a folder.\n\nNote: it may take a minute."
returned = "<returns>\n<description>The name of the archive.</description>\n</returns>"
as_described = list(seen.values()) == [kept, f"<summary>{kept}</summary>\n{returned}"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
