#!/usr/bin/env bash
# pydantic-monty's `-=` on a set makes a new set.
#
# Expected (a guess, made before running): an augmented assignment on a set changes the set itself, as it does on a list, so
#   that another name for the set sees the change.
# What happens: the name gets a new set and the old one stays as it was. A set of open tasks that a function received and
#   reduces by `-=` never shrinks for its caller. No error.
# Versions: pydantic-monty 1.4.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydantic-monty==1.4.0

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

import pydantic_monty

program = """
open_tasks = {"search", "answer"}
same = open_tasks
open_tasks -= {"search"}
steps = [1]
same_steps = steps
steps += [2]
result = [sorted(same), same_steps]
"""
python = {}
exec(program, python)
with pydantic_monty.Monty() as pool, pool.checkout() as session:
    session.feed_run(program)
    seen = session.feed_run("result")
print("version: pydantic-monty", importlib.metadata.version("pydantic-monty"))
print("expected (CPython):", python["result"])
print("seen:              ", seen)
as_described = python["result"] == [["answer"], [1, 2]] and seen == [["answer", "search"], [1, 2]]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
