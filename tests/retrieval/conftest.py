from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from scripted_server import Server, serving


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start real HTTP servers on this machine, each with a script of answers."""
    with ExitStack() as stack:
        yield lambda *script: stack.enter_context(serving(*script))
