"""``serve-search`` as a process of its own, and what it refuses."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workflow_r1.installation import install_command

pytest.importorskip("uvicorn")


JSON = {"Content-Type": "application/json"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [{"id": "7", "title": "Jaws", "text": "A film."}, {"id": "8", "contents": '"Alien"\nAnother film.'}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@contextmanager
def running(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server with the line that gives its address, behind those of a build, and the address."""
    command = [sys.executable, "-m", "workflow_r1.cli", "serve-search", "--port", "0", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            before, match = "", None
            for line in process.stdout:
                if (match := re.search(r" at (http://\S+)", line)) is not None:
                    break
                before += line
            assert match is not None, before
            yield process, line, match[1]
        finally:
            process.kill()


def retrieve(address: str, query: str) -> list[dict]:
    body = json.dumps({"queries": [query], "topk": 3, "return_scores": True}).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"{address}/retrieve", data=body, headers=JSON), timeout=10
    ) as reply:
        (passages,) = json.load(reply)["result"]
        return passages


def test_an_index_is_built_served_and_left_in_good_order(corpus: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    for stop in (signal.SIGINT, signal.SIGTERM):
        with running("--corpus", corpus, "--index", index, "--k", "1") as (process, line, address):
            assert "BM25 index index, 2 passages" in line
            assert [passage["document"]["contents"] for passage in retrieve(address, "alien")] == [
                '"Alien"\nAnother film.'
            ]
            with urllib.request.urlopen(f"{address}/health", timeout=10) as reply:
                described = {"status": "ok", "kind": "bm25", "k": 1, "passages": 2, "index": "index"}
                assert json.load(reply) == described
            process.send_signal(stop)
            output, _ = process.communicate(timeout=20)
            assert process.returncode == 0, output
            assert output.endswith("stopped\n")
            assert "Traceback" not in output
        assert (index / "meta.json").is_file()


def test_any_search_of_a_configuration_is_served(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def find(query, k):\n    return [f'{query} {k}']\n")
    overrides = ("-o", "search.kind=callable", "-o", f"search.callable.function={tmp_path}/mine.py:find")
    with running(*overrides) as (_, line, address):
        assert "a Python function at" in line
        assert retrieve(address, "jaws")[0]["document"]["contents"] == '""\njaws 3'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "nothing"], "there is no index at nothing"),
        (["--index", "nothing", "--corpus", "nothing.jsonl"], "expected a corpus file, found nothing at nothing.jsonl"),
        (
            ["--corpus", "corpus.jsonl"],
            "expected --index with --corpus: the directory where the index of corpus.jsonl is kept",
        ),
        (["paper", "--index", "mine"], "expected either CONFIG or --index and --corpus"),
        (["--host", "no.such.host.invalid.1"], "expected --host to be an address of this machine"),
        (["-o", "search.kind=none"], 'search.kind: expected a search such as "bm25"'),
    ],
)
def test_what_is_refused(call: Callable, no_network: list[str], arguments: list[str], message: str) -> None:
    code, _, errors = call("serve-search", "--port", "0", *arguments)
    no_network.clear()
    assert code == 2
    assert message in " ".join(errors.split())


def test_a_port_that_is_taken(call: Callable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, errors = call("serve-search", "--port", str(port))
    assert code == 2
    assert f"expected port {port} of 127.0.0.1 to be free" in " ".join(errors.split())


def test_without_the_extra(call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, errors = call("serve-search")
    assert code == 2
    assert install_command("serve") in errors
