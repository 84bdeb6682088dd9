#!/usr/bin/env bash
# A TextArena environment that is reset shows the last game in the new one's prompt.
#
# Expected (a guess, made before running): `reset` starts a new game: its first observation is what a newly made environment
#   shows for the same seed.
# What happens: the wrapper of the default ids keeps the text of the game before, answers and feedback included, and puts it
#   before the new prompt. For a second episode make a new environment, or use the id that ends in `-raw`.
# Versions: textarena 0.7.4. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check textarena==0.7.4

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

import textarena


def first_observation(environment):
    environment.reset(num_players=1, seed=7)
    return environment.get_observation()[1]


environment = textarena.make("GuessTheNumber-v0")
fresh = first_observation(environment)
for guess in range(1, 21):
    done, _ = environment.step(f"[{guess}]")
    if done:
        break
    environment.get_observation()
again = first_observation(environment)
print("version: textarena", importlib.metadata.version("textarena"))
print("expected:", len(fresh), "characters, equal to the first game's prompt")
print("seen:    ", len(again), "characters; begins with the first prompt:", again.startswith(fresh))
print("          the first guess of the last game is in it:", "[Player] [1]" in again)
as_described = len(again) > len(fresh) and again.startswith(fresh) and again.endswith(fresh) and "[Player] [1]" in again
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
