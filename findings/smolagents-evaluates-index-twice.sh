#!/usr/bin/env bash
# smolagents' Python interpreter evaluates the index of `target[index()] += 1` twice.
#
# Expected (a guess, made before running): the index of an augmented assignment is evaluated once, as in CPython.
# What happens: it is evaluated once to read and once to write. With a call that moves on (a tool, an iterator, a counter) the
#   value of one place is written into another, without an error.
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
scores = [10, 20, 30]
places = [0, 1, 2]
scores[places.pop(0)] += 1
"""
executor = LocalPythonExecutor([])
executor.send_tools({})
executor(program)
python = {}
exec(program, python)
print("version: smolagents", smolagents.__version__)
print("expected (CPython):", python["scores"], python["places"])
print("seen:              ", executor.state["scores"], executor.state["places"])
as_described = (python["scores"], python["places"]) == ([11, 20, 30], [1, 2]) and (
    executor.state["scores"] == [10, 11, 30] and executor.state["places"] == [2]
)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
