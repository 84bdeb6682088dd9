import pytest

from workflow_r1.errors import ConfigError
from workflow_r1.services.keys import read_key


def test_a_key_is_read_without_what_a_paste_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " sk-1\n")
    assert read_key("MY_KEY", purpose="a key") == "sk-1"


def test_a_key_that_is_missing_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " ")
    with pytest.raises(ConfigError, match="expected a key in the environment variable MY_KEY, found none; set it"):
        read_key("MY_KEY", purpose="a key")
    assert read_key("MY_KEY", purpose="a key", required=False) == ""
    for value in ("sk-“1”", "sk\x001"):
        monkeypatch.setattr("os.environ", {"MY_KEY": value})
        with pytest.raises(ConfigError, match="plain ASCII"):
            read_key("MY_KEY", purpose="a key", required=False)
