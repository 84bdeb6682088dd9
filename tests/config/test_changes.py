"""Settings that the program changes: validated like those of a user, and never blamed on the user."""

from pathlib import Path

import pytest

from workflow_r1.config import change_settings, dump_toml, load_run_config
from workflow_r1.errors import ConfigError


def test_a_change_is_what_copies_of_the_sections_give() -> None:
    config = load_run_config()
    changed = change_settings(config, {"seed": 7, "sampling.temperature": 0.0, "optimiser.lora": None})
    assert (changed.seed, changed.sampling.temperature, changed.optimiser.lora) == (7, 0.0, None)
    sampling = config.sampling.model_copy(update={"temperature": 0.0})
    optimiser = config.optimiser.model_copy(update={"lora": None})
    assert changed == config.model_copy(update={"seed": 7, "sampling": sampling, "optimiser": optimiser})
    assert changed.environment is config.environment
    assert config.seed == 0


def test_a_whole_section_may_be_put_in_its_place() -> None:
    config, other = load_run_config(), load_run_config("paper")
    assert change_settings(config, {"environment": other.environment}).environment is other.environment


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sampling.temperature": -1.0},
            r"sampling\.temperature: expected a value greater than or equal to 0, received -1",
        ),
        ({"seed": "one"}, r"seed: expected a whole number, received \"one\""),
        ({"sampling.temprature": 1.0}, r"unknown key 'sampling\.temprature'; did you mean 'sampling\.temperature'\?"),
        ({"samplin.temperature": 1.0}, r"unknown key 'samplin'; did you mean 'sampling'\?"),
        (
            {"environment.max_turn_observation_chars": 100},
            r": environment: expected max_turn_observation_chars \(100\) to be",
        ),
    ],
)
def test_a_wrong_change_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change_settings(load_run_config(), changes)


def test_keys_that_lose_their_effect_by_a_change_are_not_blamed_on_the_user(tmp_path: Path) -> None:
    config = load_run_config(overrides=["data.source=files", f"data.evaluation={tmp_path / 'questions.jsonl'}"])
    changed = change_settings(config, {"data.source": "embedded"})
    assert changed.data.evaluation == config.data.evaluation
    # Of the user, the same two keys are refused.
    (tmp_path / "run.toml").write_text(dump_toml(changed))
    with pytest.raises(ConfigError, match=r"data\.evaluation"):
        load_run_config(tmp_path / "run.toml")
