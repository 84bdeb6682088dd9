#!/usr/bin/env bash
# The same chat template writes a tool's numbers otherwise under minijinja than under jinja2.
#
# Expected (a guess, made before running): minijinja, with which servers written in Rust render chat templates, prints a number
#   as jinja2 does, since it prints lists, None and True in Python's way.
# What happens: 1e-7 becomes `0.0000001` and 1e20 becomes `100000000000000000000.0` where jinja2 prints `1e-07` and `1e+20`.
#   Arguments of earlier tool calls, printed with `{{ value }}`, give other tokens on the server than in training.
# Versions: minijinja 3.1.0, jinja2 3.1.6. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check minijinja==3.1.0 jinja2==3.1.6

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

import jinja2
import minijinja

template = "{% for key, value in arguments.items() %}{{ key }}={{ value }} {% endfor %}"
arguments = {"tolerance": 1e-7, "population": 1e20, "share": 0.25, "exact": True, "unit": None, "steps": [1, 2.0]}
expected = jinja2.Environment().from_string(template).render(arguments=arguments)
seen = minijinja.Environment().render_str(template, arguments=arguments)
print("version: minijinja", importlib.metadata.version("minijinja"), "and jinja2", importlib.metadata.version("jinja2"))
print("expected (jinja2):", expected)
print("seen (minijinja): ", seen)
as_described = expected != seen == expected.replace("1e-07", "0.0000001").replace("1e+20", "100000000000000000000.0")
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
