#!/usr/bin/env bash
# Evalica's Bradley-Terry ranking calls all models equal as soon as one of them wins all its comparisons.
#
# Expected (a guess, made before running): the model that wins all its comparisons has the highest score, perhaps a very large one.
# What happens: all scores are 0, also those of the other models, which beat each other. One draw of the best model brings back
#   the order. There is no warning. With a strong checkpoint among weak ones, or with few comparisons, the ranking says that
#   training changed nothing. Elo, of the same package, ranks them.
# Versions: evalica 0.4.2, numpy 2.4.6, pandas 3.1.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check evalica==0.4.2 numpy==2.4.6 pandas==3.1.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from evalica import Winner, bradley_terry, elo


def scores(method, results):
    left, right, winners = zip(*results, strict=True)
    return {name: round(float(score), 2) for name, score in method(left, right, winners).scores.sort_index().items()}


results = [("best", "middle", Winner.X)] * 4 + [("best", "worst", Winner.X)] * 4
results += [("middle", "worst", Winner.X)] * 3 + [("worst", "middle", Winner.X)]
seen = scores(bradley_terry, results)
draw = scores(bradley_terry, [*results, ("best", "middle", Winner.Draw)])
print("version:", {name: importlib.metadata.version(name) for name in ("evalica", "numpy", "pandas")})
print("expected: the scores fall from best to middle to worst")
print("seen:", seen)
print("seen with one draw:", draw)
print("seen, Elo:", scores(elo, results))
as_described = set(seen.values()) == {0.0} and draw["best"] > draw["middle"] > draw["worst"] > 0
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
