"""GSsPO as a registered policy loss of SkyRL; needs torch and this package only.

    from skyrl.backends.skyrl_train.utils.ppo_utils import register_policy_loss
    register_policy_loss("gsspo")(gsspo)        # then: trainer.algorithm.policy_loss_type=gsspo

Set ``trainer.algorithm.loss_reduction=sequence_mean``. SkyRL adds losses up and divides the advantages beforehand; under that
setting by (trajectories of the mini-batch x policy tokens of the trajectory). The second factor is taken back here, since a turn
weighs by the number of turns. ``docs/how-to/other-trainers.md`` says which signature was read where. SkyRL itself was not run.
"""

from typing import Any

from torch import Tensor

from workflow_r1.algorithms import policy_loss, turn_ids_from_mask, unit_ids


def gsspo(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    config: Any,
    loss_mask: Tensor,
    rollout_logprobs: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Turns are the runs of ones in ``loss_mask``; returns the summed loss and its metrics."""
    if config.loss_reduction != "sequence_mean":
        raise ValueError(f"expected loss_reduction='sequence_mean', received {config.loss_reduction!r}")
    result = policy_loss(
        logprobs=log_probs,
        old_logprobs=old_log_probs,
        advantages=advantages * loss_mask.sum(dim=-1, keepdim=True).clamp(min=1),
        unit_ids=unit_ids(turn_ids_from_mask(loss_mask > 0), "turn"),
        clip_low=config.eps_clip_low,
        clip_high=config.eps_clip_high,
        num_trajectories=1,  # The division by their number is in the advantages.
    )
    clipped = result.metrics["clip_fraction_low"] + result.metrics["clip_fraction_high"]
    return result.loss, {"clip_ratio": clipped, "approx_kl": result.metrics["approx_kl"]}
