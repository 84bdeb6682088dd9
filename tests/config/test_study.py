"""A study's file: what it declares is checked before anything is trained."""

from pathlib import Path

import pytest

from workflow_r1.config.study import load_study
from workflow_r1.errors import ConfigError

SMALLEST = """
name = "s"
[arms.turn]
overrides = ["objective.unit=turn"]
[arms.token]
"""


def load(tmp_path: Path, text: str):
    file = tmp_path / "study.toml"
    file.write_text(text, encoding="utf-8")
    return load_study(file)


def test_the_smallest_study(tmp_path):
    study = load(tmp_path, SMALLEST)
    assert study.all_seeds == (0, 1, 2, 3, 4)
    assert list(study.arms_and_again) == ["turn", "token"] and list(study.worlds) == ["world"]
    assert load(tmp_path, "\ufeff" + SMALLEST) == study


def test_an_arm_may_have_fewer_seeds_and_one_is_run_again(tmp_path):
    study = load(tmp_path, 'seeds = [7, 8, 9]\nagain = "token"\n' + SMALLEST + "seeds = 2\n")
    assert (study.seeds_of("turn"), study.seeds_of("token")) == ((7, 8, 9), (7, 8))
    assert list(study.arms_and_again) == ["turn", "token", "token again"]
    assert study.seeds_of("token again") == (7, 8)
    assert study.arms_and_again["token again"].tuned_as == "token"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae = 1\n" + SMALLEST, "unknown key 'nmae'; did you mean 'name'"),
        (SMALLEST + "overide = []\n", r"unknown key 'arms\.token\.overide'; did you mean 'overrides'"),
        (
            'contrasts = [["turn", "tokn"]]\n' + SMALLEST,
            "expected one of the arms, received 'tokn'; did you mean 'token'",
        ),
        ('contrasts = [["turn", "turn"]]\n' + SMALLEST, "contrasts: expected pairs of two arms, every pair once"),
        ('contrasts = [["turn", "token"], ["turn", "token"]]\n' + SMALLEST, "contrasts: expected pairs of two arms"),
        ('again = "trn"\n' + SMALLEST, "again: expected one of the arms, received 'trn'"),
        ("seeds = [1, 1]\n" + SMALLEST, "seeds: expected every seed once"),
        (SMALLEST + "[tune]\nvalues = [1.0, 2.0]\nseeds = [0]\n", r"seeds that the study does not use, received \[0\]"),
        (SMALLEST + "[tune]\nvalues = [2.0, 1.0]\nseeds = [9]\n", "tune.values: expected rising values"),
        (SMALLEST + 'tuned_as = "turn"\n', r"tuned_as: expected a \[tune\]"),
        (
            SMALLEST
            + 'tuned_as = "b"\n[arms.b]\ntuned_as = "c"\n[arms.c]\n[tune]\nvalues = [1e-4, 2e-4]\nseeds = [9]\n',
            r"tuned_as: expected an arm that is tuned itself, received 'b', which takes the value of 'c'; name that one",
        ),
        (SMALLEST + '[arms."../x"]\n', "expected a name of letters"),
        (SMALLEST + '[arms."turn again"]\n', "expected a name of letters"),
        ("name = 3\n[arms.a]\n", "name: .*string"),
        ("name =", "expected TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="found nothing at"):
        load_study(tmp_path / "study.toml")
