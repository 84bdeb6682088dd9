"""Units of the importance ratio: which tokens belong together, and how much each unit weighs."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

UnitKind = Literal["token", "turn", "sequence", "think_action"]
"""Extent of one importance ratio."""

WeightKind = Literal["uniform", "length", "batch", "constant"]
"""Weight of a unit in the objective."""


@dataclass(frozen=True, slots=True)
class Units:
    """The M policy tokens of a batch, in row-major order, and the U units that they form.

    Presence alone distinguishes units: ids may have gaps and may be of any size. They are sorted by row, then by id.
    """

    mask: Bool[Tensor, "batch time"]
    """True where a token is the policy's."""
    unit_of_token: Int[Tensor, " tokens"]
    """Index into the units, for each policy token."""
    row_of_unit: Int[Tensor, " units"]
    """Row of the batch (trajectory) that a unit belongs to."""
    id_of_unit: Int[Tensor, " units"]
    """The unit's id, as given."""
    length: Int[Tensor, " units"]
    """Number of policy tokens in the unit, L_ik; at least 1."""


def turn_ids_from_mask(
    policy_mask: Bool[Tensor, "batch time"] | Integer[Tensor, "batch time"],
) -> Int[Tensor, "batch time"]:
    """Number the runs of policy tokens in each row.

    Two turns without a token between them look like one here: where turn ids were recorded, use those.

    Args:
        policy_mask: nonzero where a token is the policy's.

    Returns:
        1 for the first run of a row, 2 for the second, ...; 0 outside the runs.
    """
    mask = policy_mask != 0
    starts = mask.clone()
    starts[:, 1:] &= ~mask[:, :-1]
    return starts.long().cumsum(dim=1) * mask


def unit_ids(
    turn_ids: Int[Tensor, "batch time"],
    unit: UnitKind,
    *,
    is_think: Bool[Tensor, "batch time"] | None = None,
) -> Int[Tensor, "batch time"]:
    """Turn the turn ids of tokens into unit ids.

    Args:
        turn_ids: positive where a token is the policy's: the index of its turn, gaps allowed; 0 elsewhere.
        unit: ``token`` numbers a row's policy tokens 1, 2, ...; ``turn`` keeps the turn ids; ``sequence`` makes all of
            a row's policy tokens unit 1; ``think_action`` makes the think of turn k unit 2k - 1, its action unit 2k.
        is_think: True where a token belongs to the think of its turn; ``think_action`` alone needs it, and reads it.

    Returns:
        Positive ids for the policy's tokens, equal for tokens of one unit of a row; 0 elsewhere.

    Raises:
        ValueError: ``unit`` is not one of the four, or ``think_action`` comes without the tokens of the thinks.
    """
    mask = turn_ids > 0
    match unit:
        case "token":
            return mask.long().cumsum(dim=1) * mask
        case "turn":
            return turn_ids.long() * mask
        case "sequence":
            return mask.long()
        case "think_action":
            if is_think is None:
                raise ValueError("expected is_think with the unit 'think_action', received None; or use unit 'turn'")
            return (2 * turn_ids.long() - is_think.long()) * mask
    raise ValueError(f"expected unit to be one of {get_args(UnitKind)}, received {unit!r}")


def find_units(unit_ids: Int[Tensor, "batch time"]) -> Units:
    """Collect the units that are present in a batch.

    Args:
        unit_ids: positive where a token is the policy's, equal for tokens of one unit of a row; 0 elsewhere.
    """
    mask = unit_ids > 0
    row_of_token = mask.nonzero()[:, 0]
    # Ids are made dense before they are joined with the row, so that no id is large enough to overflow.
    ids, dense_id = unit_ids[mask].unique(return_inverse=True)
    num_ids = max(1, len(ids))
    keys, unit_of_token = (row_of_token * num_ids + dense_id).unique(return_inverse=True)
    return Units(
        mask=mask,
        unit_of_token=unit_of_token,
        row_of_unit=keys // num_ids,
        id_of_unit=ids[keys % num_ids],
        length=torch.bincount(unit_of_token, minlength=len(keys)),
    )


def mean_per_unit(values: Float[Tensor, "batch time"], units: Units) -> Float[Tensor, " units"]:
    """Average over the tokens of each unit: 1/L_ik * sum over the unit's tokens.

    Values at masked positions, even infinities and NaN, reach neither the result nor a gradient.
    """
    # Selecting (rather than multiplying by the mask) is what keeps 0 * inf out of the backward pass.
    tokens = values[units.mask]
    sums = tokens.new_zeros(len(units.length)).index_add(0, units.unit_of_token, tokens)
    return sums / units.length


def value_of_unit(
    values: Float[Tensor, " batch"] | Float[Tensor, "batch time"], units: Units
) -> Float[Tensor, " units"]:
    """Look up a per-trajectory value for each unit, or average a per-token value over the unit's tokens."""
    return values[units.row_of_unit] if values.ndim == 1 else mean_per_unit(values, units)


def spread_to_tokens(values: Float[Tensor, " units"], units: Units) -> Float[Tensor, "batch time"]:
    """Give each policy token the value of its unit; 0 elsewhere."""
    tokens = values.new_zeros(units.mask.shape)
    tokens[units.mask] = values[units.unit_of_token]
    return tokens


def unit_weights(
    units: Units,
    *,
    weight: WeightKind,
    dtype: torch.dtype = torch.float32,
    weight_length: float | None = None,
    num_trajectories: float | None = None,
    num_units: float | None = None,
) -> Float[Tensor, " units"]:
    r"""Weight of each unit in a mean over trajectories, the division by N included: :math:`w_{ik} / N`.

    ==========  =============================  =============================================================
    weight      :math:`w_{ik}`                 an average of units over ...
    ==========  =============================  =============================================================
    uniform     :math:`1 / K_i`                each trajectory, then over trajectories
    length      :math:`L_{ik} / T_i`           each trajectory by their tokens, then over trajectories
    batch       :math:`N / \sum_j K_j`         the batch: N cancels
    constant    :math:`L_{ik} / C`             nothing but trajectories: a sum over tokens, divided by one constant
    ==========  =============================  =============================================================

    Args:
        units: U units.
        weight: see the table.
        dtype: type of the result.
        weight_length: C, for ``constant`` alone. In tokens: as in Dr. GRPO (arXiv:2503.20783), the most that a trajectory
            may have; 1 is a plain sum, as in LUSPO (arXiv:2602.05261) and REINFORCE.
        num_trajectories: N; by default the trajectories that have a unit here. A micro-batch passes the count of the
            whole mini-batch.
        num_units: sum of K_j; by default the units here. A micro-batch passes the count of the whole mini-batch.

    Raises:
        ValueError: an unknown weight, a count or length that is not positive, only one of two counts where ``batch``
            needs the other, or no length where ``constant`` needs it.
    """
    for name, count in (("num_trajectories", num_trajectories), ("num_units", num_units)):
        if count is not None and not count > 0:
            raise ValueError(f"expected {name} to be positive, received {count}; skip a mini-batch without units")
    num_rows = units.mask.shape[0]
    units_of_row = torch.bincount(units.row_of_unit, minlength=num_rows)
    if num_trajectories is None:
        present: float | Tensor = (units_of_row > 0).sum().clamp(min=1)
    else:
        present = num_trajectories
    match weight:
        case "uniform":
            return 1.0 / (units_of_row[units.row_of_unit].to(dtype) * present)
        case "length":
            tokens_of_row = units.mask.sum(dim=1)
            return units.length.to(dtype) / (tokens_of_row[units.row_of_unit] * present)
        case "batch":
            if num_units is None and num_trajectories is not None:
                raise ValueError(
                    "expected num_units together with num_trajectories where weight is 'batch', received only "
                    "num_trajectories; pass the number of units in the whole mini-batch"
                )
            total = len(units.length) if num_units is None else num_units
            return torch.full_like(units.length, 1.0 / max(1, total), dtype=dtype)
        case "constant":
            if weight_length is None or not weight_length > 0:
                raise ValueError(
                    f"expected a positive weight_length with weight 'constant', received {weight_length}; pass the most "
                    "tokens of a trajectory, or 1"
                )
            return units.length.to(dtype) / (weight_length * present)
    raise ValueError(f"expected weight to be one of {get_args(WeightKind)}, received {weight!r}")
