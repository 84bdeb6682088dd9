#!/usr/bin/env bash
# smolagents' Python interpreter lets `except Exception` catch `return` and `break`.
#
# Expected (a guess, made before running): code that the interpreter accepts gives CPython's result; what it does not know, it
#   refuses with an InterpreterError, as it does for `yield`.
# What happens: `return` and `break` travel as exceptions that derive from Exception, so a handler in the same function catches
#   them. A function with `try: return found` and `except Exception: return None` returns None although nothing failed, and a
#   loop is not left.
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
def parse(text):
    try:
        return int(text)
    except Exception:
        return None


visited = []
for step in range(3):
    try:
        if step == 1:
            break
    except Exception:
        visited.append("caught")
    visited.append(step)
number = parse("42")
"""
executor = LocalPythonExecutor([])
executor.send_tools({})
executor(program)
python = {}
exec(program, python)
print("version: smolagents", smolagents.__version__)
print("expected (CPython):", python["number"], python["visited"])
print("seen:              ", executor.state["number"], executor.state["visited"])
as_described = (python["number"], python["visited"]) == (42, [0]) and (
    executor.state["number"] is None and executor.state["visited"] == [0, "caught", 1, 2]
)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
