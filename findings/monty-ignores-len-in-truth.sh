#!/usr/bin/env bash
# pydantic-monty calls an object true whose `__len__` is 0.
#
# Expected (a guess, made before running): a class without `__bool__` is false when its `__len__` returns 0. Where monty does
#   not support `__len__`, it refuses the truth test, as it refuses `len()` of the object and what else it does not know.
# What happens: `len(results)` is a TypeError, `results.__len__()` gives 0, and `if results` takes the object for true without
#   an error. So `if not results:` over a small collection class never finds it empty.
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
class Results:
    def __len__(self):
        return 0


results = Results()
result = [results.__len__(), "some" if results else "none"]
"""
python = {}
exec(program, python)
with pydantic_monty.Monty() as pool, pool.checkout() as session:
    session.feed_run(program)
    seen = session.feed_run("result")
print("version: pydantic-monty", importlib.metadata.version("pydantic-monty"))
print("expected (CPython):", python["result"])
print("seen:              ", seen)
as_described = python["result"] == [0, "none"] and seen == [0, "some"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
