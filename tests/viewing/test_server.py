"""The server of the pages: read-only, for this machine."""

import json
from pathlib import Path

import pytest
from viewed_runs import make_run, write_step

from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.source import Source

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from asgi_client import ask

from workflow_r1.viewing.server import make_viewer


@pytest.fixture
def app(tmp_path: Path):
    make_run(tmp_path / "run", steps=2)
    reading = Reading([Source(tmp_path / "run")])
    return make_viewer(reading)


def test_the_page_comes_with_its_policy(app) -> None:
    status, headers, body = ask(app, "/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert b"access-control" not in str(headers).encode()
    assert b"<!DOCTYPE html>" in body


@pytest.mark.parametrize(
    "path",
    ["/api/summary?source=0", "/api/rows?source=0&seen=", "/api/trajectories?source=0&at=0.0,0.3", "/api/stored?source=0&at=0.1",
     "/api/search?source=0&words=Spielberg", "/api/effects?source=0", "/api/compare?side=0@1-1&side=0@2-2", "/api/state"],
)  # fmt: skip
def test_every_question_is_answered_in_json(app, path: str) -> None:
    status, headers, body = ask(app, path)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert json.loads(body)


def test_what_has_not_changed_is_not_sent_again(app, tmp_path: Path) -> None:
    _, headers, body = ask(app, "/api/state")
    assert json.loads(body)[0]["rows"] == [16]
    status, _, body = ask(app, "/api/state", {"If-None-Match": headers["etag"]})
    assert (status, body) == (304, b"")


def test_what_is_new_is_sent(tmp_path: Path) -> None:
    files = make_run(tmp_path / "run", steps=2)
    reading = Reading([Source(tmp_path / "run")])
    reading._looked = -1e9
    app = make_viewer(reading)
    _, headers, _ = ask(app, "/api/state")
    write_step(files, 3)
    reading._looked = -1e9
    status, _, body = ask(app, "/api/state", {"If-None-Match": headers["etag"]})
    assert status == 200
    assert json.loads(body)[0]["rows"] == [24]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/summary?source=7", 404), ("/api/summary?source=x", 400), ("/api/summary?source=-1", 400),
     ("/api/trajectories?source=0&at=../../etc", 400), ("/api/stored?source=0&at=0.9999", 404), ("/api/stored?source=0&at=9.0", 404),
     ("/api/compare?side=0", 404), ("/api/rows?source=0&seen=1e9", 400), ("/pages/app.js", 404), ("/../config.toml", 404)],
)  # fmt: skip
def test_other_requests_are_refused_with_the_reason(app, path: str, status: int) -> None:
    found, headers, body = ask(app, path)
    assert found == status
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["error"]


def test_a_trajectory_that_is_not_there_leaves_the_others(app) -> None:
    _, _, body = ask(app, "/api/trajectories?source=0&at=0.0,0.9999")
    first, second = json.loads(body)
    assert first["id"] == "q0-1-0"
    assert "expected a trajectory" in second["unreadable"]


def test_nothing_can_be_changed_and_no_other_name_is_served(app) -> None:
    assert ask(app, "/api/state", method="POST", headers={"Content-Type": "application/json"})[0] == 405
    assert ask(app, "/api/state", {"Host": "evil.example"})[0] == 421
