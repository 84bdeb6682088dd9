"""The run configuration: one TOML file, validated. The live parts that it names are built in ``assembly``."""

from workflow_r1.config.loading import dump_toml, load_run_config, preset_names
from workflow_r1.config.run import RunConfig

__all__ = ["RunConfig", "dump_toml", "load_run_config", "preset_names"]
