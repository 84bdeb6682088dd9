"""GSsPO as slime's custom loss; needs torch and this package only.

    --loss-type custom_loss --custom-loss-function-path slime_loss.gsspo

slime adds the samples of a batch up and divides by the global batch itself, so the loss here is a sum over trajectories.
Its own helper makes log-probabilities of Megatron's logits. Context parallelism cuts turns in pieces and is refused.
``docs/how-to/other-trainers.md`` says which signature was read where. slime itself was not run.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from workflow_r1.algorithms import policy_loss, turn_ids_from_mask, unit_ids


def gsspo(
    args: Any, batch: Mapping[str, Any], logits: Tensor, sum_of_sample_mean: Callable[[Tensor], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Turns are the runs of ones in a sample's loss mask; returns the loss and its metrics."""
    from slime.backends.megatron_utils.loss import get_log_probs_and_entropy

    _, scored = get_log_probs_and_entropy(
        logits,
        args=args,
        unconcat_tokens=batch["unconcat_tokens"],
        total_lengths=batch["total_lengths"],
        response_lengths=batch["response_lengths"],
    )
    if [len(row) for row in scored["log_probs"]] != [len(mask) for mask in batch["loss_masks"]]:
        raise ValueError("expected whole responses in this process: set context_parallel_size to 1")
    logprobs, old, advantages, mask = (
        pad_sequence(list(rows), batch_first=True)
        for rows in (scored["log_probs"], batch["log_probs"], batch["advantages"], batch["loss_masks"])
    )
    result = policy_loss(
        logprobs=logprobs,
        old_logprobs=old,
        advantages=advantages,
        unit_ids=unit_ids(turn_ids_from_mask(mask > 0), "turn"),
        clip_low=args.eps_clip,
        clip_high=args.eps_clip_high,
        num_trajectories=1,
    )
    clipped = result.metrics["clip_fraction_low"] + result.metrics["clip_fraction_high"]
    num = len(batch["loss_masks"])  # slime divides what is logged by the global batch, too.
    return result.loss, {"loss": result.loss.detach(), "pg_clipfrac": result.loss.new_tensor(clipped * num)}
