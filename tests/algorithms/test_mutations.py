"""A check of the checks: each small error planted in the mathematics must break at least one identity."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import workflow_r1.algorithms

PACKAGE = "workflow_r1.algorithms"
MUTANT = "mutant_algorithms"
SOURCES = Path(workflow_r1.algorithms.__file__).parent

# Module, text, and the wrong text in its place. The text stands exactly once in the module.
MUTATIONS = [
    # The objective.
    ("clip", "value = torch.minimum(", "value = torch.maximum("),
    ("loss", "loss = (weights * -surrogate).sum()", "loss = (weights * surrogate).sum()"),
    ("loss", "loss = (weights * -surrogate).sum()", "loss = (weights * -surrogate).mean()"),
    ("clip", "ratio.clamp(lowest, highest) * advantage)", "ratio * advantage)"),
    ("clip", "torch.minimum(ratio * advantage, ratio", "torch.minimum(ratio.clamp(lowest, highest) * advantage, ratio"),
    ("clip", "ratio.clamp(lowest, highest) * advantage)", "ratio.clamp(lowest, highest).detach() * advantage)"),
    ("clip", "1.0 - clip_low * scale, 1.0 + clip_high * scale", "1.0 - clip_high * scale, 1.0 + clip_low * scale"),
    (
        "clip",
        "1.0 - clip_low * scale, 1.0 + clip_high * scale",
        "1.0 / (1.0 + clip_low * scale), 1.0 + clip_high * scale",
    ),
    (
        "clip",
        "(reference_length / length).sqrt()",
        "reference_length / length",
    ),
    (
        "clip",
        "(reference_length / length).sqrt()",
        "(length / reference_length).sqrt()",
    ),
    ("loss", "logprobs.to(dtype) - old_logprobs.detach()", "logprobs.to(dtype) - logprobs.detach()"),
    ("loss", "logprobs.to(dtype) - old_logprobs.detach()", "old_logprobs.detach() - logprobs"),
    ("loss", "logprobs.to(dtype) - old_logprobs.detach()", "logprobs.to(dtype) - old_logprobs"),
    ("loss", "value_of_unit(advantages.detach().to(dtype), units)", "value_of_unit(advantages.to(dtype), units)"),
    ("loss", ", units).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)", ", units)"),
    ("loss", "mean_per_unit(difference, units).clamp", "mean_per_unit(difference.exp(), units).log().clamp"),
    ("loss", "ratio = log_ratio.exp()", "ratio = 1.0 + log_ratio"),
    (
        "loss",
        "surrogate, mass = surrogate * correction,",
        "surrogate, mass = surrogate + correction,",
    ),
    ("loss", "weight=weight, dtype=dtype", "weight='uniform', dtype=dtype"),
    (
        "loss",
        '{"num_trajectories": num_trajectories, "num_units": num_units}',
        '{"num_trajectories": None, "num_units": num_units}',
    ),
    (
        "loss",
        '{"num_trajectories": num_trajectories, "num_units": num_units}',
        '{"num_trajectories": num_trajectories, "num_units": num_trajectories}',
    ),
    # Its metrics.
    ("clip", "is_below = (ratio < lowest) & (advantage < 0)", "is_below = ratio < lowest"),
    ("clip", "is_above = (ratio > highest) & (advantage > 0)", "is_above = (ratio > highest) & (advantage < 0)"),
    ("loss", "bounded.expm1() - bounded", "bounded.expm1() + bounded"),
    ("loss", "(1.0 - kept).clamp(min=0.0)", "(1.0 - kept)"),
    ("loss", "weights * advantage.abs() * ratio.detach()", "advantage.abs() * ratio.detach()"),
    ("loss", "weights * advantage.abs() * ratio.detach()", "weights * advantage.abs()"),
    ("loss", "surrogate * correction, mass * correction", "surrogate * correction, mass"),
    ("loss", "move.max(),", "move.mean(),"),
    ("loss", "move=difference[units.mask].abs()", "move=log_ratio.abs()"),
    # The other bounds.
    ("clip", "dual_clip * advantage), value)", "dual_clip * advantage), value).abs()"),
    ("clip", "torch.where(advantage < 0, torch.maximum(value", "torch.where(advantage > 0, torch.maximum(value"),
    ("clip", "torch.maximum(value, dual_clip * advantage)", "torch.minimum(value, dual_clip * advantage)"),
    ("clip", "is_above = is_above | ((ratio > dual_clip) & (advantage < 0))", "pass"),
    ("clip", "where(advantage > 0, ratio.new_tensor(positive)", "where(advantage < 0, ratio.new_tensor(positive)"),
    ("clip", "gate * (4.0 / temperature) * advantage", "gate * 4.0 * advantage"),
    ("clip", "torch.sigmoid(temperature * (ratio - 1.0))", "torch.sigmoid(temperature * ratio)"),
    ("clip", "(4.0 * gate * (1.0 - gate)).detach()", "gate.detach()"),
    ("clip", "    ratio = ratio.detach()\n    weight", "    weight"),
    ("clip", "weight = ratio.clamp(lowest, highest)", "weight = ratio"),
    ("clip", "weight * advantage * logprob", "weight * advantage * logprob.exp()"),
    ("clip", "weight / ratio, ratio <", "torch.ones_like(ratio), ratio <"),
    # The matched range.
    ("clip", "(ratio - 1.0) / above, (1.0 - ratio) / below", "(ratio - 1.0) / above, (ratio - 1.0) / below"),
    ("clip", "(ratio - 1.0) / above, (1.0 - ratio) / below", "(ratio - 1.0) / below, (1.0 - ratio) / above"),
    ("clip", "mass.cumsum(0) <= share * mass.sum()", "mass.cumsum(0) <= (1 - share) * mass.sum()"),
    ("clip", "order = excess.argsort(descending=True", "order = excess.argsort(descending=False"),
    ("clip", "excess, mass = excess[order], mass[order]", "excess = excess[order]"),
    # Units and their weights.
    ("units", "2 * turn_ids.long() - is_think.long()", "turn_ids.long() + is_think.long()"),
    ("units", "2 * turn_ids.long() - is_think.long()", "2 * turn_ids.long()"),
    ("units", "units.length.to(dtype) / (weight_length * present)", "units.length.to(dtype) / present"),
    (
        "units",
        "units.length.to(dtype) / (weight_length * present)",
        "1.0 / (weight_length * present + 0 * units.length)",
    ),
    ("units", "return sums / units.length", "return sums"),
    ("units", "tokens = values[units.mask]\n    sums", "tokens = values.roll(1, 1)[units.mask]\n    sums"),
    ("units", "row_of_token * num_ids + dense_id", "dense_id"),
    ("units", "row_of_token * num_ids + dense_id", "row_of_token * num_ids + ids[dense_id]"),
    ("units", "mask = unit_ids > 0", "mask = unit_ids >= 0"),
    (
        "units",
        "1.0 / (units_of_row[units.row_of_unit].to(dtype) * present)",
        "1.0 / (units_of_row.sum().to(dtype) + 0 * units.length)",
    ),
    (
        "units",
        "1.0 / (units_of_row[units.row_of_unit].to(dtype) * present)",
        "1.0 / (units.mask.sum(dim=1)[units.row_of_unit].to(dtype) * present)",
    ),
    (
        "units",
        "1.0 / (units_of_row[units.row_of_unit].to(dtype) * present)",
        "1.0 / (units.id_of_unit.max().to(dtype) * present + 0 * units.length)",
    ),
    ("units", "(units_of_row > 0).sum().clamp(min=1)", "num_rows"),
    ("units", "(tokens_of_row[units.row_of_unit] * present)", "(tokens_of_row.sum() + 0 * units.length)"),
    ("units", "total = len(units.length) if", "total = len(units.unit_of_token) if"),
    ("units", "total = len(units.length) if num_units is None else num_units", "total = len(units.length)"),
    (
        "units",
        "return values[units.row_of_unit] if values.ndim == 1",
        "return values[units.row_of_unit - 1] if values.ndim == 1",
    ),
    ("units", "return mask.long().cumsum(dim=1) * mask", "return turn_ids.long()"),
    ("units", "return mask.long().cumsum(dim=1) * mask", "return mask.long().cumsum(dim=1)"),
    ("units", "return turn_ids.long() * mask", "return mask.long()"),
    ("units", "            return mask.long()\n        case", "            return turn_ids.long()\n        case"),
    ("units", "tokens[units.mask] = values[units.unit_of_token]", "tokens[units.mask] = values.mean()"),
    # KL, correction, advantages.
    ("kl", "logprobs.to(dtype) - ref_logprobs.detach()", "ref_logprobs.detach() - logprobs"),
    ("kl", "(-bounded).expm1() + bounded", "bounded.expm1() - bounded"),
    ("kl", "0.5 * difference.square()", "difference.square()"),
    ("kl", "logprobs.where(units.mask, 0.0), ref", "logprobs, ref"),
    ("kl", "weight=weight, dtype", "weight='uniform', dtype"),
    ("correction", "log_weight.exp().clamp(max=cap)", "log_weight.exp()"),
    ("correction", "mean_per_unit(difference, units).clamp", "(mean_per_unit(difference, units) * units.length).clamp"),
    (
        "correction",
        "old_logprobs.detach().to(dtype) - sampler_logprobs.detach()",
        "sampler_logprobs.detach().to(dtype) - old_logprobs.detach()",
    ),
    ("advantage", "(counts - 1).clamp(min=1)).sqrt()", "counts.clamp(min=1)).sqrt()"),
    ("advantage", "centred / (std[group] + STD_EPSILON)", "centred / (std.mean() + STD_EPSILON)"),
    ("advantage", "index_add(0, group, above) / counts.clamp(min=1)", "index_add(0, group, above) / len(rewards)"),
    ("advantage", "index_add(0, group, present.to(rewards.dtype))", "index_add(0, group, torch.ones_like(rewards))"),
    ("advantage", "(counts / (counts - 1).clamp(min=1))[group]", "1.0"),
    ("advantage", "return torch.where(present, above - mean[group], 0.0)", "return torch.where(present, above, 0.0)"),
]


def load_sibling(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


IDENTITIES = [*load_sibling("test_identities").IDENTITIES, *load_sibling("test_arms").IDENTITIES]


@pytest.fixture
def load_package() -> Iterator:
    """Load the package's sources, one of them changed, under another name."""

    def load(changed: str = "", old: str = "", new: str = "") -> ModuleType:
        pending = {path.stem: path.read_text() for path in SOURCES.glob("*.py")}
        if changed:
            count = pending[changed].count(old)
            assert count == 1, f"expected {old!r} once in {changed}.py, found it {count} times: adapt the mutation"
            pending[changed] = pending[changed].replace(old, new)
        initial = pending.pop("__init__")
        # Its imports name the modules in an order of their own; each is executed when those it needs are there.
        while pending:
            ready = [
                name for name, text in pending.items() if not any(f"{PACKAGE}.{other} " in text for other in pending)
            ]
            assert ready, f"expected modules that import one another in one direction, received {sorted(pending)}"
            for name in ready:
                execute(f"{MUTANT}.{name}", pending.pop(name))
        return execute(MUTANT, initial)

    def execute(name: str, text: str) -> ModuleType:
        module = ModuleType(name)
        sys.modules[name] = module
        exec(compile(text.replace(PACKAGE, MUTANT), name, "exec"), module.__dict__)
        return module

    yield load
    for name in [name for name in sys.modules if name.split(".")[0] == MUTANT]:
        del sys.modules[name]


def broken_identity(algorithms: ModuleType) -> str | None:
    """Name the first identity that does not hold. A mutant that crashes proves nothing, so its error is left to pass."""
    for check in IDENTITIES:
        try:
            check(algorithms)
        except AssertionError:
            return check.__name__
    return None


def test_the_unchanged_sources_pass(load_package) -> None:
    assert broken_identity(load_package()) is None


@pytest.mark.parametrize(("module", "old", "new"), MUTATIONS, ids=[f"{m}-{i}" for i, (m, _, _) in enumerate(MUTATIONS)])
def test_a_mutant_breaks_an_identity(load_package, module: str, old: str, new: str) -> None:
    mutant = load_package(module, old, new)
    assert broken_identity(mutant) is not None, f"{module}.py: no identity notices {new!r} in place of {old!r}"


@pytest.mark.parametrize(
    "unknown",
    [
        {"weight": "mean"},
        {"weight": "constant"},
        {"clip_low": -0.1},
        {"clip_reference_length": 0.0},
        {"clip": "matched"},
        {"dual_clip": 1.0},
        {"dual_clip": 3.0, "clip": "sapo"},
        {"clip": "sapo", "sapo_temperature_positive": 0.0},
    ],
)
def test_impossible_arguments_are_refused(load_package, unknown: dict) -> None:
    """The sources lack the shape checks of the tests, which would refuse the arguments first."""
    torch = pytest.importorskip("torch")
    ones = torch.ones(1, 2)
    arguments = {"clip_low": 0.1, "clip_high": 0.1, "advantages": ones[:, 0], "unit_ids": ones.long(), **unknown}
    with pytest.raises(ValueError, match=r"expected .* received"):
        load_package().policy_loss(logprobs=ones, old_logprobs=ones, **arguments)
