"""Arguments of ``workflow-r1 ask``: a configuration, a question, or a mistake."""

from pathlib import Path

import pytest

from workflow_r1.config import load_run_config
from workflow_r1.errors import ConfigError
from workflow_r1.running.asking import ask, split_question
from workflow_r1.running.configuration import open_config


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None), (None, None)),
        (("embedded", None), ("embedded", None)),
        (("Who directed Jaws?", None), (None, "Who directed Jaws?")),
        (("embedded", "Who directed Jaws?"), ("embedded", "Who directed Jaws?")),
        (("runs/none", "Who?"), ("runs/none", "Who?")),
        (("TCP/IP?", None), (None, "TCP/IP?")),
        (("", None), (None, "")),
    ],
)
def test_a_configuration_comes_before_the_question(given: tuple, expected: tuple) -> None:
    assert split_question(*given) == expected


def test_what_lies_on_the_disk_is_a_configuration(tmp_path: Path) -> None:
    assert split_question(str(tmp_path), None) == (str(tmp_path), None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("runs/embedded-1", "where nothing lies"),
        ("own.toml", "where nothing lies"),
        ("..\\runs", "where nothing lies"),
        ("embeded", "did you mean 'embedded'"),
        (" ", "empty text"),
    ],
)
def test_a_path_is_never_answered(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ask(load_run_config(), text, method="cot")


def test_an_empty_name_of_a_configuration_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="or a run directory, received an empty text"):
        open_config("")


def test_an_existing_path_is_never_answered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a question, received the configuration"):
        ask(load_run_config(), str(tmp_path), method="cot")


@pytest.mark.parametrize("question", ["TCP/IP?", "What is 1/2 of 4", "embedded?"])
def test_a_question_may_hold_a_slash(question: str) -> None:
    assert ask(load_run_config(), question, method="cot").question.text == question
