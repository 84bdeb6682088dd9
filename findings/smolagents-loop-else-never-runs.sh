#!/usr/bin/env bash
# smolagents' Python interpreter never runs the `else` of a loop.
#
# Expected (a guess, made before running): the `else` of a `for` or `while` runs when no `break` left the loop, or the
#   interpreter refuses it, as it refuses `yield` and `match`.
# What happens: the block is left out without an error. The usual search loop, with `found = False` in its `else`, keeps what it
#   held before.
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
prime = "unknown"
for divisor in (2, 3, 5):
    if 49 % divisor == 0:
        prime = "no"
        break
else:
    prime = "not divisible"
turns, ended = 0, "unknown"
while turns < 3:
    turns += 1
else:
    ended = "by the limit"
"""
executor = LocalPythonExecutor([])
executor.send_tools({})
executor(program)
python = {}
exec(program, python)
print("version: smolagents", smolagents.__version__)
print("expected (CPython):", python["prime"], python["ended"])
print("seen:              ", executor.state["prime"], executor.state["ended"])
as_described = (python["prime"], python["ended"]) == ("not divisible", "by the limit") and (
    executor.state["prime"] == executor.state["ended"] == "unknown"
)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
