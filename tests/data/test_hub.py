"""Fetching from the hub: huggingface_hub itself against a small hub on this machine."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from scripted_server import Answer, Request, serving

from workflow_r1.data import BENCHMARKS, Benchmark, Draw, load_questions
from workflow_r1.data.benchmarks import HubFile
from workflow_r1.data.hub import check_source, fetch_benchmark, read_source, source_path
from workflow_r1.errors import DataError, MissingExtraError, ServiceUnavailableError

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Dataset files by ``repository/path``, and the requests for them."""

    files: dict[str, bytes] = field(default_factory=dict)
    gets: list[str] = field(default_factory=list)
    break_once_after: int | None = None
    tag: str | None = None
    """ETag of every file's content; None: the SHA-256."""


def point_to(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set the effects of HF_ENDPOINT and HF_HOME, which are read at import. Retries wait for nothing."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    state = Hub()

    def reply(request: Request) -> Answer:
        match = re.fullmatch(r"/datasets/([\w.-]+/[\w.-]+)/resolve/([^/]+)/([^?]+)", request.path)
        asked = request.headers.get("range")
        if request.method == "GET" and request.path.startswith("/datasets/"):
            state.gets.append(asked or "whole")
        content = state.files.get(f"{match[1]}/{match[3]}") if match else None
        if content is None:
            known = match is not None and any(name.startswith(f"{match[1]}/") for name in state.files)
            return Answer(b"", 404, {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})
        headers = {"ETag": f'"{state.tag or hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if request.method == "HEAD":
            return Answer(content, headers=headers)
        start = int(part[1]) if (part := re.fullmatch(r"bytes=(\d+)-\d*", asked or "")) else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        sent, state.break_once_after = body[: state.break_once_after], None
        return Answer(sent, 206 if start else 200, headers, missing=len(body) - len(sent))

    with serving(reply) as server:
        point_to(server.url, monkeypatch, tmp_path)
        yield state


def rows(num: int, **rest: object) -> bytes:
    lines = ({"id": f"test_{n}", "question": f"Q {n}?", "golden_answers": [str(n)], **rest} for n in range(num))
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def benchmark(questions: int = 3, **changes: object) -> Benchmark:
    fields = {
        "name": "small",
        "title": "Small",
        "splits": {"test": HubFile("small/test.jsonl", questions), "train": HubFile("small/train.jsonl", questions)},
        "licence": "CC0",
        "citation": "nobody",
        "evaluated": "test",
        "repository": "some/where",
    }
    return Benchmark(**(fields | changes))


def fetch(each: Benchmark, tmp_path: Path, split: str = "test", **rest: object):
    return fetch_benchmark(each, split, tmp_path / "data", **rest)


def test_a_split_is_fetched_with_its_source(hub, tmp_path):
    hub.files["some/where/small/test.jsonl"] = content = rows(3, metadata={"hops": 2})
    source = fetch(benchmark(), tmp_path)
    path = tmp_path / "data" / "eval" / "small.jsonl"
    questions = load_questions(path)
    assert [each.id for each in questions] == ["small/test_0", "small/test_1", "small/test_2"]
    assert {(each.dataset, each.split, each.metadata["hops"]) for each in questions} == {("small", "test", 2)}
    assert (source.revision, source.sha256) == (COMMIT, hashlib.sha256(content).hexdigest())
    assert (source.num_published, source.num_questions, source.draw_seed) == (3, 3, None)
    assert read_source(path) == check_source(path, questions) == source
    # The cache holds it now.
    fetch(benchmark(), tmp_path)
    assert hub.gets == ["whole"]


def test_a_broken_download_goes_on_where_it_stopped(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.files["some/where/small/test.jsonl"] = content = rows(40_000)
    hub.break_once_after = 1_000_000
    source = fetch(benchmark(40_000), tmp_path)
    assert source.sha256 == hashlib.sha256(content).hexdigest()
    assert hub.gets[0] == "whole"
    assert re.fullmatch(r"bytes=[1-9]\d*-.*", hub.gets[1])


def damage(tmp_path):
    (blob,) = (path for path in (tmp_path / "cache").rglob("blobs/*") if path.is_file())
    blob.write_bytes(b"\0" * blob.stat().st_size)


def test_a_damaged_download_is_fetched_again(hub, tmp_path):
    hub.files["some/where/small/test.jsonl"] = content = rows(3)
    fetch(benchmark(), tmp_path)
    damage(tmp_path)
    assert fetch(benchmark(), tmp_path).sha256 == hashlib.sha256(content).hexdigest()
    assert hub.gets == ["whole", "whole"]


def test_a_download_that_is_damaged_every_time_is_the_services_fault(hub, tmp_path, monkeypatch):
    hub.files["some/where/small/test.jsonl"] = rows(3)
    hub.tag = "0" * 64
    with pytest.raises(ServiceUnavailableError, match="expected a file with the checksum that the hub states"):
        fetch(benchmark(), tmp_path)
    assert hub.gets == ["whole", "whole"]
    assert not (tmp_path / "data").exists()


def test_a_small_file_has_the_checksum_of_git(hub, tmp_path):
    hub.files["some/where/small/test.jsonl"] = content = rows(3)
    # What `git hash-object` prints of that file.
    hub.tag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    fetch(benchmark(), tmp_path)
    damage(tmp_path)
    fetch(benchmark(), tmp_path)
    assert hub.gets == ["whole", "whole"]


def test_a_mixture_is_drawn_and_its_ids_name_the_dataset(hub, tmp_path):
    lines = [
        json.loads(line) | {"data_source": ("nq", "hotpotqa")[n % 2]} for n, line in enumerate(rows(10).splitlines())
    ]
    hub.files["some/where/small/train.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()
    each = benchmark(10, evaluated=None, draw=Draw(size=4, seed=42))
    source = fetch(each, tmp_path, "train")
    questions = load_questions(tmp_path / "data" / "train" / "small.jsonl")
    # pandas: DataFrame({"x": range(10)}).sample(n=4, random_state=42)
    assert [each.id for each in questions] == ["nq/test_8", "hotpotqa/test_1", "hotpotqa/test_5", "nq/test_0"]
    assert (source.num_published, source.num_questions, source.draw_seed) == (10, 4, 42)


def test_a_changed_publication_is_noticed_unless_a_revision_is_named(hub, tmp_path):
    hub.files["some/where/small/test.jsonl"] = rows(3)
    with pytest.raises(DataError, match="expected 4 questions, as documented, found 3"):
        fetch(benchmark(4), tmp_path)
    pinned = benchmark(splits={"test": HubFile("small/test.jsonl", 3, "0" * 64)})
    with pytest.raises(DataError, match=r"expected a file with the SHA-256 0000.*--revision"):
        fetch(pinned, tmp_path)
    assert not (tmp_path / "data").exists()
    assert fetch(pinned, tmp_path, revision="v2").num_questions == 3


def test_a_file_that_was_changed_since_is_noticed(hub, tmp_path):
    hub.files["some/where/small/test.jsonl"] = rows(3)
    fetch(benchmark(), tmp_path)
    path = tmp_path / "data" / "eval" / "small.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(DataError, match=r"small\.jsonl: expected the 3 questions .* found 2 others: fetch .*--force"):
        check_source(path, load_questions(path))
    source_path(path).write_text("{")
    with pytest.raises(DataError, match=r"small\.source\.json: expected the record"):
        read_source(path)


def test_what_is_not_there(hub, tmp_path):
    hub.files["some/where/other.jsonl"] = b""
    with pytest.raises(DataError, match=r"small/test\.jsonl in the dataset some/where at revision 'main'"):
        fetch(benchmark(), tmp_path)
    with pytest.raises(DataError, match="the dataset no/where"):
        fetch(benchmark(repository="no/where"), tmp_path)
    with pytest.raises(DataError, match="small: expected a split among test, train, received 'dev'"):
        fetch(benchmark(), tmp_path, "dev")


def test_offline_says_how_to_go_on(tmp_path, monkeypatch):
    point_to("http://127.0.0.1:9", monkeypatch, tmp_path)
    with pytest.raises(ServiceUnavailableError) as caught:
        fetch(BENCHMARKS["bamboogle"], tmp_path)
    address = "http://127.0.0.1:9/datasets/RUC-NLPIR/FlashRAG_datasets/resolve/main/bamboogle/test.jsonl"
    for part in ("expected to reach http://127.0.0.1:9", f"download {address}", "workflow-r1 data convert"):
        assert part in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"\[data\]"):
        fetch_benchmark(BENCHMARKS["bamboogle"], "test", tmp_path)
