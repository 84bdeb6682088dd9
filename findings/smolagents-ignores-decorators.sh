#!/usr/bin/env bash
# smolagents' Python interpreter ignores decorators.
#
# Expected (a guess, made before running): a decorated function or class is what the decorator returns, or the interpreter
#   refuses the decorator.
# What happens: the decorator is left out without an error: a function keeps its own result, and a `@dataclass` takes no
#   arguments.
# Versions: smolagents 1.26.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check smolagents==1.26.0

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import smolagents
from smolagents.local_python_executor import LocalPythonExecutor

program = """
def doubled(function):
    def wrapper(value):
        return 2 * function(value)

    return wrapper


@doubled
def successor(value):
    return value + 1


result = successor(1)
"""
executor = LocalPythonExecutor([])
executor.send_tools({})
executor(program)
python = {}
exec(program, python)
print("version: smolagents", smolagents.__version__)
print("expected (CPython):", python["result"])
print("seen:              ", executor.state["result"])
as_described = (python["result"], executor.state["result"]) == (4, 2)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
