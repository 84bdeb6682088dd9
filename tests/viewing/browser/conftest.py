"""A real browser, which may not leave this machine and must not complain."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api")

PATIENCE = 30_000
"""Longest wait for anything, in milliseconds: a busy machine is slow, and only a failing test waits so long."""
sync_api.expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Chromium of the system: ``$CHROMIUM``, else the first of its usual names on the path."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if name and (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("expected Chromium on the path or in $CHROMIUM: `make test-pages` says how to get it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, with all that it asked for and complained of."""

    def __init__(self, page: object) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


@pytest.fixture
def open_page(chromium, watching) -> Iterator[Callable[..., object]]:
    """Open an address; at the end no page has left this machine, complained, or run what it should not.

    Servers end after it, so that no page misses its own.
    """
    watched: list[Watched] = []
    contexts = []

    def open_one(address: str, *, dark: bool = False, size: tuple[int, int] = (1280, 900), **options: object) -> object:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light", **options
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        watched.append(Watched(page))
        page.watched = watched[-1]
        page.goto(address)
        return page

    yield open_one
    for each in watched:
        assert not [url for url in each.requests if not re.match(r"file://|data:|blob:|http://127\.0\.0\.1:", url)]
        assert each.complaints == []
        assert each.page.evaluate("window.hacked") is None
    for context in contexts:
        context.close()


@pytest.fixture
def watching() -> Iterator[Callable[..., str]]:
    """Start ``workflow-r1 watch``; gives its address."""
    started = []

    def start(*runs: Path) -> str:
        command = [sys.executable, "-m", "workflow_r1.cli", "watch", *map(str, runs), "--port", "0"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"COLUMNS": "200"}
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r" at (http://127\.0\.0\.1:\d+)", line)
        assert found is not None, line + process.stdout.read()
        return f"{found[1]}/"

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
