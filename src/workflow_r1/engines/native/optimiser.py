"""AdamW and its learning rate."""

import math

import torch
from torch import nn

from workflow_r1.config.training import OptimiserConfig


def build_optimiser(model: nn.Module, config: OptimiserConfig, *, learning_rate: float) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters; weight decay on matrices only, never on gains and biases.

    The learning rate stands in a plain number that :func:`set_learning_rate` replaces before every step: it is a
    function of the step, and a resume has no scheduler to restore.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=learning_rate, betas=config.betas, fused=True
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def linear_warmup(step: int, *, peak: float, warmup_steps: int) -> float:
    """Return the learning rate of optimiser step 1, 2, ...: rising to ``peak`` over the warm-up, then constant."""
    return peak * min(1.0, step / (warmup_steps + 1))


def warmup_cosine(step: int, *, num_steps: int, peak: float, warmup_steps: int, final_fraction: float) -> float:
    """Return the learning rate of optimiser step 1 ... ``num_steps``: linear rise, then half a cosine.

    The last step has ``final_fraction * peak``.
    """
    if step <= warmup_steps:
        return peak * step / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return peak * (final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))
