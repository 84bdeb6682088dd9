"""Values that are valid each by itself, and mean nothing good together."""

from typing import TYPE_CHECKING

from workflow_r1.config.effect import KeysError

if TYPE_CHECKING:
    from workflow_r1.config.run import RunConfig


def refuse_keys_that_conflict(config: "RunConfig") -> None:
    """Refuse values that contradict others.

    Raises:
        KeysError: names all of them.
    """
    objective, found = config.objective, []
    if config.reward.cost.dial > 0 and objective.advantage == "group_normalised":
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
    if found:
        raise KeysError(found)
