"""The switches of the objective: what a preset sets, and what contradicts it."""

import pytest

from workflow_r1.algorithms import PRESETS, resolve_preset
from workflow_r1.config import load_run_config
from workflow_r1.config.training import PRESET_SWITCHES, USUAL_SWITCHES, ObjectiveConfig
from workflow_r1.errors import ConfigError

ON_POLICY = ["training.mini_batch_questions=16"]


def test_the_configuration_knows_the_switches_of_every_preset() -> None:
    assert PRESET_SWITCHES.keys() == PRESETS.keys()
    for name, preset in PRESETS.items():
        objective = ObjectiveConfig.model_validate({"preset": name})
        for switch in USUAL_SWITCHES:
            assert objective.in_effect(switch) == getattr(preset, switch), (name, switch)
    assert ObjectiveConfig(preset="sapo", clip="none").in_effect("clip") == "none"


def test_an_objective_has_a_clip_where_it_has_a_range() -> None:
    without = {name for name in PRESETS if not ObjectiveConfig.model_validate({"preset": name}).has_clip}
    assert without == {"sapo", "rloo", "reinforce"}
    assert ObjectiveConfig(preset="rloo", clip="matched").has_clip
    assert not ObjectiveConfig(clip="none").has_clip


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ({"preset": "dr_grpo"}, 700.0),
        ({"preset": "dr_grpo", "weight_length": 5.0}, 5.0),
        ({"preset": "gsspo", "weight": "constant"}, 700.0),
        ({"preset": "luspo"}, 1.0),
        ({"preset": "rloo"}, 1.0),
        ({"preset": "dr_grpo", "weight": "uniform"}, None),
    ],
)
def test_a_constant_weight_divides_by_the_budget_unless_the_preset_or_the_user_says_otherwise(
    objective, expected
) -> None:
    config = ObjectiveConfig.model_validate(objective)
    preset = resolve_preset(config.preset, **config.switches(max_response_tokens=700))
    assert preset.weight_length == expected


def test_only_what_is_given_replaces_the_preset() -> None:
    assert ObjectiveConfig().switches(max_response_tokens=9) == {}
    given = {"unit": "token", "clip_low": 0.0, "dual_clip": 3.0, "advantage": "reward"}
    assert ObjectiveConfig.model_validate(given).switches(max_response_tokens=9) == given


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_loads(preset: str) -> None:
    assert load_run_config(None, [f"objective.preset={preset}", *ON_POLICY]).objective.preset == preset


@pytest.mark.parametrize(
    ("overrides", "key", "remedy"),
    [
        (["objective.preset=rloo"], "training.mini_batch_questions", "training.mini_batch_questions=16"),
        (["objective.preset=reinforce", *ON_POLICY, "training.epochs=2"], "training.epochs", "training.epochs=1"),
        (["objective.preset=rloo", *ON_POLICY, "training.staleness=1"], "training.staleness", "training.staleness=0"),
        (["objective.preset=rloo"], "training.mini_batch_questions", "objective.preset=gspo"),
        (["objective.clip=matched", "objective.clip_low=0"], "objective.clip", "objective.clip=fixed"),
        (["training.dynamic_sampling=1", "objective.advantage=reward"], "training.dynamic_sampling", "objective.advantage=leave_one_out"),
        (["training.dynamic_sampling=1", "objective.credit=return_to_go"], "training.dynamic_sampling", "objective.credit=outcome"),
        (["reward.cost.dial=0.2"], "reward.cost.dial", "objective.preset=dr_grpo"),
    ],
)  # fmt: skip
def test_what_contradicts_a_switch_is_refused_with_the_way_out(overrides: list[str], key: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected "):
        load_run_config(None, overrides)
    load_run_config(None, [*overrides, remedy])
