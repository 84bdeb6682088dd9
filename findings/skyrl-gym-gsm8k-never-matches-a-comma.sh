#!/usr/bin/env bash
# SkyRL Gym's GSM8K environment takes the comma out of an answer, and not out of the reference.
#
# Expected (a guess, made before running): an answer that is the reference, letter for letter, earns 1, also where both have a
#   thousands separator; a full stop after the number is no matter.
# What happens: the comma is removed from the answer alone, so the reference `1,000` is out of reach for every answer. The full
#   stop becomes part of the number, and `18.` earns 0. Prepare the references, or all questions with large numbers are lost.
# Versions: skyrl-gym 0.4.0, omegaconf 2.4.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check skyrl-gym==0.4.0 omegaconf==2.4.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import skyrl_gym
from omegaconf import DictConfig


def reward(answer, reference):
    extras = {"reward_spec": {"method": "rule", "ground_truth": reference}}
    return skyrl_gym.make("gsm8k", env_config=DictConfig({}), extras=extras).step(answer)["reward"]


pairs = [("#### 1,000", "1,000"), ("#### 1000", "1,000"), ("#### 1,000", "1000"), ("#### 18.", "18"), ("#### 18", "18")]
seen = [reward(*pair) for pair in pairs]
print("version: skyrl-gym", importlib.metadata.version("skyrl-gym"))
print("expected: 1 for each pair")
for pair, value in zip(pairs, seen, strict=True):
    print("seen:", pair, value)
as_described = seen == [0, 0, 1, 0, 1]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
