"""Published settings of the objective's switches."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from workflow_r1.algorithms.units import UnitKind, WeightKind


@dataclass(frozen=True, slots=True)
class ObjectivePreset:
    """The switches of one published variant."""

    unit: UnitKind
    """Extent of one importance ratio."""
    weight: WeightKind
    """Weight of a unit in the objective."""
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
"""Presets by name."""


def resolve_preset(
    name: str,
    *,
    unit: UnitKind | None = None,
    weight: WeightKind | None = None,
    clip_low: float | None = None,
    clip_high: float | None = None,
) -> ObjectivePreset:
    """Return the preset of that name with the switches that are given in place of its own.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"expected a preset of {sorted(PRESETS)}, received {name!r}")
    preset = PRESETS[name]
    return ObjectivePreset(
        unit=preset.unit if unit is None else unit,
        weight=preset.weight if weight is None else weight,
        clip_low=preset.clip_low if clip_low is None else clip_low,
        clip_high=preset.clip_high if clip_high is None else clip_high,
    )
