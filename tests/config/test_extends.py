"""A file that starts from a preset or from another file says only what it changes."""

from pathlib import Path

import pytest

from workflow_r1.config import dump_toml, load_run_config
from workflow_r1.errors import ConfigError


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_file_that_extends_a_preset_and_changes_nothing_is_that_preset(write):
    assert load_run_config(write("mine.toml", 'extends = "embedded"')) == load_run_config("embedded")


def test_a_section_is_laid_over_key_by_key_and_a_list_as_a_whole(write):
    config = load_run_config(
        write("mine.toml", 'extends = "embedded"\n[environment]\noperators = ["Search"]\n[training]\nsteps = 3\n')
    )
    preset = load_run_config("embedded")
    assert config.environment.operators == ("Search",)
    assert config.environment.max_turns == preset.environment.max_turns
    assert config.training == preset.training.model_copy(update={"steps": 3})


def test_a_file_extends_a_file_beside_it_which_extends_a_preset(write):
    write("own/operators.py", "")
    write("own/below.toml", 'extends = "embedded"\nplugins = ["operators.py"]\n[training]\nsteps = 3\n')
    config = load_run_config(write("above.toml", 'extends = "own/below.toml"\nname = "above"'))
    assert (config.name, config.training.steps) == ("above", 3)
    assert config.plugins == (str((write("own/x", "").parent / "operators.py").resolve()),)


def test_an_override_wins_over_all_and_an_empty_one_returns_to_the_default(write):
    path = write("mine.toml", 'extends = "embedded"\n[training]\nsteps = 3\n')
    config = load_run_config(path, ["training.steps=7", "environment.max_turns="])
    assert (config.training.steps, config.environment.max_turns) == (7, 24)


def test_an_inherited_key_that_loses_its_effect_is_left_out(write):
    path = write("mine.toml", 'extends = "smollm2-hotpotqa"\n[llm]\nkind = "embedded"\n[search]\nkind = "none"\n')
    config = load_run_config(path)
    assert (config.llm.kind, config.llm.base_url) == ("embedded", None)
    # The resolved configuration, which the run directory keeps, is whole.
    assert load_run_config(write("resolved.toml", dump_toml(config))) == config


def test_a_key_of_ones_own_without_effect_is_still_refused(write):
    path = write("mine.toml", 'extends = "embedded"\n[llm]\nbase_url = "http://127.0.0.1:1"\n')
    with pytest.raises(ConfigError, match=r"mine\.toml:3: llm\.base_url: expected no llm\.base_url"):
        load_run_config(path)


def test_a_wrong_value_is_named_where_it_stands(write):
    below = write("below.toml", 'extends = "embedded"\n\n[training]\nsteps = "three"\n')
    with pytest.raises(ConfigError) as refused:
        load_run_config(write("above.toml", 'extends = "below.toml"\n[training]\ngroup_size = "eight"\n'))
    assert f"{below}:4: training.steps" in str(refused.value)
    assert "above.toml:3: training.group_size" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "embeded"', r"mine\.toml:1: extends: expected a TOML file .*did you mean 'embedded'"),
        ("extends = 3", r"mine\.toml:1: extends: expected the name of a preset .*, received 3"),
        ('name = "x"\nextends = "mine.toml"', r"mine\.toml:2: extends: expected a file that does not extend this one"),
    ],
)
def test_what_cannot_be_extended_is_refused(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_run_config(write("mine.toml", text))


def test_a_circle_of_two_files_is_refused(write):
    write("a.toml", 'extends = "b.toml"')
    with pytest.raises(ConfigError, match=r"found a circle: .*a\.toml -> .*b\.toml -> .*a\.toml"):
        load_run_config(write("b.toml", 'extends = "a.toml"').with_name("a.toml"))


def test_the_command_line_extends_nothing(write):
    with pytest.raises(ConfigError, match="extends stands in a file"):
        load_run_config("embedded", ["extends=paper"])
