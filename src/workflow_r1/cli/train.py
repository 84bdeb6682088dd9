"""``workflow-r1 train``."""

from workflow_r1.cli.parameters import Overrides, Source, open_config


def train(config: Source = None, override: Overrides = None) -> None:
    """To come."""
    open_config(config, override)
