"""The embedded world that questions, expert and search of one process share."""

from functools import lru_cache

from workflow_r1.embedded import EmbeddedConfig, EmbeddedWorld


def embedded_world(config: EmbeddedConfig) -> EmbeddedWorld:
    """The embedded world of some dials, made once."""
    return _made(config.model_dump_json())


@lru_cache(maxsize=2)
def _made(config: str) -> EmbeddedWorld:
    return EmbeddedWorld(EmbeddedConfig.model_validate_json(config))
