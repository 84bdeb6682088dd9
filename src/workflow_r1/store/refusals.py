"""Refusals in the store of calls: a service that refuses a call's content has answered it, and a replay repeats the refusal."""

from collections.abc import Awaitable, Callable
from typing import Any

from workflow_r1.errors import ContentRejectedError, FilteredError, TooLongError

_ERRORS: dict[str, type[ContentRejectedError]] = {error.__name__: error for error in (TooLongError, FilteredError)}


def keeping_refusals(ask: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """Wrap a call: where the service refuses its content, the wrapped call returns the refusal in place of raising it."""

    async def answer() -> Any:
        try:
            return await ask()
        except ContentRejectedError as error:
            return {"rejected": type(error).__name__, "message": str(error)}

    return answer


def raise_refusal(answer: Any) -> None:
    """Raise a refusal that was kept; any other answer is left alone.

    Raises:
        ContentRejectedError: the answer is one.
    """
    if isinstance(answer, dict) and "rejected" in answer:
        raise _ERRORS.get(answer["rejected"], ContentRejectedError)(answer["message"])
