"""The reward's table: short form, files of the user's own, and values that contradict others."""

from pathlib import Path

import pytest

from workflow_r1.config import dump_toml, load_run_config
from workflow_r1.errors import ConfigError
from workflow_r1.rewards import CostConfig, RewardConfig
from workflow_r1.running.trust import effects_of

CENTRED = "objective.advantage=group_centred"


def test_one_name_is_short_for_one_weight(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('reward = "f1"\n')
    assert load_run_config(path).reward == RewardConfig(weights={"f1": 1.0})
    assert load_run_config(None, ["reward=exact_match"]).reward.weights == {"exact_match": 1.0}
    assert load_run_config(None, ["reward.weights.f1=0.5"]).reward.weights == {"f1": 0.5}


def test_a_function_of_a_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[reward.weights]\nf1 = 1.0\n"rewards/mine.py:brevity" = 0.2\n"package.mine:other" = 1.0\n')
    mine = f"{tmp_path / 'rewards' / 'mine.py'}:brevity"
    assert load_run_config(path).reward.weights == {"f1": 1.0, mine: 0.2, "package.mine:other": 1.0}
    monkeypatch.chdir(tmp_path)
    for given in ("reward=rewards/mine.py:brevity", 'reward.weights."rewards/mine.py:brevity"=1.0'):
        assert load_run_config(None, [given]).reward.weights == {mine: 1.0}


def test_the_resolved_configuration_is_read_back(tmp_path: Path) -> None:
    config = load_run_config(
        None,
        ['reward.weights."rewards/mine.py:brevity"=0.2', "reward.cost.dial=0.4", "reward.cost.kind=calls", CENTRED],
    )
    assert config.reward.cost == CostConfig(dial=0.4, kind="calls")
    (tmp_path / "config.toml").write_text(dump_toml(config))
    assert load_run_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reward.cost.dial=1.0", "expected a value less than 1"),
        ("reward.cost.dial=-0.1", "expected a value greater than or equal to 0"),
        ("reward.cost.kind=token", 'expected one of "tokens".* did you mean .tokens'),
        ("reward.weights.f1=nan", "reward.weights: expected a number for each name, received NaN"),
        ("reward.weights=3", "reward.weights: expected a number for each name, received 3"),
        ("reward.weight.f1=1.0", "unknown key .reward.weight.; did you mean .reward.weights"),
        ("reward=3", "reward: expected a section with weights, cost"),
    ],
)
def test_a_wrong_value_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_run_config(None, [override])


@pytest.mark.parametrize(
    ("overrides", "key", "remedies"),
    [
        (["reward.cost.dial=0.2"], "reward.cost.dial", [CENTRED]),
        (["reward.cost.dial=0.2"], "reward.cost.dial", ["objective.advantage=leave_one_out"]),
        (["reward.cost.dial=0.2", CENTRED, "engine=verl"], "reward.cost.dial", ["engine=native"]),
        (["objective.credit=return_to_go", "engine=trl"], "objective.credit", ["engine=native"]),
        (["objective.credit=anchor_state", "engine=verl"], "objective.credit", ["engine=native"]),
    ],
)
def test_values_that_contradict_others_are_refused_with_the_way_out(
    overrides: list[str], key: str, remedies: list[str]
) -> None:
    with pytest.raises(ConfigError, match=f"override '{key}=.*: {key}: expected "):
        load_run_config(None, overrides)
    load_run_config(None, [*overrides, *remedies])


def test_a_function_in_somebody_elses_configuration_is_code_that_it_would_run() -> None:
    config = load_run_config(None, ['reward.weights={f1 = 1.0, "somebody/rewards.py:theirs" = 1.0}'])
    (effect,) = effects_of(config)
    assert effect.does.startswith("run the Python function ")
    assert "somebody/rewards.py:theirs" in effect.does


def test_a_contradiction_is_not_settled_by_dropping_what_a_file_inherits(tmp_path: Path) -> None:
    """Unlike a key that loses its effect: here both have one."""
    (tmp_path / "base.toml").write_text('[objective]\ncredit = "return_to_go"\n')
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\nengine = "trl"\n')
    with pytest.raises(ConfigError, match=r"base\.toml:2: objective\.credit: expected .outcome."):
        load_run_config(tmp_path / "mine.toml")
