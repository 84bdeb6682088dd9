"""``workflow-r1 rollout``."""

from workflow_r1.cli.parameters import Overrides, Source, open_config


def rollout(config: Source = None, override: Overrides = None) -> None:
    """To come."""
    open_config(config, override)
