#!/usr/bin/env bash
# Half of GEM's sliding puzzles cannot be solved.
#
# Expected (a guess, made before running): a puzzle that an environment sets has a solution.
# What happens: the tiles are shuffled without regard to it: of 200 seeds of the easy game, whose board has 24 states, 88 begin
#   where the goal can be reached, and 8 of those begin at the goal. No policy wins more games than these, so a curve that levels
#   off below a half may be at its top.
# Versions: gem-llm 0.1.0, reasoning-gym 0.1.23. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check reasoning-gym==0.1.23
# The games need nothing else that the package requires, nor a Python before 3.13.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --ignore-requires-python --no-deps gem-llm==0.1.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import logging

logging.disable(logging.CRITICAL)
import gem  # noqa: E402

goal = (1, 2, 3, None)
reached, waiting = {goal}, [goal]
while waiting:
    board = waiting.pop()
    empty = board.index(None)
    for place in (empty ^ 1, empty ^ 2):  # the two neighbours on a board of two by two
        moved = list(board)
        moved[empty], moved[place] = moved[place], moved[empty]
        if tuple(moved) not in reached:
            reached.add(tuple(moved))
            waiting.append(tuple(moved))

game = gem.make("game:FifteenPuzzle-v0-easy")
starts = []
for seed in range(200):
    game.reset(seed=seed)
    starts.append(tuple(tile for row in game.board for tile in row))
solvable = sum(start in reached for start in starts)
print("version:", {name: importlib.metadata.version(name) for name in ("gem-llm", "reasoning-gym")})
print("states from which the goal can be reached:", len(reached), "of 24")
print("expected: 200 of 200 games begin in such a state")
print(f"seen: {solvable} of 200, of which {starts.count(goal)} begin at the goal")
as_described = len(reached) == 12 and (solvable, starts.count(goal)) == (88, 8)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
