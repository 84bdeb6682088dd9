"""The run configuration: one TOML file, validated. The live parts that it names are built in ``assembly``."""

from workflow_r1.config.loading import (
    change_run_config,
    change_settings,
    dump_toml,
    load_run_config,
    preset_names,
    write_override,
)
from workflow_r1.config.run import RunConfig

__all__ = [
    "RunConfig",
    "change_run_config",
    "change_settings",
    "dump_toml",
    "load_run_config",
    "preset_names",
    "write_override",
]
