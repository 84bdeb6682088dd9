"""The embedded world that questions, expert and search of one process share."""

from functools import lru_cache

from workflow_r1.embedded import EmbeddedWorld


@lru_cache(maxsize=2)
def embedded_world(seed: int) -> EmbeddedWorld:
    """The embedded world of a seed, made once."""
    return EmbeddedWorld(seed)
