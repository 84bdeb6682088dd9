import tomllib
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from workflow_r1.config import RunConfig, dump_toml, load_run_config, preset_names
from workflow_r1.errors import ConfigError


def refusal(path: Path | str | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run_config(path, overrides)
    return str(caught.value)


def write(directory: Path, text: str) -> Path:
    path = directory / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["embedded", "embedded-hard", "paper", "smollm2-hotpotqa", "smollm2-real"])
def test_presets_load(name: str) -> None:
    assert name in preset_names()
    assert load_run_config(name).name == name


def test_no_path_is_the_embedded_preset() -> None:
    assert load_run_config() == load_run_config("embedded")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_run_config(write(tmp_path, "")) == RunConfig()


def test_defaults_are_the_papers() -> None:
    config = RunConfig()
    assert (config.training.steps, config.training.questions_per_step, config.training.group_size) == (38, 512, 8)
    assert (config.optimiser.learning_rate, config.objective.kl_coefficient, config.objective.kl_kind) == (
        1e-6,
        1e-3,
        "k3",
    )
    assert (config.environment.max_operator_calls, config.environment.max_response_tokens) == (20, 8192)


def test_overrides_are_toml_values_or_bare_strings(tmp_path: Path) -> None:
    config = load_run_config(
        write(tmp_path, "[training]\nsteps = 7\n"),
        [
            "training.steps=3",
            "name=a bare string",
            "embedded.seed = 4",
            "environment.operators=['Search', \"Custom\"]",
            "optimiser.lora={rank=4}",
            "optimiser.lora.alpha=2",
            "data.source=files",
            "data.train=questions/مرحبا.jsonl",
            "logging.tensorboard=true",
        ],
    )
    assert config.training.steps == 3
    assert config.name == "a bare string"
    assert config.embedded.seed == 4
    assert config.environment.operators == ("Search", "Custom")
    assert config.optimiser.lora is not None
    assert (config.optimiser.lora.rank, config.optimiser.lora.alpha) == (4, 2.0)
    assert config.data.train == Path("questions/مرحبا.jsonl")
    assert config.logging.tensorboard


def test_a_later_override_wins() -> None:
    assert load_run_config(None, ["seed=1", "seed=2"]).seed == 2


def test_an_empty_override_returns_to_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "[training]\nsteps = 7\n")
    assert load_run_config(path, ["training.steps="]).training.steps == 38


def test_misspelt_key_names_place_and_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "x"\n\n[training]\n# a comment\nstpes = 3\n')
    assert refusal(path) == f"{path}:5: unknown key 'training.stpes'; did you mean 'training.steps'?"


def test_misspelt_section(tmp_path: Path) -> None:
    path = write(tmp_path, "[trainin]\nsteps = 3\n")
    assert refusal(path) == f"{path}:1: unknown key 'trainin'; did you mean 'training'?"


def test_key_of_another_section() -> None:
    assert "did you mean 'optimiser.learning_rate'?" in refusal(None, "training.learning_rate=1")


def test_key_like_no_other_lists_the_section() -> None:
    assert refusal(None, "logging.zzz=1").endswith("unknown key 'logging.zzz'; logging has tensorboard, wandb_project")
    assert "unknown key 'logging.zzz'" in refusal(None, "logging.zzz=")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps=three", 'training.steps: expected a whole number, received "three"'),
        ("training.steps=true", "training.steps: expected a whole number, received true"),
        ("training.steps=0", "training.steps: expected a value greater than or equal to 1, received 0"),
        ("logging.tensorboard=1", "logging.tensorboard: expected true or false, received 1"),
        ("optimiser.betas=[0.9]", "optimiser.betas: expected a list of 2 numbers, received [0.9]"),
        ("name=3", "name: expected a string, received 3"),
        ("environment.operators=Search", 'environment.operators: expected a list of strings, received "Search"'),
        ("data.train=3", "data.train: expected a path (a string), received 3"),
    ],
)
def test_wrong_values_say_what_was_expected(override: str, message: str) -> None:
    assert refusal(None, override) == f"override {override!r}: {message}"


def test_wrong_choice_names_the_nearest() -> None:
    message = refusal(None, "objective.preset=gsppo")
    assert 'expected one of "gsspo", "gspo", "grpo", "dapo", ' in message
    assert 'received "gsppo"; did you mean' in message


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, 'seeed = 1\n[training]\nsteps = "x"\n')
    assert refusal(path).splitlines() == [
        f'{path}:3: training.steps: expected a whole number, received "x"',
        f"{path}:1: unknown key 'seeed'; did you mean 'seed'?",
    ]


def test_a_value_is_no_section() -> None:
    assert refusal(None, "name.x=3") == "override 'name.x=3': 'name' is a value, not a section"
    assert "expected a section with steps" in refusal(None, "training=3")


@pytest.mark.parametrize("override", ["training.steps", "=3", "training..steps=3", ""])
def test_malformed_override(override: str) -> None:
    assert "section.key=value" in refusal(None, override)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    assert f"found nothing at {tmp_path / 'no.toml'}" in refusal(tmp_path / "no.toml")
    assert f"found a directory at {tmp_path}" in refusal(tmp_path)
    assert "did you mean 'embedded'?" in refusal("embeded")


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    assert "line 2" in refusal(write(tmp_path, "seed = 1\nname =\n"))


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    """Editors and shells of Windows write one."""
    assert load_run_config(write(tmp_path, "\ufeffseed = 3\n")).seed == 3


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b'name = "\xff"')
    assert "UTF-8" in refusal(path)


@pytest.mark.parametrize("name", ["embedded", "embedded-hard", "paper", "smollm2-hotpotqa", "smollm2-real"])
def test_dump_round_trips(tmp_path: Path, name: str) -> None:
    config = load_run_config(name, ["optimiser.lora={rank=3, target_modules=['q_proj']}", "budget.minutes=1e-7"])
    assert load_run_config(write(tmp_path, dump_toml(config))) == config


@given(name=st.text(st.characters(exclude_categories=["Cs"])))
def test_dump_round_trips_any_text(name: str) -> None:
    assert tomllib.loads(dump_toml(RunConfig(name=name)))["name"] == name


def test_none_is_the_default_of_every_key_that_can_be_none() -> None:
    """``dump_toml`` relies on this: it leaves None out."""

    def check(model: type[BaseModel]) -> None:
        for name, field in model.model_fields.items():
            default = field.get_default(call_default_factory=True, validated_data={})
            if isinstance(default, BaseModel):
                check(type(default))
            elif type(None) in get_args(field.annotation):
                assert default is None, f"{model.__name__}.{name}"

    check(RunConfig)


def test_files_of_operators_are_relative_to_the_toml_file_and_overrides_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "run.toml").write_text(
        'plugins = ["mine.py", "../shared/theirs.py", "package.operators"]\n'
    )
    monkeypatch.chdir(tmp_path)
    config = load_run_config("configs/run.toml")
    assert config.plugins == (f"{tmp_path}/configs/mine.py", f"{tmp_path}/shared/theirs.py", "package.operators")
    assert load_run_config("configs/run.toml", ["plugins=['mine.py']"]).plugins == (f"{tmp_path}/mine.py",)
    assert load_run_config("configs/run.toml", ["plugins="]).plugins == ()
    with pytest.raises(ConfigError, match=r'plugins: expected a list of strings, received "mine.py"'):
        load_run_config(None, ["plugins=mine.py"])


def test_settings_of_operators_are_kept_as_they_stand_and_written_back(tmp_path):
    (tmp_path / "run.toml").write_text(
        '[operators.Weather]\nurl = "http://x"\nlimits = [{ of = 1 }]\n[operators.Weather.retry]\nafter = 1.5\n'
    )
    config = load_run_config(tmp_path / "run.toml", ["operators.Weather.url=", "operators.Weather.key=abc"])
    assert config.operators == {"Weather": {"limits": [{"of": 1}], "retry": {"after": 1.5}, "key": "abc"}}
    (tmp_path / "again.toml").write_text(dump_toml(config))
    assert load_run_config(tmp_path / "again.toml") == config
    with pytest.raises(ConfigError, match=r"run.toml:1: operators: expected a section for each name"):
        (tmp_path / "run.toml").write_text("operators = 3\n")
        load_run_config(tmp_path / "run.toml")


def test_the_date_of_the_template_is_a_date_and_is_written_back(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[policy.template]\ntoday = 2025-07-04\nkwargs = {enable_thinking = false}\n")
    config = load_run_config(path)
    assert config.policy.template.today == date(2025, 7, 4)
    path.write_text(dump_toml(config))
    assert load_run_config(path) == config
    with pytest.raises(ConfigError, match=r"policy\.template\.today"):
        load_run_config(path, ["policy.template.today=tomorrow"])
