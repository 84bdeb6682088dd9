"""Web search through an API in the request and response form of Serper (serper.dev), which others offer, too.

POST {"q": "Who directed Jaws?", "num": 5}, header X-API-KEY
{"answerBox": {...}, "knowledgeGraph": {...}, "organic": [{"title": ..., "snippet": ..., "link": ...}, ...]}
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from workflow_r1.retrieval.backend import Passage
from workflow_r1.retrieval.passages import read_passages
from workflow_r1.services.attempts import encodable
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.json_service import JSONService, JSONServiceConfig
from workflow_r1.services.keys import read_key

_KNOWN_FIELDS = ("organic", "answerBox", "knowledgeGraph", "searchParameters")
"""Fields of a search result. A reply with none of these is refused; one with some of them may have found nothing."""


class WebSearchConfig(JSONServiceConfig):
    """A web search API in Serper's form."""

    url: str = Field(default="https://google.serper.dev/search", min_length=1)
    """Address of the API."""
    api_key_env: str = "SERPER_API_KEY"
    """Environment variable that holds the key; the key itself never stands in a configuration."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, e.g. ``{ gl = "us", hl = "en" }``."""


class WebSearch:
    """A ``SearchBackend`` over a web search API.

    Each result is a passage: its title, its snippet as the text, its link as the identifier, 1/rank as the score. The
    engine's own answer (``answerBox``) comes first, its knowledge of a subject (``knowledgeGraph``) second.

    Args:
        config: address, key and patience.

    Raises:
        ConfigError: the address is not valid, or the key is missing.
    """

    def __init__(self, config: WebSearchConfig) -> None:
        self._parameters = config.parameters
        key = read_key(config.api_key_env, purpose="the web search's key")
        about_key = f"check the key in the environment variable {config.api_key_env}, and its quota"
        self._service = JSONService(
            config.url,
            config,
            key="search.web.url",
            headers={"X-API-KEY": key},
            secrets=(key,),
            remedies={400: f"{about_key}, and search.web.parameters", 401: about_key, 402: about_key, 403: about_key},
        )

    @property
    def failures(self) -> Counter[FailureKind]:
        """Failed attempts so far, by kind, including those that a retry made good."""
        return self._service.failures

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return at most ``k`` passages; see :class:`~workflow_r1.retrieval.SearchBackend`.

        Raises:
            ServiceUnavailableError: unreachable, throttled, failing or unreadable on the last attempt.
            ServiceTimeoutError: no reply in time on the last attempt.
            EndpointRejectedError: the API refuses every request: key, quota, address.
            ServiceRejectedError: the API refuses the request.
        """
        request = {**self._parameters, "q": encodable(query), "num": k}
        return await self._service.ask(request, lambda reply: read_reply(reply, k))

    async def aclose(self) -> None:
        """Close the connections; a later query opens new ones."""
        await self._service.aclose()


def read_reply(reply: Any, k: int) -> list[Passage]:
    """Read the passages of a reply.

    Raises:
        ValueError: the reply holds no results; the message says what is missing.
    """
    if not isinstance(reply, dict) or not any(field in reply for field in _KNOWN_FIELDS):
        fields = f"fields {', '.join(map(str, reply))[:120] or 'none'}" if isinstance(reply, dict) else "no object"
        raise ValueError(f"expected an object with the field organic, found {fields}")
    organic = reply.get("organic") or []
    if not isinstance(organic, list):
        raise ValueError(f"field organic: expected a list, found a {type(organic).__name__}")
    # A page may come without a snippet: its title is a result all the same.
    pages = [{"snippet": "", **page} if isinstance(page, dict) else page for page in organic]
    return read_passages([*_own_answers(reply), *pages], k)


def _own_answers(reply: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the engine's answers besides its list of pages; unknown forms are ignored."""
    box = reply.get("answerBox")
    if isinstance(box, dict):
        text = _join(box.get("answer"), box.get("snippet"))
        if text:
            yield {"title": _text(box.get("title")), "text": text, "link": _text(box.get("link"))}
    graph = reply.get("knowledgeGraph")
    if isinstance(graph, dict):
        attributes = graph.get("attributes")
        facts = attributes.items() if isinstance(attributes, dict) else ()
        text = _join(graph.get("type"), graph.get("description"), *(f"{name}: {fact}" for name, fact in facts))
        if text:
            link = _text(graph.get("descriptionLink")) or _text(graph.get("website"))
            yield {"title": _text(graph.get("title")), "text": text, "link": link}


def _join(*parts: Any) -> str:
    return "; ".join(dict.fromkeys(part.strip() for part in parts if isinstance(part, str) and part.strip()))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
