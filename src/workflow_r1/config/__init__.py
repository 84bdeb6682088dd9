"""The run configuration: one TOML file, validated. The live parts that it names are built in ``assembly``."""

from workflow_r1.config.loading import change_run_config, change_settings, load_run_config, preset_names
from workflow_r1.config.run import RunConfig
from workflow_r1.config.writing import dump_toml, write_override

__all__ = [
    "RunConfig",
    "change_run_config",
    "change_settings",
    "dump_toml",
    "load_run_config",
    "preset_names",
    "write_override",
]
