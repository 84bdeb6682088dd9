"""``workflow-r1 report``."""

from workflow_r1.cli.parameters import Overrides, Source, open_config


def report(config: Source = None, override: Overrides = None) -> None:
    """To come."""
    open_config(config, override)
