"""The example of dense retrieval, with an encoder that counts letters in place of a neural one."""

import asyncio
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from workflow_r1.retrieval import CallableSearch, CallableSearchConfig

EXAMPLE = Path(__file__).parents[2] / "examples" / "dense_search.py"


class LetterEncoder:
    def __init__(self, name: str) -> None:
        assert name == "letters"

    def encode(self, texts: str | list[str], *, normalize_embeddings: bool) -> np.ndarray:
        several = [texts] if isinstance(texts, str) else texts
        counts = np.array([[text.count(chr(97 + n)) for n in range(26)] for text in several], dtype=np.float32)
        vectors = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return vectors[0] if isinstance(texts, str) else vectors


def test_the_nearest_passages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "corpus.jsonl"
    rows = [{"id": f"{n}", "title": t, "text": f"{t} {t}"} for n, t in enumerate(["zzzz", "xyxyxy", "qqqq"])]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = LetterEncoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    monkeypatch.setenv("CORPUS", str(corpus))
    monkeypatch.setenv("ENCODER", "letters")
    search = CallableSearch(CallableSearchConfig(function=f"{EXAMPLE}:find"))

    async def main() -> None:
        first, second = await search("xyxyxyxyxyxyxyxy", k=2)
        assert (first.id, first.title) == ("1", "xyxyxy")
        assert first.score > second.score
        await search.aclose()

    asyncio.run(main())
