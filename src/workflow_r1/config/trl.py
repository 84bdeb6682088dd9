"""Settings of the engine for TRL besides ``training``, ``optimiser`` and ``objective``."""

from pydantic import Field

from workflow_r1.trajectory.records import Record


class TrlConfig(Record):
    """Settings of ``workflow-r1 train --engine trl`` alone."""

    micro_batch_rows: int = Field(default=8, ge=1)
    """Trajectories in one forward and backward pass of a process, padded to the longest; changes no number beyond rounding.
    It must divide a process' share of the trajectories of an optimiser step."""
