"""The client of web search APIs in Serper's form, against a real HTTP server on this machine."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from scripted_server import Answer

from workflow_r1.errors import (
    ConfigError,
    EndpointRejectedError,
    ServiceError,
    ServiceRejectedError,
    ServiceUnavailableError,
)
from workflow_r1.retrieval import Passage, WebSearch, WebSearchConfig
from workflow_r1.retrieval.web_search import read_reply

KEY = "secret-0123456789"

REPLY = {
    "searchParameters": {"q": "jaws director", "type": "search"},
    "answerBox": {"title": "Jaws / Director", "answer": "Steven Spielberg", "link": "https://a.example"},
    "knowledgeGraph": {
        "title": "Jaws",
        "type": "1975 film",
        "description": "Jaws is a film about a shark.",
        "descriptionLink": "https://b.example",
        "attributes": {"Director": "Steven Spielberg", "Sequel": 2},
    },
    "organic": [
        {"title": "Jaws (film)", "snippet": "Directed by Spielberg.", "link": "https://c.example", "position": 1},
        {"title": "Only a title", "link": "https://d.example", "sitelinks": []},
    ],
    "peopleAlsoAsk": [],
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", KEY)


def search(url: str, query: str = "jaws director", k: int = 5, **changes: Any) -> list[Passage]:
    settings = {"url": url, "timeout_seconds": 5.0, "max_retries": 1, "backoff_seconds": 0.01} | changes

    async def main() -> list[Passage]:
        backend = WebSearch(WebSearchConfig(**settings))
        try:
            return await backend(query, k=k)
        finally:
            await backend.aclose()

    return asyncio.run(main())


def test_what_is_sent_and_what_comes_back(serve: Callable) -> None:
    server = serve(Answer(REPLY))
    found = search(f"{server.url}/search", parameters={"gl": "us", "num": 9})
    assert server.bodies == [{"gl": "us", "q": "jaws director", "num": 5}]
    assert server.paths == ["/search"]
    assert server.headers[0]["x-api-key"] == KEY
    assert [(passage.id, passage.title, passage.text) for passage in found] == [
        ("https://a.example", "Jaws / Director", "Steven Spielberg"),
        (
            "https://b.example",
            "Jaws",
            "1975 film; Jaws is a film about a shark.; Director: Steven Spielberg; Sequel: 2",
        ),
        ("https://c.example", "Jaws (film)", "Directed by Spielberg."),
        ("https://d.example", "Only a title", ""),
    ]
    assert [passage.score for passage in found] == [1.0, 1 / 2, 1 / 3, 1 / 4]


def test_a_page_with_a_null_for_its_snippet_is_a_result_all_the_same() -> None:
    pages = [{"title": "Only a title", "snippet": None, "link": "l"}, REPLY["organic"][0]]
    assert [passage.text for passage in read_reply({"organic": pages}, 5)] == ["", "Directed by Spielberg."]


def test_no_more_than_k() -> None:
    assert [passage.id for passage in read_reply(REPLY, 2)] == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    "reply", [{"organic": []}, {"organic": None}, {"searchParameters": {}}, {"answerBox": 7, "knowledgeGraph": {}}]
)
def test_nothing_found(reply: dict[str, Any]) -> None:
    assert read_reply(reply, 5) == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"results": []}, "the field organic, found fields results"),
        ([], "the field organic, found no object"),
        (None, "found no object"),
        ({"organic": {}, "more": 1}, None),
        ({"organic": {"a": 1}}, "field organic: expected a list, found a dict"),
        ({"organic": ["", {}]}, "passage 1: expected a title or a text"),
        ({"organic": [7]}, "passage 1: expected text or an object, found 7"),
    ],
)
def test_nonsense(reply: Any, message: str | None) -> None:
    if message is None:
        assert read_reply(reply, 5) == []
        return
    with pytest.raises(ValueError) as raised:
        read_reply(reply, 5)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        ({"status": 403, "body": {"message": f"Unauthorized {KEY}"}}, EndpointRejectedError, "variable SERPER_API_KEY"),
        (
            {"status": 400, "body": {"message": "Not enough credits"}},
            ServiceRejectedError,
            "Not enough credits); check the key",
        ),
        ({"status": 429, "body": {"message": KEY}}, ServiceUnavailableError, "status 429 (***) after 2 attempts"),
        ({"body": {"results": KEY}}, ServiceUnavailableError, "found fields results"),
        ({"body": f"busy {KEY}".encode()}, ServiceUnavailableError, "expected JSON, found 'busy ***'"),
    ],
)
def test_failures_tell_what_to_do_and_not_the_key(
    serve: Callable, reply: dict[str, Any], kind: type[ServiceError], message: str
) -> None:
    server = serve(Answer(**reply))
    with pytest.raises(kind) as raised:
        search(server.url)
    assert message in str(raised.value)
    assert KEY not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_key_is_in_no_passage(serve: Callable) -> None:
    server = serve(Answer({"organic": [{"title": KEY, "snippet": f"your key is {KEY}", "link": "x"}]}))
    assert search(server.url) == [Passage("x", "***", "your key is ***", 1.0)]


def test_the_key_is_in_no_log(serve: Callable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(Answer({}, 503, headers={"X-Echo": KEY}), Answer(REPLY))
    search(server.url)
    assert "503" in caplog.text
    assert KEY not in caplog.text


def test_the_key_is_needed_and_is_not_in_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEY not in repr(WebSearch(WebSearchConfig())) + WebSearchConfig().model_dump_json()
    for value, message in ((None, "found none; set it"), ("  ", "found none"), ("ключ", "plain ASCII")):
        monkeypatch.delenv("SERPER_API_KEY") if value is None else monkeypatch.setenv("SERPER_API_KEY", value)
        with pytest.raises(ConfigError, match=message):
            WebSearch(WebSearchConfig())
