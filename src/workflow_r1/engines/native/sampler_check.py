"""Comparison of a server's log-probabilities with the trainer's distribution, on a run's first turns.

The sampled tokens are draws from the sampler: the mean of log p_sampler - log p_trainer over them estimates the
Kullback-Leibler divergence of the two. Between two engines that compute one distribution it is of the order of the
square of their rounding, below a thousandth of a nat. Log-probabilities that were renormalised over the nucleus lie all
to one side. Those before temperature lie to both; they equal the trainer's own at temperature 1.
"""

import math
from collections.abc import Sequence

from workflow_r1.errors import UserError
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.trajectory import Trajectory

SYSTEMATIC_NATS = 0.02
"""Mean difference over all tokens, in nats, from which on a distribution counts as another: 20 times the rounding."""

STANDARD_ERRORS = 4.0
"""Distance of the mean over the turns from that difference, in standard errors: chance alone exceeds it once in 30,000 runs."""

MIN_TURNS = 4
"""Fewer turns say nothing."""


MUCH_NEARER = 0.5
"""A mean absolute difference below this part of another's is the nearer one, even with the rounding that both share."""

CHECKED_TRAJECTORIES = 16
"""Trajectories on which a server's log-probabilities are compared with the trainer's."""

Differences = Sequence[Sequence[float]]
"""Differences log p_sampler - log p_trainer of each turn's tokens, in nats; the tokens were sampled from the very
weights that the trainer has.
"""


def of_version(trajectories: Sequence[Trajectory], policy_version: int) -> list[Trajectory]:
    """Return the first trajectories whose every turn the weights of a version wrote: others cannot be compared with them."""
    return [
        each
        for each in trajectories
        if not each.stop_reason.is_infrastructure and set(each.turn_versions) <= {policy_version}
    ][:CHECKED_TRAJECTORIES]


def refuse_another_distribution(
    differences: Differences, sampling: SamplingConfig, *, before_temperature: Differences = ()
) -> bool:
    """Refuse a run whose sampler reports log-probabilities of another distribution.

    Args:
        differences: differences to the trained distribution.
        sampling: settings of the turns' sampling.
        before_temperature: the same tokens' differences to the trainer's distribution at temperature 1, where that is
            another.

    Returns:
        Whether there were turns enough to say anything.

    Raises:
        UserError: the difference is systematic; the message says how large it is, and what to change.
    """
    turns = [turn for turn in differences if len(turn)]
    means = [sum(turn) / len(turn) for turn in turns]
    if any(math.isnan(value) for value in means):
        raise UserError(
            "expected log-probabilities from the policy server, received none: a run needs vLLM as its server; llama.cpp's serves "
            "for evaluation"
        )
    if len(means) < MIN_TURNS:
        return False
    centre = sum(means) / len(means)
    error = math.sqrt(sum((value - centre) ** 2 for value in means) / (len(means) - 1) / len(means))
    expected = "expected the policy server's log-probabilities to be those of the distribution that is trained, but"
    if before_temperature and _mean_size(before_temperature) < MUCH_NEARER * _mean_size(turns):
        raise UserError(
            f"{expected} over the first {len(means)} turns they are those before temperature ({sampling.temperature:g}): start vLLM "
            "with --logprobs-mode processed_logprobs, or set sampling.temperature = 1"
        )
    if abs(centre) - STANDARD_ERRORS * error < SYSTEMATIC_NATS:
        return True
    remedy = (
        "set sampling.top_p = 1, since the server renormalises over the nucleus"
        if sampling.top_p < 1
        else "check that the server has this model, in the same precision, and no sampling settings of its own"
    )
    raise UserError(
        f"{expected} over the first {len(means)} turns they differ from the trainer's by {centre:+.3f} nats a token, all to one "
        f"side (the turns' weights are around {math.exp(-centre):.2f}): {remedy}"
    )


def _mean_size(turns: Differences) -> float:
    values = [abs(value) for turn in turns for value in turn]
    return sum(values) / len(values)
