import math
from dataclasses import astuple, replace

import pytest

import workflow_r1.algorithms
from workflow_r1.algorithms import PRESETS, resolve_preset


def test_presets_are_the_published_settings():
    """Unit, weight, range, clip, advantage, constant of the weight."""
    assert {name: astuple(preset)[:7] for name, preset in PRESETS.items()} == {
        "gsspo": ("turn", "uniform", 0.2, 0.2, "fixed", "group_normalised", None),
        "gspo": ("sequence", "uniform", 3e-4, 4e-4, "fixed", "group_normalised", None),
        "grpo": ("token", "uniform", 0.2, 0.2, "fixed", "group_normalised", None),
        "dapo": ("token", "batch", 0.2, 0.28, "fixed", "group_normalised", None),
        "dr_grpo": ("token", "constant", 0.2, 0.2, "fixed", "group_centred", None),
        "sapo": ("token", "uniform", 0.2, 0.2, "sapo", "group_normalised", None),
        "cispo": ("token", "batch", 1.0, 4.0, "cispo", "group_normalised", None),
        "luspo": ("sequence", "constant", 3e-4, 4e-4, "fixed", "group_normalised", 1.0),
        "rloo": ("sequence", "constant", 0.2, 0.2, "none", "leave_one_out", 1.0),
        "reinforce": ("sequence", "constant", 0.2, 0.2, "none", "reward", 1.0),
    }
    # No reference length, 5% of the mass, no second bound, SAPO's temperatures.
    assert {astuple(preset)[7:] for preset in PRESETS.values()} == {(None, 0.05, None, 1.0, 1.05)}


def test_switches_replace_those_of_the_preset():
    assert resolve_preset("gspo") == PRESETS["gspo"]
    changed = resolve_preset("gspo", unit="turn", clip_low=0.0, clip=None)
    assert changed == replace(PRESETS["gspo"], unit="turn", clip_low=0.0)
    with pytest.raises(ValueError, match="'grpo', 'gspo', 'gsspo'"):
        resolve_preset("ppo")


def test_a_matched_range_is_a_fixed_one_at_a_scale():
    matched = resolve_preset("gsspo", clip="matched", clip_low=0.1, dual_clip=3.0)
    options = matched.of_loss(clip_scale=0.5)
    assert (options["clip"], options["clip_low"], options["clip_high"]) == ("fixed", 0.05, 0.1)
    assert matched.of_range(clip_scale=0.5) == {
        "clip_low": 0.05,
        "clip_high": 0.1,
        "clip_reference_length": None,
        "dual_clip": 3.0,
    }
    assert resolve_preset("gsspo").of_loss(clip_scale=0.5)["clip_low"] == 0.2
    for name in ("sapo", "cispo", "rloo"):
        assert resolve_preset(name).of_range() == {"clip_low": math.inf, "clip_high": math.inf}


def test_exported_names():
    assert sorted(workflow_r1.algorithms.__all__) == [
        "AdvantageKind",
        "ClipKind",
        "KLKind",
        "LOG_RATIO_BOUND",
        "ObjectivePreset",
        "PRESETS",
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
