"""Vectors of questions and moves without an endpoint, and a memory of earlier vectors."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import numpy as np

from workflow_r1.methods.similarity import append_vectors, read_vectors
from workflow_r1.retrieval import EmbeddingModel
from workflow_r1.retrieval.embeddings import Vectors

NUM_PLACES = 384
"""Dimension of the vectors: that of all-MiniLM-L6-v2, which MaAS uses."""

HASHED = f"hashed n-grams, {NUM_PLACES}"
"""Name of the hashed vectors in records."""


class HashedEmbeddings:
    """Counts of words and of runs of three to five letters, hashed into a fixed number of places, with signs.

    It knows which words and endings two texts share, but not their meaning. Each feature adds +1 or -1, by its hash, at
    a place that its hash names (Weinberger et al. 2009); the square root dampens repetition, and the result has length
    1.
    """

    async def __call__(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Return the vectors, ``(texts, NUM_PLACES)``, and no tokens; a text without letters or digits is the zero vector."""
        return np.array([_hash(text) for text in texts]).reshape(len(texts), NUM_PLACES), 0


class RememberedEmbeddings:
    """An ``EmbeddingModel`` that makes the vector of a text once.

    Args:
        model: maker of the vectors.
        path: file of the vectors, for a later run to use; None keeps them in memory alone.

    Raises:
        DataError: the file is damaged.
    """

    def __init__(self, model: EmbeddingModel, path: Path | None = None) -> None:
        self._model = model
        self._path = path
        kept, num_tokens = ({}, 0) if path is None else read_vectors(path)
        self._known: dict[str, Vectors] = {text: np.array(vector) for text, vector in kept.items()}
        self.num_tokens = num_tokens
        """Tokens of all the vectors, those of earlier runs included."""

    async def __call__(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Return the vectors of texts, and the tokens that they took now.

        Raises:
            ServiceError: the service failed after its retries.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        tokens = 0
        if new:
            vectors, tokens = await self._model(new)
            if self._path is not None:
                append_vectors(self._path, new, vectors, tokens)
            self._known.update(zip(new, vectors, strict=True))
            self.num_tokens += tokens
        return np.array([self._known[text] for text in texts]), tokens


def _hash(text: str) -> Vectors:
    vector = np.zeros(NUM_PLACES)
    words = re.findall(r"\w+", text.lower())
    padded = [f" {word} " for word in words]
    grams = (
        word[start : start + size] for word in padded for size in (3, 4, 5) for start in range(len(word) - size + 1)
    )
    for feature in chain((f"word {word}" for word in words), grams):
        digest = int.from_bytes(blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest())
        vector[(digest >> 1) % NUM_PLACES] += 1 if digest & 1 else -1
    vector = np.sign(vector) * np.sqrt(np.abs(vector))
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
