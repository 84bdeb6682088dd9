from dataclasses import astuple

import workflow_r1.algorithms
from workflow_r1.algorithms import PRESETS


def test_presets_are_the_published_settings():
    assert {name: astuple(preset) for name, preset in PRESETS.items()} == {
        "gsspo": ("turn", "uniform", 0.2, 0.2),
        "gspo": ("sequence", "uniform", 3e-4, 4e-4),
        "grpo": ("token", "uniform", 0.2, 0.2),
    }


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
        "turn_correction",
        "turn_ids_from_mask",
        "turn_metrics",
        "unit_ids",
    ]
