#!/usr/bin/env bash
# SkyRL Gym's AIME environment tells 073 from 73.
#
# Expected (a guess, made before running): the answers of this competition are whole numbers from 000 to 999, written with three
#   digits, so 073 and 73 are the same answer.
# What happens: the two are compared as texts, and the wrong one of the two forms earns -1, as any wrong answer does. Which form
#   earns the reward depends on how the data set stores its references; `73.0` and `73.` are wrong too, and `7 3` is right.
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
    extras = {"reward_model": {"method": "rule", "ground_truth": reference}}
    return skyrl_gym.make("aime", env_config=DictConfig({}), extras=extras).step(f"Answer: {answer}")["reward"]


pairs = [("073", "73"), ("73", "073"), ("73", "73"), ("73.", "73"), ("7 3", "73")]
seen = [reward(*pair) for pair in pairs]
print("version: skyrl-gym", importlib.metadata.version("skyrl-gym"))
print("expected: 1 for the first four pairs")
for pair, value in zip(pairs, seen, strict=True):
    print("seen:", pair, value)
as_described = seen == [-1, -1, 1, -1, 1]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
