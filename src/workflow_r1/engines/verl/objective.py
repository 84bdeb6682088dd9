"""Advantage and loss in verl's words: registered there, computed by ``workflow_r1.algorithms``.

verl's loss hook knows no turn ids: it gets a mask, in which a turn is a run of ones. Every turn is followed by at least
one token that is not the policy's, so that the runs are the turns (``policy.packing``).

verl divides by the number of rows of a mini-batch, rows without any policy token included: infrastructure failures, and
the rows with which it fills up a batch. We divide by the trajectories that were scored. The advantage therefore carries
the factor between the two, over the whole step.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from verl.trainer.ppo.core_algos import register_adv_est, register_policy_loss
from verl.workers.config import ActorConfig

from workflow_r1.algorithms import (
    LOG_RATIO_BOUND,
    ObjectivePreset,
    advantages,
    policy_loss,
    resolve_preset,
    turn_correction,
    turn_ids_from_mask,
    unit_ids,
)
from workflow_r1.config.training import ObjectiveConfig
from workflow_r1.engines.verl.described_run import described_run
from workflow_r1.engines.verl.options import AGGREGATION, LOSS
from workflow_r1.environment import EnvironmentConfig


@register_adv_est(LOSS)
def gsspo_advantages(
    token_level_rewards: Float[Tensor, "batch time"],
    response_mask: Int[Tensor, "batch time"],
    index: NDArray[Any],
    **_: Any,
) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """Compare each trajectory's reward with those of its group; rows without a policy token have none.

    Args:
        token_level_rewards: the trajectory's reward, at one of its tokens.
        response_mask: nonzero where a token is the policy's.
        index: group name of each row.

    Returns:
        Advantages times rows over scored trajectories, at the policy's tokens; twice, since verl asks for returns, too.
    """
    valid = response_mask.any(dim=1)
    group_ids = torch.from_numpy(np.unique(index.astype(str), return_inverse=True)[1]).to(response_mask.device)
    rewards = token_level_rewards.sum(dim=1, dtype=torch.float64)
    switches = _switches()
    values = advantages(rewards, group_ids, kind=switches.advantage, valid=valid)
    if switches.weight != "batch":  # There the number of trajectories cancels.
        values = values * (len(valid) / max(1, int(valid.sum())))
    spread = values.to(token_level_rewards.dtype)[:, None] * response_mask
    return spread, spread


@register_policy_loss(LOSS)
def gsspo_loss(
    old_log_prob: Float[Tensor, "batch time"],
    log_prob: Float[Tensor, "batch time"],
    advantages: Float[Tensor, "batch time"],
    response_mask: Tensor,
    loss_agg_mode: str,
    config: ActorConfig,
    rollout_is_weights: Float[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Compute this micro-batch's part of the loss of its mini-batch.

    The clip range is ``actor.clip_ratio_low`` and ``clip_ratio_high``; unit, weight and the rest come from the run's
    ``[objective]``, or are GSsPO's where verl was started by other means than ours.

    Args:
        old_log_prob: log-probabilities under the policy that the update started from, in nats.
        log_prob: log-probabilities under the policy, in nats.
        advantages: advantages, constant over a trajectory.
        response_mask: nonzero where a token is the policy's.
        loss_agg_mode: verl's mode of aggregation; must be :data:`~workflow_r1.engines.verl.options.AGGREGATION`.
        config: configuration of verl's actor, with the counts of the mini-batch in ``global_batch_info``.
        rollout_is_weights: verl's correction per token, exp of trainer less sampler; its mean over each turn is taken, in
            the logarithm, and truncated at ``objective.correction_cap``.

    Returns:
        The loss, scaled so that the mean over data-parallel ranks is the mini-batch's; and metrics.
    """
    if loss_agg_mode != AGGREGATION:
        raise ValueError(f"expected actor.loss_agg_mode={AGGREGATION} with our loss, received {loss_agg_mode}")
    objective = _objective()
    switches = replace(_switches(), clip_low=config.clip_ratio_low, clip_high=config.clip_ratio_high)
    info = config.global_batch_info
    turns = turn_ids_from_mask(response_mask)
    correction = None
    if rollout_is_weights is not None:
        # As if the sampler had said 0: the rest is the difference between the two.
        difference = rollout_is_weights.clamp(min=1e-20).log()
        correction = turn_correction(
            old_logprobs=difference,
            sampler_logprobs=torch.zeros_like(difference),
            unit_ids=turns,
            cap=objective.correction_cap or float(np.exp(LOG_RATIO_BOUND)),
        )
    result = policy_loss(
        logprobs=log_prob,
        old_logprobs=old_log_prob,
        advantages=advantages,
        unit_ids=unit_ids(turns, switches.unit),
        unit_correction=correction,
        num_trajectories=info.get("global_batch_size"),
        num_units=info.get("batch_num_tokens") if switches.unit == "token" else None,
        **switches.of_loss(),
    )
    # verl averages these over micro-batches and ranks, so only means are passed on.
    means = ("ratio_mean", "clip_fraction_low", "clip_fraction_high", "gradient_mass_removed", "approx_kl")
    return result.loss * info.get("dp_size", 1), {f"actor/{name}": result.metrics[name] for name in means}


def _objective() -> ObjectiveConfig:
    run = described_run()
    return ObjectiveConfig() if run is None else run.config.objective


def _switches() -> ObjectivePreset:
    run = described_run()
    environment = EnvironmentConfig() if run is None else run.config.environment
    objective = _objective()
    return resolve_preset(objective.preset, **objective.switches(max_response_tokens=environment.max_response_tokens))
