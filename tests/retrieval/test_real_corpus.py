"""The real corpus and real questions, where they are at hand; they are no part of this repository."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest

from workflow_r1.retrieval import BM25Index, RetrievalServerConfig, RetrievalServerSearch
from workflow_r1.rewards import normalize_answer

DATA = Path(os.environ.get("WORKFLOW_R1_DATA", Path(__file__).parents[3] / "shared" / "data"))
CORPUS = DATA / "corpus" / "corpus.jsonl.gz"
QUESTIONS = DATA / "eval" / "hotpotqa.jsonl"

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(not CORPUS.is_file() or not QUESTIONS.is_file(), reason=f"no corpus in {DATA}"),
]

PUBLISHED_HIT_AT_5 = 0.658
"""Share of the HotpotQA questions that do not ask for yes or no; measured with bm25s itself when the data was gathered."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of an index over the whole corpus."""
    directory = tmp_path_factory.mktemp("real") / "index"
    BM25Index.build(CORPUS, directory)
    return directory


@pytest.fixture(scope="module")
def questions() -> list[tuple[str, set[str]]]:
    """Every question that does not ask for yes or no, with its normalised answers."""
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    asked = [(row["question"], {normalize_answer(answer) for answer in row["golden_answers"]}) for row in rows]
    return [(question, answers) for question, answers in asked if not answers & {"yes", "no"}]


def is_hit(passages: Iterable[str], answers: set[str]) -> bool:
    texts = [f" {normalize_answer(passage)} " for passage in passages]
    return any(f" {answer} " in text for answer in answers for text in texts)


def retrieve(address: str, queries: list[str]) -> list[list[str]]:
    """Do what a client of Search-R1's server does: send these fields, take the contents out of the reply."""
    body = json.dumps({"queries": queries, "topk": 5, "return_scores": True}).encode()
    request = urllib.request.Request(f"{address}/retrieve", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return [[row["document"]["contents"] for row in rows] for rows in json.load(reply)["result"]]


def test_hit_at_5_on_hotpotqa_in_process_and_through_the_server(
    index: Path, questions: list[tuple[str, set[str]]]
) -> None:
    in_process = BM25Index.open(index)
    assert len(in_process) == 90_255
    assert len(questions) == 948
    command = [sys.executable, "-m", "workflow_r1.cli", "serve-search", "--index", str(index), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().rpartition(" at ")[2].strip()

            async def main() -> None:
                own_client = RetrievalServerSearch(RetrievalServerConfig(url=address))
                hits = 0
                for start in range(0, len(questions), 64):
                    part = questions[start : start + 64]
                    found = [await in_process(question, k=5) for question, _ in part]
                    contents = retrieve(address, [question for question, _ in part])
                    assert [is_hit(texts, answers) for texts, (_, answers) in zip(contents, part, strict=True)] == [
                        is_hit((f"{passage.title} {passage.text}" for passage in passages), answers)
                        for passages, (_, answers) in zip(found, part, strict=True)
                    ]
                    hits += sum(is_hit(texts, answers) for texts, (_, answers) in zip(contents, part, strict=True))
                    assert await asyncio.gather(*(own_client(question, k=5) for question, _ in part)) == found
                await own_client.aclose()
                assert hits / len(questions) == pytest.approx(PUBLISHED_HIT_AT_5, abs=0.005)

            asyncio.run(main())
        finally:
            server.terminate()
