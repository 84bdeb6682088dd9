"""The run as verl's worker processes know it: its directory, and the configuration in it.

verl hands its own configuration to every process and has no place in it for ours. The run directory therefore travels
in an environment variable, which Ray sets for all workers on all nodes; it must lie on a file system that all of them
see.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from workflow_r1.config import load_run_config
from workflow_r1.config.run import RunConfig
from workflow_r1.errors import ConfigError

VARIABLE = "WORKFLOW_R1_VERL_RUN"
"""Environment variable that holds the run directory, absolute."""


@dataclass(frozen=True, slots=True)
class DescribedRun:
    """One run, as a worker process sees it."""

    config: RunConfig
    """Configuration of the run."""
    directory: Path
    """The run directory."""


def described_run() -> DescribedRun | None:
    """The run that this process works for; None where verl was started by other means than ours."""
    directory = os.environ.get(VARIABLE)
    return _read(directory) if directory else None


def require_described_run() -> DescribedRun:
    """The run that this process works for.

    Raises:
        ConfigError: verl was started by other means than ours.
    """
    run = described_run()
    if run is None:
        raise ConfigError(
            f"expected the run directory in the environment variable {VARIABLE}, which `workflow-r1 train --engine verl` "
            "sets; the agent loop needs it for operators, limits and prompts"
        )
    return run


@lru_cache(maxsize=4)
def _read(directory: str) -> DescribedRun:
    return DescribedRun(load_run_config(Path(directory) / "config.toml"), Path(directory))
