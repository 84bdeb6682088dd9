"""A run on verl that a CPU can make: the embedded world, and the shims that verl needs there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.config import RunConfig, load_run_config

# Or it asks the network about files that lie here. Read when `datasets` is imported.
os.environ["HF_DATASETS_OFFLINE"] = "1"

CPU_OPTIONS = (
    "verl.rollout=hf",
    "verl.gpus_per_node=1",
    "verl.agent_workers=1",
    "verl.options.trainer.device=cpu",
    "verl.options.ray_kwargs.ray_init.num_gpus=1",
    "verl.options.ray_kwargs.ray_init.num_cpus=8",
    "verl.options.ray_kwargs.ray_init.include_dashboard=false",
    "verl.options.actor_rollout_ref.model.use_remove_padding=false",
    "verl.options.actor_rollout_ref.model.override_config.attn_implementation=sdpa",
    "verl.options.actor_rollout_ref.actor.fsdp_config.use_torch_compile=false",
    "verl.options.actor_rollout_ref.ref.fsdp_config.use_torch_compile=false",
    # The only setting with which the server gets our name of a request, and in it the trajectory's seed.
    "verl.options.actor_rollout_ref.rollout.full_determinism=true",
    "verl.options.transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
)


@pytest.fixture(scope="session")
def shims() -> dict[str, str]:
    """Environment in which a process of verl's finds ``cpu_shims``."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "cpu_shims",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        # Ray's workers step back behind everything else by default; on a busy machine they would stand still.
        "RAY_worker_niceness": "0",
    }


@pytest.fixture(scope="session")
def cpu_config() -> Callable[..., RunConfig]:
    """Makes a configuration: the embedded quickstart, small, on verl, with overrides."""

    def make(*overrides: str) -> RunConfig:
        small = [f"training.{key}=4" for key in ("questions_per_step", "group_size", "mini_batch_questions")]
        return load_run_config(
            None, ["engine=verl", "training.evaluation_questions=4", *small, *CPU_OPTIONS, *overrides]
        )

    return make
