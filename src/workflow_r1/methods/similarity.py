"""Search for similar texts: by their words, or by their embeddings."""

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np

from workflow_r1.errors import DataError
from workflow_r1.retrieval import BM25Index, EmbeddingModel, Passage
from workflow_r1.retrieval.embeddings import Vectors
from workflow_r1.trajectory.storage import append_lines, iterate_lines

FindSimilar = Callable[[str], Awaitable[list[int]]]
"""Maps a text to the numbers of those like it, the most similar first."""

TEXTS_AT_ONCE = 256
"""Vectors that a crash can cost."""


def by_words(texts: Sequence[str]) -> FindSimilar:
    """Compare words by BM25, as the Search operator does; texts without a common word are not similar at all."""
    index = (
        BM25Index.from_passages(
            Passage(id=str(number), title="", text=text, score=0.0) for number, text in enumerate(texts)
        )
        if texts
        else None
    )

    async def find(text: str) -> list[int]:
        found = [] if index is None else await index(text, k=len(texts))
        return [int(passage.id) for passage in found]

    return find


async def by_embeddings(
    texts: Sequence[str], embed: EmbeddingModel, looked_for: Sequence[str], path: Path
) -> tuple[FindSimilar, int]:
    """Compare embeddings by their cosine.

    Args:
        texts: texts to choose from.
        embed: maker of the vectors.
        looked_for: every text that will be looked for.
        path: file of the vectors; its vectors are not made again.

    Returns:
        The finder, and the tokens of all the vectors.

    Raises:
        ServiceError: the service failed; the vectors so far are kept.
        DataError: the file is damaged.
    """
    vectors, tokens = read_vectors(path)
    missing = [text for text in dict.fromkeys([*texts, *looked_for]) if text not in vectors]
    for start in range(0, len(missing), TEXTS_AT_ONCE):
        batch = missing[start : start + TEXTS_AT_ONCE]
        made, used = await embed(batch)
        append_vectors(path, batch, made, used)
        vectors |= dict(zip(batch, made.tolist(), strict=True))
        tokens += used
    table = np.array([vectors[text] for text in texts])

    async def find(text: str) -> list[int]:
        if not texts:
            return []
        return [int(number) for number in np.argsort(-(table @ np.array(vectors[text])), kind="stable")]

    return find, tokens


def append_vectors(path: Path, texts: Sequence[str], vectors: Vectors, tokens: int) -> None:
    """Append the vectors of some texts to a file, and the tokens that they took."""
    append_lines(path, [json.dumps({"texts": texts, "vectors": vectors.tolist(), "tokens": tokens}) + "\n"])


def read_vectors(path: Path) -> tuple[dict[str, list[float]], int]:
    """Return the vectors of a file by text, and the tokens that they took; none where there is no file.

    Raises:
        DataError: the file is damaged.
    """
    vectors: dict[str, list[float]] = {}
    tokens = 0
    for place, line in iterate_lines(path, of="vectors") if path.is_file() else ():
        try:
            row = json.loads(line)
            vectors |= dict(zip(row["texts"], row["vectors"], strict=True))
            tokens += row["tokens"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{place}: expected texts with their vectors, found another row; delete the file") from None
    return vectors, tokens
