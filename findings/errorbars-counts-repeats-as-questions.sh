#!/usr/bin/env bash
# errorbars narrows the interval of a score where each question is answered several times.
#
# Expected (a guess, made before running): a column `sample` marks repeated answers to a question, so ten questions with eight
#   identical answers each have the interval of ten questions.
# What happens: `summarize` and `leaderboard` take the 80 rows for 80 questions, and the interval shrinks from 0.53 to 0.22, as if
#   70 questions had been added. Its own split of the variance finds none within the questions, and `compare` takes the mean of
#   each question first. With several samples per question, as for avg@8, the score looks much surer than it is.
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


def summary(samples):
    rows = [f"model,q{question},{question % 2},{sample}\n" for question in range(10) for sample in range(samples)]
    file = folder / "scores.csv"
    file.write_text("model,question_id,score,sample\n" + "".join(rows))
    command = [folder / "venv/bin/errorbars", "summarize", file, "--model", "model", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found["n"], round(found["ci_high"] - found["ci_low"], 2), found.get("within_between")


once, repeated = summary(1), summary(8)
print("version: errorbars", importlib.metadata.version("errorbars"))
print("expected: intervals of one width, since the repeats add nothing")
print("seen, one answer to each question:   ", once)
print("seen, eight answers to each question:", repeated)
as_described = once[:2] == (10, 0.53) and repeated[:2] == (80, 0.22) and repeated[2]["var_within"] == 0
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
