"""GSsPO as OpenRLHF's policy loss: a module with the signature of its ``PolicyLoss``; needs torch and this package only.

Copy it, and let the actor's trainer use it (``self.actor_loss_fn = GSsPOLoss(...)`` in place of ``PolicyLoss(...)``).
``docs/how-to/other-trainers.md`` says which signature was read where. OpenRLHF itself was not run.
"""

from typing import Any

import torch
from torch import Tensor

from workflow_r1.algorithms import policy_loss, resolve_preset, turn_ids_from_mask, unit_ids


class GSsPOLoss(torch.nn.Module):
    """Turns are the runs of ones in ``action_mask``; a row without a one is left out.

    The switches replace the preset's; a range of None is the preset's own.
    """

    def __init__(
        self,
        clip_eps_low: float | None = None,
        clip_eps_high: float | None = None,
        preset: str = "gsspo",
        **switches: Any,
    ) -> None:
        super().__init__()
        self.switches = resolve_preset(preset, clip_low=clip_eps_low, clip_high=clip_eps_high, **switches)

    def forward(
        self,
        log_probs: Tensor,
        old_log_probs: Tensor,
        advantages: Tensor,
        action_mask: Tensor,
        rollout_log_probs: Tensor | None = None,
        dp_size: int = 1,
        batch_num_tokens: Tensor | None = None,
        global_batch_size: Tensor | float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return loss, share of clipped units, KL to the old policy, and no KL to the sampler.

        Where the trainer passes ``global_batch_size`` (trajectories of the whole batch) it averages gradients over
        ``dp_size`` processes; without it the mean is over the rows that are here.
        """
        # The weight "batch" needs the number of units, which OpenRLHF knows where they are tokens.
        num_tokens = batch_num_tokens if self.switches.unit == "token" else None
        result = policy_loss(
            logprobs=log_probs,
            old_logprobs=old_log_probs,
            advantages=advantages,
            unit_ids=unit_ids(turn_ids_from_mask(action_mask > 0), self.switches.unit),
            num_trajectories=None if global_batch_size is None else float(global_batch_size) / dp_size,
            num_units=None if num_tokens is None else float(num_tokens) / dp_size,
            **self.switches.of_loss(),
        )
        clipped = result.metrics["clip_fraction_low"] + result.metrics["clip_fraction_high"]
        return result.loss, torch.tensor(clipped), torch.tensor(result.metrics["approx_kl"]), None
