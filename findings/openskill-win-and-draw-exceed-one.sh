#!/usr/bin/env bash
# openskill's probabilities of a win, a loss and a draw sum to more than 1.
#
# Expected (a guess, made before running): of two players one wins, or they draw, so the two probabilities of `predict_win` and the
#   one of `predict_draw` sum to 1.
# What happens: the two of `predict_win` already sum to 1, as if no game were drawn, and two new players draw with .24 besides. A
#   table of checkpoints with a column for each outcome adds up to 1.24, and what one reads as the chance to win holds half of the
#   draws.
# Versions: openskill 6.2.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openskill==6.2.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from openskill.models import BradleyTerryFull, PlackettLuce, ThurstoneMostellerFull

print("version: openskill", importlib.metadata.version("openskill"))
print("expected: a sum of 1")
sums = []
for kind in (PlackettLuce, BradleyTerryFull, ThurstoneMostellerFull):
    model = kind()
    for mu in (25, 30):
        teams = [[model.rating(mu=mu)], [model.rating()]]
        wins, draw = model.predict_win(teams), model.predict_draw(teams)
        sums.append((round(sum(wins), 6), round(sum(wins) + draw, 2)))
        print(f"seen: {kind.__name__}, ratings {mu} and 25: wins {wins}, draw {draw}, sum {sum(wins) + draw}")
as_described = sums == [(1, 1.24), (1, 1.22)] * 3
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
