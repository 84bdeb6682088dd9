"""Calls for which the store is used."""

from pathlib import Path
from typing import Any

import pytest

from workflow_r1.accounting import BudgetedChatModel, BudgetedSearch, MeteredChatModel, MeteredSearch
from workflow_r1.assembly.services import build_services
from workflow_r1.assembly.stored_search import identity_of
from workflow_r1.config import RunConfig
from workflow_r1.config.search import SearchConfig
from workflow_r1.embedded import SimulatedExpert
from workflow_r1.errors import ConfigError, StoreError
from workflow_r1.inference import OpenAIChatModel, StoredChatModel
from workflow_r1.operators import OperatorServices
from workflow_r1.retrieval import StoredSearch, WebSearch


def config(path: Path, mode: str, **llm: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "llm": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", **llm},
            "search": {"kind": "none"},
            "environment": {"operators": ("AnswerGenerate",)},
            "store": {"mode": mode} | ({} if mode == "off" else {"path": str(path)}),
        }
    )


def services_of(config: RunConfig) -> OperatorServices:
    return build_services(config.services, config.pool)


def layers(service: Any) -> list[Any]:
    """The meter and what lies under it."""
    return [] if service is None else [service, *layers(getattr(service, "inner", None))]


@pytest.mark.parametrize("mode", ["use", "record"])
def test_an_endpoint_is_asked_through_the_store(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "shared" / "calls.sqlite3"
    chat = layers(services_of(config(path, mode)).chat)
    assert [type(layer) for layer in chat] == [MeteredChatModel, StoredChatModel, BudgetedChatModel, OpenAIChatModel]
    assert path.is_file()


def test_off_is_the_default_and_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunConfig().store.mode == "off"
    chat = layers(services_of(config(tmp_path / "calls.sqlite3", "off")).chat)
    assert [type(layer) for layer in chat] == [MeteredChatModel, BudgetedChatModel, OpenAIChatModel]
    assert not list(tmp_path.iterdir())


def test_a_replay_needs_a_store_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    path = tmp_path / "calls.sqlite3"
    with pytest.raises(StoreError, match="found nothing"):
        services_of(config(path, "replay"))
    services_of(config(path, "record"))
    with pytest.raises(ConfigError, match="API key"):
        services_of(config(path, "use", base_url=None))
    replayed = services_of(config(path, "replay", base_url=None)).chat
    assert [type(layer) for layer in layers(replayed)] == [MeteredChatModel, StoredChatModel]


def test_what_is_simulated_is_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite3"
    chat = layers(services_of(config(path, "use", kind="embedded", base_url=None, model="")).chat)
    assert [type(layer) for layer in chat] == [MeteredChatModel, BudgetedChatModel, SimulatedExpert]
    assert not path.exists()


def test_a_search_service_is_asked_through_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "calls.sqlite3"
    monkeypatch.setenv("SERPER_API_KEY", "k")
    search = {"kind": "web", "web": {"url": "http://127.0.0.1:9/search"}}

    def build(mode: str) -> object:
        update = {"search": search, "environment": {"operators": ("Search",)}, "llm": {}}
        return services_of(RunConfig.model_validate({**config(path, mode).model_dump(), **update})).search

    assert [type(layer) for layer in layers(build("use"))] == [MeteredSearch, StoredSearch, BudgetedSearch, WebSearch]
    monkeypatch.delenv("SERPER_API_KEY")
    assert [type(layer) for layer in layers(build("replay"))] == [MeteredSearch, StoredSearch]
    monkeypatch.setenv("SERPER_API_KEY", "k")
    assert [type(layer) for layer in layers(build("off"))] == [MeteredSearch, BudgetedSearch, WebSearch]


def test_what_tells_a_search_from_others() -> None:
    def web(**changes: object) -> str:
        section = {"url": "http://me:secret@host/search?key=secret", **changes}
        return identity_of(SearchConfig.model_validate({"kind": "web", "web": section}))

    assert web().startswith("web http://host/search ")
    assert "secret" not in web()
    assert web(max_retries=9) == web(concurrency=1) == web()
    assert len({web(), web(parameters={"gl": "us"}), web(url="http://other/search")}) == 3
    assert identity_of(SearchConfig(kind="server")).startswith("server http")
    moved = {"kind": "web", "web": {"url": "http://other/search"}}
    assert identity_of(SearchConfig.model_validate(moved), by_address=False).startswith("web ")
    assert "other" not in identity_of(SearchConfig.model_validate(moved), by_address=False)
