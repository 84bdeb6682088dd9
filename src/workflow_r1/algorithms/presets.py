"""Published settings of the objective's switches."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from workflow_r1.algorithms.units import UnitKind, WeightKind


@dataclass(frozen=True, slots=True)
class ObjectivePreset:
    """The switches of one published variant."""

    unit: UnitKind
    """What one importance ratio covers."""
    weight: WeightKind
    """How much a unit weighs."""
    clip_low: float
    """The ratio is clipped below ``1 - clip_low``."""
    clip_high: float
    """The ratio is clipped above ``1 + clip_high``."""


PRESETS: Mapping[str, ObjectivePreset] = MappingProxyType(
    {
        # Workflow-R1, arXiv:2602.01202. Its release sets no clip range, so that verl's default applies.
        "gsspo": ObjectivePreset(unit="turn", weight="uniform", clip_low=0.2, clip_high=0.2),
        # GSPO, arXiv:2507.18071, section 5.1.
        "gspo": ObjectivePreset(unit="sequence", weight="uniform", clip_low=3e-4, clip_high=4e-4),
        # GRPO, DeepSeekMath, arXiv:2402.03300, equation 3. It names no clip range: PPO's (arXiv:1707.06347).
        "grpo": ObjectivePreset(unit="token", weight="uniform", clip_low=0.2, clip_high=0.2),
    }
)
"""By name."""
