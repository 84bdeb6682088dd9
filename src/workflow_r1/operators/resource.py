"""Resource that an operator holds open between its calls, e.g. the client of an API: opened once, closed with the event loop."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

Opener = Callable[..., AbstractAsyncContextManager[Any]]
"""Maker of a resource, called with nothing or with the operator's settings; ``async with`` on its result gives the resource."""


class Resource:
    """Opens a context at the first use in an event loop and closes it when that loop ends.

    Connections belong to one loop, so another ``asyncio.run`` gets a resource of its own. A task holds the context open:
    some contexts must be left in the task that entered them, and a loop that ends cancels its tasks and awaits them.

    Args:
        open: makes the context.
    """

    def __init__(self, open: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._open = open
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: asyncio.Future[Any] | None = None
        self._holder: asyncio.Task[None] | None = None

    async def get(self) -> Any:
        """Return the resource; uses at the same time share one.

        Raises:
            Exception: opening the resource failed. The next use tries again.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._holder is None or self._holder.done():
            self._loop, self._opened = loop, loop.create_future()
            self._holder = loop.create_task(self._hold(self._opened))
        assert self._opened is not None
        # Shielded: a caller that is cancelled must not cancel what others wait for.
        return await asyncio.shield(self._opened)

    async def _hold(self, opened: asyncio.Future[Any]) -> None:
        try:
            async with self._open() as resource:
                opened.set_result(resource)
                await asyncio.Event().wait()  # Until the loop ends.
        except BaseException as error:
            if opened.done():
                raise
            if isinstance(error, asyncio.CancelledError):
                opened.cancel()
                raise
            opened.set_exception(error)
