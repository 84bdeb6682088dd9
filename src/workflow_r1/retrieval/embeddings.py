"""Vectors of texts from an endpoint that speaks OpenAI's embeddings: OpenAI itself, vLLM, Ollama, ...

POST BASE_URL/embeddings {"model": "...", "input": ["Who directed Jaws?", ...]}
{"data": [{"index": 0, "embedding": [0.1, ...]}, ...], "usage": {"prompt_tokens": 5}}
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from workflow_r1.services.attempts import encodable
from workflow_r1.services.json_service import JSONService, JSONServiceConfig
from workflow_r1.services.keys import read_key

Vectors = NDArray[np.float64]


class EmbeddingsConfig(JSONServiceConfig):
    """An endpoint for embeddings."""

    base_url: str = Field(min_length=1)
    """Endpoint, e.g. ``http://127.0.0.1:8000/v1``."""
    model: str = Field(min_length=1)
    """Model name at the endpoint."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a local server may do without."""
    batch_size: int = Field(default=64, ge=1)
    """Texts per request."""


class EmbeddingModel(Protocol):
    """Turns texts into vectors."""

    async def __call__(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Return the vectors of texts, ``(texts, dimensions)``, of length 1, and the tokens that they took.

        Raises:
            ServiceError: the service failed after its retries.
        """
        ...


class OpenAIEmbeddings:
    """An ``EmbeddingModel`` over an endpoint.

    Args:
        config: address, model and patience.
        key: configuration key that errors name.

    Raises:
        ConfigError: the address or the key is not valid.
    """

    def __init__(self, config: EmbeddingsConfig, *, key: str) -> None:
        self.config = config
        secret = read_key(config.api_key_env, purpose="the key for embeddings", required=False)
        self._service = JSONService(
            f"{config.base_url.rstrip('/')}/embeddings",
            config,
            key=f"{key}.base_url",
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
            secrets=(secret,) if secret else (),
            remedies={401: f"check the key in the environment variable {config.api_key_env}"},
            kind="embeddings",
        )

    async def __call__(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Return the vectors of texts; see :class:`EmbeddingModel`."""
        vectors, tokens = [], 0
        for start in range(0, len(texts), self.config.batch_size):
            batch = [encodable(text) for text in texts[start : start + self.config.batch_size]]
            request = {"model": self.config.model, "input": batch}
            found, used = await self._service.ask(request, partial(read_reply, num=len(batch)))
            vectors.append(found)
            tokens += used
        return np.concatenate(vectors) if vectors else np.empty((0, 0)), tokens

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        await self._service.aclose()


def read_reply(reply: Any, *, num: int) -> tuple[Vectors, int]:
    """Read the vectors of a reply, and the tokens that it counts.

    Raises:
        ValueError: the reply holds no vectors; the message says what is missing.
    """
    rows = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(rows, list) or len(rows) != num:
        raise ValueError(f"expected a field data with {num} vectors")
    try:
        ordered = sorted(rows, key=lambda row: row.get("index", 0))
        vectors = np.array([row["embedding"] for row in ordered], dtype=np.float64)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError("expected objects with the fields index and embedding, vectors of one length") from None
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError("expected vectors of finite numbers")
    usage = reply.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1), tokens if isinstance(tokens, int) else 0
