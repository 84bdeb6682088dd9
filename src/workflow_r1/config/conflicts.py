"""Values that are valid each by itself, and mean nothing good together."""

import json
from typing import TYPE_CHECKING

from workflow_r1.config.effect import KeysError
from workflow_r1.config.training import ON_POLICY_PRESETS

if TYPE_CHECKING:
    from workflow_r1.config.run import RunConfig


def refuse_keys_that_conflict(config: "RunConfig") -> None:
    """Refuse values that contradict others.

    Raises:
        KeysError: names all of them.
    """
    objective, training, found = config.objective, config.training, []
    advantage = objective.in_effect("advantage")
    if config.reward.cost.dial > 0 and advantage == "group_normalised":
        found.append(
            (
                "reward.cost.dial",
                'expected objective.advantage = "group_centred" or "leave_one_out" with a cost: "group_normalised" divides '
                "by the group's spread, so that where all of a group are right every dial above 0 weighs the same",
            )
        )
    if config.reward.cost.dial > 0 and config.engine == "verl":
        found.append(
            (
                "reward.cost.dial",
                "expected 0 on verl, which scores each trajectory alone, while the cost is compared within the group; use "
                'engine = "native" or "trl"',
            )
        )
    if objective.credit != "outcome" and config.engine != "native":
        found.append(
            (
                "objective.credit",
                f'expected "outcome" with engine = "{config.engine}", whose advantages are one number per trajectory; use '
                'engine = "native"',
            )
        )
    if objective.preset in ON_POLICY_PRESETS:
        found += [
            (
                key,
                f"expected {expected} with objective.preset = {json.dumps(objective.preset)}, which is on-policy: a step makes one "
                'optimiser step. To learn more often from a batch set the switches one by one, with objective.clip = "none"',
            )
            for key, expected, is_other in (
                ("training.epochs", "1", training.epochs > 1),
                (
                    "training.mini_batch_questions",
                    f"at least training.questions_per_step ({training.questions_per_step})",
                    training.mini_batch_questions < training.questions_per_step,
                ),
                ("training.staleness", "0", training.staleness > 0),
            )
            if is_other
        ]
    if objective.clip == "matched" and 0.0 in (objective.clip_low, objective.clip_high):
        found.append(
            (
                "objective.clip",
                'expected objective.clip_low and objective.clip_high above 0 with "matched", which scales them; give the range '
                "of the first step",
            )
        )
    if training.dynamic_sampling and advantage == "reward":
        found.append(
            (
                "training.dynamic_sampling",
                'expected 0 with objective.advantage = "reward": a group of equal rewards has a signal too, since rewards are '
                "compared with nothing",
            )
        )
    if training.dynamic_sampling and objective.credit != "outcome":
        found.append(
            (
                "training.dynamic_sampling",
                'expected 0, or objective.credit = "outcome": turns may differ in groups whose rewards are all equal',
            )
        )
    if found:
        raise KeysError(found)
