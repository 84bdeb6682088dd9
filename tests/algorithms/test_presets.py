from dataclasses import astuple

import pytest

import workflow_r1.algorithms
from workflow_r1.algorithms import PRESETS, resolve_preset


def test_presets_are_the_published_settings():
    assert {name: astuple(preset) for name, preset in PRESETS.items()} == {
        "gsspo": ("turn", "uniform", 0.2, 0.2),
        "gspo": ("sequence", "uniform", 3e-4, 4e-4),
        "grpo": ("token", "uniform", 0.2, 0.2),
    }


def test_switches_replace_those_of_the_preset():
    assert resolve_preset("gspo") == PRESETS["gspo"]
    changed = resolve_preset("gspo", unit="turn", clip_low=0.0)
    assert astuple(changed) == ("turn", "uniform", 0.0, 4e-4)
    with pytest.raises(ValueError, match="'grpo', 'gspo', 'gsspo'"):
        resolve_preset("ppo")


def test_exported_names():
    assert sorted(workflow_r1.algorithms.__all__) == [
        "AdvantageKind",
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
        "policy_loss",
        "resolve_preset",
        "spread_turns",
        "turn_advantages",
        "turn_correction",
        "turn_ids_from_mask",
        "turn_metrics",
        "unit_ids",
    ]
