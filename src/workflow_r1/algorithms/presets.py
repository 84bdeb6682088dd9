"""Published settings of the objective's switches."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from workflow_r1.algorithms.advantage import AdvantageKind
from workflow_r1.algorithms.clip import ClipKind
from workflow_r1.algorithms.units import UnitKind, WeightKind


@dataclass(frozen=True, slots=True)
class ObjectivePreset:
    """The switches of one published variant; ``docs/explanation/algorithms.md`` has all of them in a table."""

    unit: UnitKind
    """Extent of one importance ratio."""
    weight: WeightKind
    """Weight of a unit in the objective."""
    clip_low: float
    """The ratio is clipped below ``1 - clip_low``."""
    clip_high: float
    """The ratio is clipped above ``1 + clip_high``."""
    clip: ClipKind = "fixed"
    """Bound on a unit's term; ``none`` and ``sapo`` do not read the range."""
    advantage: AdvantageKind = "group_normalised"
    """Conversion of a group's rewards to advantages."""
    weight_length: float | None = None
    """C of the weight ``constant``. None where the caller knows it: Dr. GRPO's is the budget of a response."""
    clip_reference_length: float | None = None
    """If set, both ranges of a unit of L tokens are scaled by ``sqrt(clip_reference_length / L)``."""
    clip_share: float = 0.05
    """Share of the gradient's mass that a ``matched`` range removes."""
    dual_clip: float | None = None
    """If set, the ratio beyond which a negative advantage has no gradient either."""
    sapo_temperature_positive: float = 1.0
    """Temperature of SAPO's gate at positive advantages."""
    sapo_temperature_negative: float = 1.05
    """The same at the others."""

    def of_loss(self, *, clip_scale: float = 1.0) -> dict[str, Any]:
        """Return the keyword arguments of :func:`~workflow_r1.algorithms.policy_loss` that are switches.

        Args:
            clip_scale: factor of the range, where the clip is ``matched``.
        """
        scale = clip_scale if self.clip == "matched" else 1.0
        return {
            **self.of_weight(),
            "clip": "fixed" if self.clip == "matched" else self.clip,
            "clip_low": scale * self.clip_low,
            "clip_high": scale * self.clip_high,
            "clip_reference_length": self.clip_reference_length,
            "dual_clip": self.dual_clip,
            "sapo_temperature_positive": self.sapo_temperature_positive,
            "sapo_temperature_negative": self.sapo_temperature_negative,
        }

    def of_range(self, *, clip_scale: float = 1.0) -> dict[str, Any]:
        """Return the range outside which a gradient is removed, as :func:`~workflow_r1.algorithms.turn_metrics` takes it.

        It is endless where the clip removes no gradient.
        """
        if self.clip not in ("fixed", "matched"):
            return {"clip_low": math.inf, "clip_high": math.inf}
        names = ("clip_low", "clip_high", "clip_reference_length", "dual_clip")
        return {name: value for name, value in self.of_loss(clip_scale=clip_scale).items() if name in names}

    def of_weight(self) -> dict[str, Any]:
        """Return the keyword arguments that :func:`~workflow_r1.algorithms.kl_loss` shares with the policy loss."""
        return {"weight": self.weight, "weight_length": self.weight_length}


_RESPONSE = ObjectivePreset(
    unit="sequence", weight="constant", weight_length=1.0, clip="none", clip_low=0.2, clip_high=0.2, advantage="reward"
)
"""The whole response as one action, learned from once: the gradient is A times the sum of its tokens'."""

PRESETS: Mapping[str, ObjectivePreset] = MappingProxyType(
    {
        # Workflow-R1, arXiv:2602.01202. Its release sets no clip range, so that verl's default applies.
        "gsspo": ObjectivePreset(unit="turn", weight="uniform", clip_low=0.2, clip_high=0.2),
        # GSPO, arXiv:2507.18071, section 5.1.
        "gspo": ObjectivePreset(unit="sequence", weight="uniform", clip_low=3e-4, clip_high=4e-4),
        # GRPO, DeepSeekMath, arXiv:2402.03300, equation 3. It names no clip range: PPO's (arXiv:1707.06347).
        "grpo": ObjectivePreset(unit="token", weight="uniform", clip_low=0.2, clip_high=0.2),
        # DAPO, arXiv:2503.14476, sections 3.1 and 3.3. Its dynamic sampling is `training.dynamic_sampling`.
        "dapo": ObjectivePreset(unit="token", weight="batch", clip_low=0.2, clip_high=0.28),
        # Dr. GRPO, arXiv:2503.20783, section 3.
        "dr_grpo": ObjectivePreset(
            unit="token", weight="constant", clip_low=0.2, clip_high=0.2, advantage="group_centred"
        ),
        # SAPO, arXiv:2511.20347.
        "sapo": ObjectivePreset(unit="token", weight="uniform", clip="sapo", clip_low=0.2, clip_high=0.2),
        # CISPO, MiniMax-M1, arXiv:2506.13585, equation 4. It bounds the weight from above alone and does not say where:
        # at 5, as ScaleRL (arXiv:2510.13786) does.
        "cispo": ObjectivePreset(unit="token", weight="batch", clip="cispo", clip_low=1.0, clip_high=4.0),
        # LUSPO, arXiv:2602.05261: GSPO's loss of a sequence times its length. The range is GSPO's.
        "luspo": ObjectivePreset(unit="sequence", weight="constant", weight_length=1.0, clip_low=3e-4, clip_high=4e-4),
        # RLOO, arXiv:2402.14740, equation 8.
        "rloo": replace(_RESPONSE, advantage="leave_one_out"),
        # REINFORCE without a baseline: Williams (1992); arXiv:2402.14740, section 2.
        "reinforce": _RESPONSE,
    }
)
"""Presets by name."""


def resolve_preset(name: str, **switches: Any) -> ObjectivePreset:
    """Return the preset of that name with the switches that are given in place of its own.

    Args:
        name: a key of :data:`PRESETS`.
        **switches: fields of :class:`ObjectivePreset`; those that are None stay the preset's.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"expected a preset of {sorted(PRESETS)}, received {name!r}")
    return replace(PRESETS[name], **{field: value for field, value in switches.items() if value is not None})
