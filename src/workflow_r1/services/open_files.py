"""Room for connections: each is an open file, of which a process may have a limited number."""

from collections.abc import Iterator
from contextlib import contextmanager

from workflow_r1.errors import ConfigError

_SPARE = 256
"""Open files besides connections: records, the store of calls, weights, libraries."""

_reserved = 0


@contextmanager
def reserve_open_files(num: int, *, place: str) -> Iterator[None]:
    """Make room for a service's connections for as long as the context lasts.

    The soft limit, often 1,024 or 256, is raised as far as all services of this process need it.

    Args:
        num: most connections of the service.
        place: the service, for the message.

    Raises:
        ConfigError: the hard limit, which a user cannot raise, is too low.
    """
    global _reserved
    _reserved += num
    try:
        _raise_soft_limit(_reserved + _SPARE, num, place)
        yield
    finally:
        _reserved -= num


def _raise_soft_limit(needed: int, num: int, place: str) -> None:
    try:
        import resource
    except ImportError:  # no such limit on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigError(
            f"{place}: expected room for {num} connections, which takes {needed} open files in all, but this process may "
            f"have {hard}; lower its concurrency, or start the run where `ulimit -Hn` is higher"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
