"""The objectives that the toy compares, and the pairs of them."""

import dataclasses

from workflow_r1.algorithms import UnitKind, WeightKind


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """One objective."""

    unit: UnitKind
    weight: WeightKind
    clip_low: float = 0.2
    clip_high: float = 0.2
    reference_length: float | None = None
    """Length at which the clip range is the given one (FSPO's square-root band, arXiv:2509.09177)."""
    share: float | None = None
    """If set, the range is adapted after each batch until it removes this share of the gradient's mass."""

    @property
    def weighs_turns(self) -> bool:
        """True where tokens of a short turn weigh more than those of a long one."""
        return self.unit == "turn" and self.weight == "uniform"


NEVER = 1e9
"""A clip range that no ratio leaves."""

ARMS = {
    "token": Arm("token", "uniform"),
    "turn/uniform": Arm("turn", "uniform"),
    "turn/length": Arm("turn", "length"),
    "turn/length narrow": Arm("turn", "length", 3e-3, 4e-3),
    "turn/length band": Arm("turn", "length", reference_length=1.0),
    "sequence": Arm("sequence", "uniform", 3e-4, 4e-4),
    "sequence band": Arm("sequence", "uniform", reference_length=1.0),
    "token matched": Arm("token", "uniform", reference_length=1.0, share=0.05),
    "turn/length matched": Arm("turn", "length", reference_length=1.0, share=0.05),
    "sequence matched": Arm("sequence", "uniform", reference_length=1.0, share=0.05),
    "token unclipped": Arm("token", "uniform", 1.0, NEVER),
    "turn/length unclipped": Arm("turn", "length", 1.0, NEVER),
    "token tight": Arm("token", "uniform", 0.1, 0.1),
    "turn/length band tight": Arm("turn", "length", 0.1, 0.1, reference_length=1.0),
    "sequence band tight": Arm("sequence", "uniform", 0.1, 0.1, reference_length=1.0),
    "token wide": Arm("token", "uniform", 0.5, 1.0),
    "token widest": Arm("token", "uniform", 0.8, 4.0),
    "turn/length band wide": Arm("turn", "length", 0.5, 1.0, reference_length=1.0),
    "turn/length band widest": Arm("turn", "length", 0.8, 4.0, reference_length=1.0),
    "sequence band wide": Arm("sequence", "uniform", 0.5, 1.0, reference_length=1.0),
    "sequence band widest": Arm("sequence", "uniform", 0.8, 4.0, reference_length=1.0),
    "sequence unclipped": Arm("sequence", "uniform", 1.0, NEVER),
}
"""Arms by name. Ranges: .2 is PPO's and the paper's default; narrow is AT2PO's; the sequence's is GSPO's. A matched range
begins as the band; 5% is the share of ``examples/studies/unit.toml``. Wide lets a ratio halve and double, widest change
by a factor of 5, each over the root of the unit's length."""

RANGES = {
    "token": ("token tight", "token", "token wide", "token widest", "token unclipped"),
    "turn": (
        "turn/length band tight", "turn/length band", "turn/length band wide", "turn/length band widest",
        "turn/length unclipped",
    ),
    "sequence": (
        "sequence band tight", "sequence band", "sequence band wide", "sequence band widest", "sequence unclipped",
    ),
}  # fmt: skip
"""The ranges that each unit tries, by one budget: .1, .2, wide, widest (over the root of the length) and none. The tuning
seeds choose one for each dose."""

CONTRASTS = (
    ("turn/length", "token"),
    ("turn/length band", "token"),
    ("sequence band", "token"),
    ("turn/length band", "sequence band"),
    ("turn/uniform", "turn/length"),
    ("turn/length", "turn/length unclipped"),
    ("turn/length", "turn/length band"),
    ("turn/length narrow", "turn/length band"),
    ("sequence", "sequence band"),
    ("turn/length unclipped", "token unclipped"),
    ("turn/length matched", "token matched"),
    ("sequence matched", "token matched"),
    ("turn/length matched", "sequence matched"),
)
"""Pairs of arms that are compared, chosen before the first run; but the matched ones when fifteen seeds of the others had
shown that the range matters. Units at the best of their :data:`RANGES` are a family of their own, chosen when thirty
seeds of all these had shown that a token's range of .2 is too narrow."""
