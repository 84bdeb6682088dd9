r"""A search as a retrieval server that speaks Search-R1's protocol. Needs the extra ``serve``.

POST /retrieve {"queries": ["Who directed Jaws?"], "topk": 5, "return_scores": true}
{"result": [[{"document": {"id": "7", "contents": "\"Jaws\"\nJaws is a film ..."}, "score": 12.5}, ...]]}

Without ``return_scores`` each document stands alone, as in Search-R1. ``GET /health`` describes the served search. An
error is ``{"detail": "..."}``: 400 no JSON, 401 no key, 408 too slow, 413 too long, 415 not ``application/json``, 421
another host, 422 not of this form, 429 too many at once, 502 and 504 the search behind it failed.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workflow_r1.errors import ServiceError, ServiceTimeoutError
from workflow_r1.retrieval.backend import Passage, SearchBackend
from workflow_r1.retrieval.passages import join_contents
from workflow_r1.services.admission import Admission, AdmissionRules
from workflow_r1.services.attempts import encodable


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits of one request, which keep the server free for the others."""

    max_queries: int = 256
    """Most queries."""
    max_query_chars: int = 10_000
    """Longest query."""
    max_topk: int = 100
    """Most passages per query."""
    concurrency: int = 4
    """Queries searched at once, all requests together; the others wait."""


def make_app(
    search: SearchBackend,
    *,
    default_k: int,
    description: Mapping[str, Any],
    limits: ServerLimits = ServerLimits(),
    rules: AdmissionRules | None = None,
) -> Starlette:
    """Make the server's application.

    Args:
        search: backend that answers.
        default_k: passages per query where a request does not say.
        description: further fields of the answer to ``GET /health``.
        limits: limits of a request.
        rules: rules of admission for all requests; None takes the rules' own defaults.
    """
    slots = asyncio.Semaphore(limits.concurrency)

    async def find(query: str, k: int) -> list[Passage]:
        async with slots:
            return await search(query, k=k)

    async def retrieve(request: Request) -> Response:
        wanted = await asyncio.to_thread(_read_request, await request.body(), default_k, limits)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(find(query, wanted.k)) for query in wanted.queries]
        except* ServiceError as failures:
            raise _judge(failures) from None
        rows = [[_show(passage, wanted.with_scores) for passage in task.result()] for task in tasks]
        return JSONResponse({"result": rows})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", **description})

    return Starlette(
        routes=[Route("/retrieve", retrieve, methods=["POST"]), Route("/health", health, methods=["GET"])],
        middleware=[Middleware(Admission, rules or AdmissionRules(), describe=lambda each: {"detail": each.message})],
        exception_handlers={HTTPException: _tell},
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    queries: list[str]
    k: int
    with_scores: bool


def _read_request(body: bytes, default_k: int, limits: ServerLimits) -> _Wanted:
    """Read a request. Unknown fields are ignored, since clients send fields that other servers know.

    Raises:
        HTTPException: the body is not a request; the message says what was expected and what was found.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"expected a body in JSON, found something else ({error})") from None
    if not isinstance(request, dict):
        raise HTTPException(422, f"expected an object, found {_name(request)}")
    if "queries" not in request:
        found = ", ".join(map(str, request))[:120] or "none"
        raise HTTPException(422, f"queries: expected a list of strings, found no such field (fields: {found})")
    queries = request["queries"]
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        wrong = queries
        if isinstance(queries, list):
            wrong = next(query for query in queries if not isinstance(query, str))
        raise HTTPException(422, f"queries: expected a list of strings, found {_name(wrong)}")
    if len(queries) > limits.max_queries:
        raise HTTPException(422, f"queries: expected at most {limits.max_queries}, found {len(queries)}")
    longest = max(map(len, queries), default=0)
    if longest > limits.max_query_chars:
        raise HTTPException(413, f"queries: expected at most {limits.max_query_chars} characters each, found {longest}")
    k = request.get("topk")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= limits.max_topk):
        shown = k if isinstance(k, int | float) else _name(k)
        raise HTTPException(422, f"topk: expected a whole number from 1 to {limits.max_topk}, found {shown}")
    with_scores = request.get("return_scores")
    if with_scores is not None and not isinstance(with_scores, bool):
        raise HTTPException(422, f"return_scores: expected true or false, found {_name(with_scores)}")
    # As there, 0 stands for the server's own number.
    return _Wanted([encodable(query) for query in queries], k or default_k, bool(with_scores))


def _show(passage: Passage, with_scores: bool) -> dict[str, Any]:
    document = {"id": passage.id, "contents": join_contents(passage)}
    return {"document": document, "score": passage.score} if with_scores else document


def _judge(failures: ExceptionGroup[ServiceError]) -> HTTPException:
    error: BaseException = failures
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    status = 504 if isinstance(error, ServiceTimeoutError) else 502
    return HTTPException(status, f"the search behind this server failed: {error}")


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


async def _tell(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code in (404, 405):
        detail = f"expected POST /retrieve or GET /health, received {request.method} {request.url.path[:100]}"
    return JSONResponse({"detail": detail}, status_code=error.status_code, headers=error.headers)
