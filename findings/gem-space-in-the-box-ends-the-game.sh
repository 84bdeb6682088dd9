#!/usr/bin/env bash
# In GEM's guessing games a space inside the box loses the game.
#
# Expected (a guess, made before running): `\boxed{ 7 }` is the guess 7, as `\boxed{07}` is.
# What happens: a space beside the number, or a comma between the digits of a code, ends the game at once with -0.1, while
#   `\boxed{1000}`, where the numbers go to 10, costs a turn and no more. A policy that knows the answer is punished for its
#   spelling.
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

number = gem.make("game:GuessTheNumber-v0-easy")
code = gem.make("game:Mastermind-v0-easy")
number.reset(seed=1)
secret = number.game_number
code.reset(seed=1)
first, second = code.game_code
cases = {
    "the number": (number, f"\\boxed{{{secret}}}"),
    "the number with a zero": (number, f"\\boxed{{0{secret}}}"),
    "the number with spaces": (number, f"\\boxed{{ {secret} }}"),
    "1000": (number, "\\boxed{1000}"),
    "the code": (code, f"\\boxed{{{first} {second}}}"),
    "the code with a comma": (code, f"\\boxed{{{first}, {second}}}"),
    "the code with spaces": (code, f"\\boxed{{ {first} {second} }}"),
    "9 9": (code, "\\boxed{9 9}"),
}
print("version:", {name: importlib.metadata.version(name) for name in ("gem-llm", "reasoning-gym")})
print("expected: reward 1 and the end of the game for each spelling of the secret")
seen = []
for label, (game, action) in cases.items():
    game.reset(seed=1)
    _, reward, ended, _, _ = game.step(action)
    seen.append((reward, ended))
    print(f"seen: {label}: reward {reward}, ended: {ended}")
won, lost, free = (1.0, True), (-0.1, True), (0.0, False)
as_described = seen == [won, won, lost, free, won, lost, lost, free]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
