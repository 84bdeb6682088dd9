"""The pages as a server: read-only, this machine's browsers by default. Needs the extra ``serve``."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from workflow_r1.errors import DataError, UserError
from workflow_r1.services.admission import Admission, AdmissionRules, Refusal
from workflow_r1.viewing.page import content_policy, write_page
from workflow_r1.viewing.reading import Reading

logger = logging.getLogger(__name__)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Headers of every reply: no other page may read or embed it."""

MAX_PLACES = 64
"""Most trajectories of one reply."""


def make_viewer(reading: Reading, *, rules: AdmissionRules | None = None) -> Starlette:
    """Make the application that serves the pages of some runs.

    Args:
        reading: the runs.
        rules: rules of admission for all requests; None takes the rules' own defaults.
    """
    pages = _Pages(reading)
    routes = {
        "/api/state": pages.state,
        "/api/summary": pages.summary,
        "/api/rows": pages.rows,
        "/api/trajectories": pages.trajectories,
        "/api/stored": pages.stored,
        "/api/search": pages.search,
        "/api/effects": pages.effects,
        "/api/compare": pages.compare,
    }
    return Starlette(
        routes=[
            Route("/", pages.page, methods=["GET"]),
            Route("/health", pages.health, methods=["GET"]),
            *(Route(path, _json_of(answer), methods=["GET"]) for path, answer in routes.items()),
        ],
        middleware=[Middleware(Admission, rules or AdmissionRules(), describe=_describe_refusal)],
        exception_handlers={HTTPException: _tell_unknown},
    )


class _Pages:
    """Handlers; each but the page works in a thread."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def page(self, request: Request) -> Response:
        policy = f"{content_policy(served=True)}; frame-ancestors 'none'"
        return Response(
            write_page("Workflow-R1"), media_type="text/html", headers={**HEADERS, "Content-Security-Policy": policy}
        )

    async def health(self, request: Request) -> Response:
        return _reply({"status": "ok"}, request)

    def state(self, request: Request) -> Any:
        return self._reading.state()

    def summary(self, request: Request) -> Any:
        return self._reading.summary(_number(request, "source"))

    def rows(self, request: Request) -> Any:
        return self._reading.rows(_number(request, "source"), _numbers(request, "seen"))

    def trajectories(self, request: Request) -> Any:
        return self._reading.trajectories(_number(request, "source"), _places(request))

    def stored(self, request: Request) -> Any:
        return self._reading.stored(_number(request, "source"), _places(request)[0])

    def search(self, request: Request) -> Any:
        words = request.query_params.get("words", "")[:1000]
        return self._reading.search(
            _number(request, "source"), words, _number(request, "file"), _number(request, "start")
        )

    def effects(self, request: Request) -> Any:
        return self._reading.effects(_number(request, "source"), _number(request, "file"), _number(request, "start"))

    def compare(self, request: Request) -> Any:
        return self._reading.compare(request.query_params.getlist("side")[:8])


class _Mistake(UserError):
    """A request that makes no sense."""


def _json_of(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        try:
            return await asyncio.to_thread(lambda: _reply(answer(request), request))
        except _Mistake as error:
            return _reply({"error": str(error)}, request, 400)
        except DataError as error:
            return _reply({"error": str(error)}, request, 404)

    return handle


def _reply(body: Any, request: Request, status: int = 200) -> Response:
    # ASCII alone: a stored text may hold a lone surrogate, which UTF-8 cannot.
    data = json.dumps(body, separators=(",", ":"), default=str).encode()
    tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
    headers = {**HEADERS, "ETag": tag}
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, status_code=status, media_type="application/json", headers=headers)


def _number(request: Request, name: str) -> int:
    return _as_number(request.query_params.get(name, "0"), name)


def _as_number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise _Mistake(f"expected {name} to be a whole number, received {text[:50]!r}")
    return int(text)


def _numbers(request: Request, name: str) -> list[int]:
    return [_as_number(text, name) for text in request.query_params.get(name, "").split(",") if text][:1000]


def _places(request: Request) -> Sequence[tuple[int, int]]:
    places = []
    for text in request.query_params.get("at", "").split(",")[:MAX_PLACES]:
        file, _, row = text.partition(".")
        places.append((_as_number(file, "at"), _as_number(row, "at")))
    return places


def _describe_refusal(refusal: Refusal) -> Mapping[str, Any]:
    return {"error": refusal.message}


async def _tell_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"expected GET / or a path below /api, received {request.method} {request.url.path[:100]}"
    return Response(
        json.dumps({"error": message}), status_code=error.status_code, media_type="application/json", headers=HEADERS
    )
