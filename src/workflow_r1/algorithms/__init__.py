"""The mathematics of the update: pure functions of tensors, which know only torch.

``units`` -> ``advantage``, ``credit``, ``clip``, ``loss``, ``kl``, ``correction``, ``metrics``; ``presets`` names the published variants.
``docs/explanation/objective.md`` explains the objective and how to use it in another trainer,
``docs/explanation/algorithms.md`` has every equation beside its function.
"""

from workflow_r1.algorithms.advantage import (
    AdvantageKind,
    advantages,
    group_advantages,
    leave_one_out_advantages,
)
from workflow_r1.algorithms.clip import ClipKind, matched_scale
from workflow_r1.algorithms.correction import turn_correction
from workflow_r1.algorithms.credit import spread_turns, turn_advantages
from workflow_r1.algorithms.kl import KLKind, kl_estimate, kl_loss
from workflow_r1.algorithms.loss import LOG_RATIO_BOUND, PolicyLoss, policy_loss
from workflow_r1.algorithms.metrics import turn_metrics
from workflow_r1.algorithms.presets import PRESETS, ObjectivePreset, resolve_preset
from workflow_r1.algorithms.units import UnitKind, WeightKind, turn_ids_from_mask, unit_ids

__all__ = [
    "LOG_RATIO_BOUND",
    "PRESETS",
    "AdvantageKind",
    "ClipKind",
    "KLKind",
    "ObjectivePreset",
    "PolicyLoss",
    "UnitKind",
    "WeightKind",
    "advantages",
    "group_advantages",
    "kl_estimate",
    "kl_loss",
    "leave_one_out_advantages",
    "matched_scale",
    "policy_loss",
    "resolve_preset",
    "spread_turns",
    "turn_advantages",
    "turn_correction",
    "turn_ids_from_mask",
    "turn_metrics",
    "unit_ids",
]
