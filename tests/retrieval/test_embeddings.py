"""The client of embeddings endpoints, against a real HTTP server on this machine."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scripted_server import Answer, Request

from workflow_r1.errors import ConfigError, EndpointRejectedError, ServiceUnavailableError
from workflow_r1.retrieval import EmbeddingsConfig, OpenAIEmbeddings
from workflow_r1.retrieval.embeddings import read_reply

KEY = "secret-0123456789"


def embed(url: str, texts: list[str], **changes: Any) -> tuple[np.ndarray, int]:
    settings = {
        "base_url": f"{url}/v1/",
        "model": "m",
        "timeout_seconds": 5.0,
        "max_retries": 1,
        "backoff_seconds": 0.01,
    }

    async def main() -> tuple[np.ndarray, int]:
        model = OpenAIEmbeddings(EmbeddingsConfig(**settings | changes), key="methods.x.embeddings")
        try:
            return await model(texts)
        finally:
            await model.aclose()

    return asyncio.run(main())


def test_vectors_come_in_the_order_of_the_texts_and_of_length_one(
    serve: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows = [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}]
    server = serve(Answer({"data": rows, "usage": {"prompt_tokens": 7}}))
    vectors, tokens = embed(server.url, ["a", "b"])
    assert vectors.tolist() == [[0.6, 0.8], [0, 1]]
    assert tokens == 7
    assert server.bodies == [{"model": "m", "input": ["a", "b"]}]
    assert server.paths == ["/v1/embeddings"]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_texts_are_sent_in_batches_and_without_a_key_none_is_sent(
    serve: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def reply(request: Request) -> Answer:
        return Answer({"data": [{"index": i, "embedding": [1.0]} for i in range(len(request.json["input"]))]})

    server = serve(reply)
    vectors, tokens = embed(server.url, ["a", "b", "c"], batch_size=2)
    assert (vectors.shape, tokens) == ((3, 1), 0)
    assert [request["input"] for request in server.bodies] == [["a", "b"], ["c"]]
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize(
    "reply",
    [
        {},
        [],
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": "x"}, {"index": 1, "embedding": "y"}]},
        {"data": [{"index": 0}, {"index": 1}]},
        {"data": ["a", "b"]},
        {"data": [{"index": 0, "embedding": [float("nan")]}, {"index": 1, "embedding": [1.0]}]},
    ],
)
def test_a_reply_that_is_none_is_said_to_be(reply: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_reply(reply, num=2)


def test_failures_are_infrastructure_and_named(serve: Callable) -> None:
    with pytest.raises(ServiceUnavailableError, match=r"^embeddings at http"):
        embed(serve(Answer({}, status=503)).url, ["a"])
    with pytest.raises(EndpointRejectedError, match="OPENAI_API_KEY"):
        embed(serve(Answer({}, status=401)).url, ["a"])
    with pytest.raises(ConfigError, match=r"methods\.x\.embeddings\.base_url"):
        embed("nowhere", ["a"])
