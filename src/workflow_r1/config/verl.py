"""Settings of the engine for verl alone."""

from typing import Any

from pydantic import Field

from workflow_r1.trajectory.records import Record


class VerlConfig(Record):
    """Distribution of a run over machines by verl; all its other options come from the other sections."""

    num_nodes: int = Field(default=1, ge=1)
    """Machines."""
    gpus_per_node: int = Field(default=8, ge=1)
    """GPUs of each machine. All of them train, and all of them sample, in turns."""
    rollout: str = "vllm"
    """verl's inference engine: ``vllm`` or ``sglang``."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that share one copy of the policy while it samples."""
    gpu_memory: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Part of a GPU's memory that the inference engine takes while it samples."""
    offload: bool = False
    """Keep weights and optimiser states in the machine's memory while they are not needed: a smaller GPU, more time."""
    agent_workers: int = Field(default=8, ge=1)
    """Processes that run environments and operators; ``sampling.max_sessions`` is not used."""
    seeded_sampling: bool = True
    """Send a seed with each turn, so that a run can be repeated as far as the inference engine's rounding allows. Off
    is a little faster."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of verl's own, by their dotted names. One that verl does not know, or that is set by a key of ours, is refused."""
