#!/usr/bin/env bash
# Evalica's eigenvector ranking gives the worst model the highest score.
#
# Expected (a guess, made before running): the model that wins all its comparisons has the highest score, as by the package's other
#   methods.
# What happens: it has 0, and the model that wins 1 of 8 has the highest score. The result is sorted by the score, so its first
#   entry is the worst checkpoint.
# Versions: evalica 0.4.2, numpy 2.4.6, pandas 3.1.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check evalica==0.4.2 numpy==2.4.6 pandas==3.1.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
from collections import Counter

from evalica import Winner, average_win_rate, counting, eigen, elo, pagerank

pairs = [("best", "middle", 4, 0), ("middle", "worst", 3, 1), ("best", "worst", 4, 0)]
results = [(a, b, Winner.X) for a, b, wins, _ in pairs for _ in range(wins)]
results += [(a, b, Winner.Y) for a, b, _, losses in pairs for _ in range(losses)]
left, right, winners = zip(*results, strict=True)
wins = Counter(a if winner == Winner.X else b for a, b, winner in results)
games = Counter(left) + Counter(right)
print("version:", {name: importlib.metadata.version(name) for name in ("evalica", "numpy", "pandas")})
print("wins:", {name: f"{wins[name]} of {games[name]}" for name in ("best", "middle", "worst")})
print("expected: best, middle, worst, by every method")
orders = {}
for method in (counting, average_win_rate, elo, pagerank, eigen):
    result = method(left, right, winners).scores
    orders[method.__name__] = list(result.index)
    print("seen:", method.__name__, {name: round(float(score), 3) for name, score in result.items()})
reverse = orders.pop("eigen")
as_described = not result["best"] and all(order == reverse[::-1] == ["best", "middle", "worst"] for order in orders.values())
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
