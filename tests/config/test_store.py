"""Where the store of calls comes in."""

from pathlib import Path

import pytest

from workflow_r1.config import RunConfig
from workflow_r1.config.components import build_services
from workflow_r1.embedded import SimulatedExpert
from workflow_r1.errors import ConfigError, StoreError
from workflow_r1.inference import OpenAIChatModel, StoredChatModel


def config(path: Path, mode: str, **llm: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "llm": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", **llm},
            "search": {"kind": "none"},
            "environment": {"operators": ("AnswerGenerate",)},
            "store": {"mode": mode, "path": str(path)},
        }
    )


@pytest.mark.parametrize("mode", ["use", "record"])
def test_an_endpoint_is_asked_through_the_store(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "shared" / "calls.sqlite3"
    chat = build_services(config(path, mode)).chat
    assert isinstance(chat, StoredChatModel)
    assert isinstance(chat.inner, OpenAIChatModel)
    assert path.is_file()


def test_off_is_the_default_and_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunConfig().store.mode == "off"
    assert isinstance(build_services(config(tmp_path / "calls.sqlite3", "off")).chat, OpenAIChatModel)
    assert not list(tmp_path.iterdir())


def test_a_replay_needs_a_store_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    path = tmp_path / "calls.sqlite3"
    with pytest.raises(StoreError, match="found nothing"):
        build_services(config(path, "replay"))
    build_services(config(path, "record"))
    with pytest.raises(ConfigError, match="API key"):
        build_services(config(path, "use", base_url=None))
    replayed = build_services(config(path, "replay", base_url=None)).chat
    assert isinstance(replayed, StoredChatModel)
    assert replayed.inner is None


def test_what_is_simulated_is_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite3"
    assert isinstance(build_services(config(path, "use", kind="embedded")).chat, SimulatedExpert)
    assert not path.exists()
