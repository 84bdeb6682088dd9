"""Parts that verl needs on a CPU: imported by every process through ``VERL_USE_EXTERNAL_MODULES``.

None of it belongs to the product. verl has no platform, no engine and no inference server for a CPU; here are a platform
without a device, verl's own FSDP engine under the name of one, and a server that samples from a Hugging Face model.
"""

import asyncio
import contextlib
import os
import types
from typing import Any

import ray
import torch
import verl.plugin.platform.platform_manager as platforms
from verl.plugin.platform.platform_base import PlatformBase

torch.set_num_threads(1)


class NoDevice(types.ModuleType):
    """Stands for ``torch.cuda``: nothing is there, and everything asked of it succeeds."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **options: 0


device_module = NoDevice("no_device")
device_module.is_available = lambda: False
device_module.current_device = lambda: 0
device_module.mem_get_info = lambda *_: (2**33, 2**34)
device_module.get_rng_state = lambda *_: torch.get_rng_state()
device_module.set_rng_state = lambda state, *_: torch.set_rng_state(state)
device_module.get_device_name = lambda *_: "CPU"


@platforms.PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    device_name = "cpu"
    vendor_name = "cpu"
    device_module = device_module

    def is_available(self) -> bool:
        return True

    def current_device(self) -> Any:
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: Any = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Any:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None:
        return None


def patch_verl() -> None:
    """Everything that needs verl's own modules, in the order in which they import each other."""
    import torch.distributed.fsdp as fsdp
    import verl.utils.distributed as distributed

    begin = distributed.initialize_global_process_group_ray

    def without_a_device(timeout_second: Any = None, backend: Any = None) -> None:
        # verl would ask for "cpu:gloo,cpu:gloo": one device type, twice.
        begin(timeout_second, backend or "gloo")

    distributed.initialize_global_process_group_ray = without_a_device

    class Unpinned(fsdp.CPUOffloadPolicy):
        def __init__(self, pin_memory: bool = False) -> None:
            super().__init__(pin_memory=False)

    fsdp.CPUOffloadPolicy = Unpinned

    from verl.utils import fsdp_utils

    fsdp_utils.CPUOffloadPolicy = Unpinned

    from verl.workers.engine import EngineRegistry
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

    EngineRegistry.register(model_type="language_model", backend=["fsdp", "fsdp2"], device="cpu")(FSDPEngineWithLMHead)

    from verl.workers.rollout import base
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    base._ROLLOUT_REGISTRY[("hf", "async")] = f"{__name__}.HFServerAdapter"
    RolloutReplicaRegistry.register("hf", lambda: _replica_class())


def _server_name(rank: int) -> str:
    return f"hf_server_{rank}"


class HFServer:
    """Samples turns from a Hugging Face model with the native engine's sampler, so that the two can be compared."""

    def __init__(self, model_path: str, top_p: float) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(model_path)
        self.top_p = top_p
        self.samplers: dict[float, Any] = {}
        self.global_steps = 0

    async def generate(self, prompt_ids: list[int], sampling_params: dict[str, Any], request_id: str, **_: Any) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        from workflow_r1.policy.local_sampler import LocalSampler
        from workflow_r1.rollout.sampling import SamplingConfig

        temperature = float(sampling_params["temperature"])
        if temperature not in self.samplers:
            sampling = SamplingConfig(temperature=temperature, top_p=self.top_p, max_turn_tokens=4096)
            self.samplers[temperature] = LocalSampler(self.model, self.tokenizer, sampling=sampling)
        # With rollout.full_determinism the request's id arrives as our loop gave it: the seed of the trajectory, which
        # the native sampler draws from by position.
        async with self.samplers[temperature].session(seed=int(request_id, 16)) as session:
            session.prompt = tuple(prompt_ids)
            session.pending.extend(prompt_ids)
            turn = await session.sample(max_tokens=int(sampling_params["max_tokens"]))
        return TokenOutput(
            token_ids=list(turn.token_ids),
            log_probs=list(turn.logprobs),
            stop_reason="completed",
            extra_fields={"global_steps": self.global_steps},
        )

    def load(self, weights: dict[str, torch.Tensor], global_steps: int | None) -> None:
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        assert not unexpected and all("lm_head" in name for name in missing), (missing, unexpected)
        self.samplers.clear()
        self.global_steps = global_steps or 0

    async def nothing(self) -> None:
        """Sleeping, waking, and clearing a cache."""

    sleep = wake_up = clear_kv_cache = release_kv_cache = resume_kv_cache = nothing


def _replica_class() -> type:
    from verl.workers.rollout.replica import RolloutReplica

    class HFReplica(RolloutReplica):
        async def launch_servers(self) -> None:
            server = (
                ray.remote(HFServer)
                .options(name=_server_name(self.replica_rank), num_cpus=0, max_concurrency=1000)
                .remote(self.model_config.path, self.config.top_p)
            )
            self.servers = [server]
            self._server_handle = server
            self._server_address = _server_name(self.replica_rank)

    return HFReplica


def _adapter_class() -> type:
    from verl.workers.rollout.base import BaseRollout

    class HFServerAdapter(BaseRollout):
        """Hands new weights to the server."""

        async def resume(self, tags: list[str]) -> None:
            pass

        async def release(self) -> None:
            pass

        async def update_weights(
            self, weights: Any, wire_format: str = "named_tensors", *, global_steps: Any = None, **_: Any
        ) -> None:
            named = {name: tensor.detach().float().cpu().clone() for name, tensor in weights}
            server = ray.get_actor(_server_name(0))
            await asyncio.wrap_future(server.load.remote(named, global_steps).future())

    return HFServerAdapter


def __getattr__(name: str) -> Any:
    if name == "HFServerAdapter":
        return _adapter_class()
    raise AttributeError(name)


if os.environ.get("VERL_PLATFORM") == "cpu":
    patch_verl()
