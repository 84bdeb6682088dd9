#!/usr/bin/env bash
# errorbars finds no difference between a model that is right on every question and one that is wrong on every question.
#
# Expected (a guess, made before running): the p-value of 20 right answers against 0 is far below 0.001.
# What happens: it is 1, since the paired differences are all 1 and their standard error is 0. The leaderboard puts both models into
#   one group, of those that cannot be told apart. With a single question on which both agree, the p-value is 8e-14. McNemar's
#   test, printed beside it in `compare`, is right. A gate on the p-value fails for the clearest improvement of all.
# Versions: errorbars 0.2.4. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check errorbars==0.2.4

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import json
import pathlib
import subprocess
import sys

folder = pathlib.Path(sys.argv[1])


def report(command, worse, *options):
    rows = [("good", question, 1) for question in range(20)] + [("bad", question, score) for question, score in enumerate(worse)]
    file = folder / "scores.csv"
    file.write_text("model,question_id,score\n" + "".join(f"{model},q{question},{score}\n" for model, question, score in rows))
    done = subprocess.run([folder / "venv/bin/errorbars", command, file, "--json", *options], capture_output=True, check=True)
    return json.loads(done.stdout)


pair = ("--model-a", "good", "--model-b", "bad")
none = report("compare", [0] * 20, *pair)
one = report("compare", [1] + [0] * 19, *pair)
groups = report("leaderboard", [0] * 20)["groups"]
print("version: errorbars", importlib.metadata.version("errorbars"))
print("expected: p < 0.001 for 20 against 0 of 20 and for 20 against 1, and a group for each model")
print("seen, 20 against 0:", none["p_value"], "by the paired test,", none["mcnemar"]["p_value"], "by McNemar's")
print("seen, 20 against 1:", one["p_value"])
print("seen, groups:", groups)
as_described = none["p_value"] == 1 and none["mcnemar"]["p_value"] < 1e-5 and one["p_value"] < 1e-12 and len(groups) == 1
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
