"""Write ``tests/engines/golden_batch.json``: one small batch, with the loss and gradient that every engine must
compute.

Loss and gradient are computed here in plain Python, term by term from the formulas of ``docs/explanation/objective.md``, with none of
the package's mathematics: the engines are held to the formulas, not to each other.

    python scripts/golden_batch.py
"""

import json
import math
import random
import re
from pathlib import Path

FILE = Path(__file__).parents[1] / "tests" / "engines" / "golden_batch.json"

CLIP_LOW, CLIP_HIGH, KL_COEFFICIENT = 0.06, 0.1, 0.05

# Name, group, reward (None: the infrastructure failed), turn id of each response token (0: not the policy's).
# In a real trajectory a turn has at least its end-of-turn token; an empty one is an id that no token has.
TRAJECTORIES = [
    ("ragged turns", 0, 1.0, [1, 1, 1, 1, 1, 0, 0, 2, 2, 0, 3, 3, 3]),
    ("one turn", 0, 0.0, [1, 1, 1, 1]),
    ("an empty turn", 0, -0.5, [1, 1, 0, 0, 3, 3, 3, 3]),
    ("a masked failure", 0, None, [1, 1, 1, 0, 2, 2]),
    ("many turns", 1, 0.5, [1, 0, 2, 2, 0, 3, 3, 0, 0, 4, 0, 5, 5, 5, 0, 6]),
    ("a turn of one token", 1, -1.5, [1, 0, 2, 2, 2, 2, 2, 2]),
    ("one long turn", 1, 1.0, [1] * 11),
]


def main() -> None:
    """Write the file."""
    rng = random.Random(20260202)
    trajectories = []
    for name, group, reward, turns in TRAJECTORIES:
        old = [round(-rng.expovariate(0.8), 4) for _ in turns]
        # A turn's ratio strays from 1 on the whole; single tokens stray more.
        stray = {turn: rng.uniform(-0.2, 0.2) for turn in set(turns)}
        current = [round(min(-0.001, o + stray[t] + rng.gauss(0, 0.05)), 4) for o, t in zip(old, turns, strict=True)]
        reference = [round(min(-0.001, o + rng.gauss(0, 0.3)), 4) for o in old]
        trajectories.append(
            {
                "name": name,
                "group": group,
                "reward": reward,
                "prompt_token_ids": [10 + len(trajectories), 3, 4, 5][: 2 + len(trajectories) % 3],
                "response_token_ids": [20 + rng.randrange(40) for _ in turns],
                "turn_ids": turns,
                "logprobs": current,
                "old_logprobs": old,
                "ref_logprobs": reference,
            }
        )
    batch = {
        "about": "Written by scripts/golden_batch.py, which explains it. Lists are aligned with response_token_ids; where "
        "turn_ids is 0 the log-probabilities mean nothing and must not matter. `expected` is float64; gradients are with "
        "respect to logprobs.",
        "clip_low": CLIP_LOW,
        "clip_high": CLIP_HIGH,
        "kl_coefficient": KL_COEFFICIENT,
        "kl_kind": "k3",
        "trajectories": trajectories,
        "advantages": advantages(trajectories),
    }
    batch["expected"] = {
        weight: objective(trajectories, batch["advantages"], weight) for weight in ("uniform", "length")
    }
    text = json.dumps(batch, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found.group().split()), text)  # One line for each list.
    FILE.write_text(text + "\n", encoding="utf-8")


def advantages(trajectories: list[dict]) -> list[float]:
    """(reward - mean) / (standard deviation + 1e-6) among the scored of each group; 0 for a failure."""
    found = []
    for trajectory in trajectories:
        rewards = [t["reward"] for t in trajectories if t["group"] == trajectory["group"] and t["reward"] is not None]
        mean = sum(rewards) / len(rewards)
        std = math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1))
        found.append(0.0 if trajectory["reward"] is None else (trajectory["reward"] - mean) / (std + 1e-6))
    return found


def objective(trajectories: list[dict], values: list[float], weight: str) -> dict:
    """Policy loss, KL loss and their gradients, with turns as the units.

    Args:
        trajectories: as in the file.
        values: their advantages.
        weight: weight of a turn in its trajectory: ``uniform`` 1/K, or ``length`` L/T.
    """
    num_scored = sum(trajectory["reward"] is not None for trajectory in trajectories)
    policy_loss = kl_loss = 0.0
    policy_gradient, kl_gradient = [], []
    for trajectory, advantage in zip(trajectories, values, strict=True):
        of_policy, of_kl = [0.0] * len(trajectory["turn_ids"]), [0.0] * len(trajectory["turn_ids"])
        policy_gradient.append(of_policy)
        kl_gradient.append(of_kl)
        if trajectory["reward"] is None:
            continue
        places: dict[int, list[int]] = {}
        for place, turn in enumerate(trajectory["turn_ids"]):
            if turn:
                places.setdefault(turn, []).append(place)
        num_tokens = sum(map(len, places.values()))
        for tokens in places.values():
            share = (1 / len(places) if weight == "uniform" else len(tokens) / num_tokens) / num_scored
            difference = [trajectory["logprobs"][t] - trajectory["old_logprobs"][t] for t in tokens]
            ratio = math.exp(sum(difference) / len(tokens))
            clipped = min(max(ratio, 1 - CLIP_LOW), 1 + CLIP_HIGH)
            policy_loss -= share * min(ratio * advantage, clipped * advantage)
            moves = ratio * advantage <= clipped * advantage
            for t in tokens:
                if moves:
                    of_policy[t] = -share * advantage * ratio / len(tokens)
                d = trajectory["logprobs"][t] - trajectory["ref_logprobs"][t]
                kl_loss += share * (math.exp(-d) - 1 + d) / len(tokens)
                of_kl[t] = share * (1 - math.exp(-d)) / len(tokens)
    return {
        "policy_loss": policy_loss,
        "kl_loss": kl_loss,
        "loss": policy_loss + KL_COEFFICIENT * kl_loss,
        "policy_gradient": policy_gradient,
        "kl_gradient": kl_gradient,
    }


if __name__ == "__main__":
    main()
