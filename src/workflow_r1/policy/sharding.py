"""A policy whose weights, gradients and optimiser state are spread over the processes (torch's FSDP2).

Each decoder layer is gathered when its forward or backward pass needs it and given back after. Gathering is a
collective: every process must run the same number of passes, so the update pads (``batching.passes``), and a rollout,
where no two processes run the same number, samples from weights that were gathered once before it (:func:`whole`).
"""

import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from workflow_r1.policy.forward import base_model, score_tokens


def shard(model: nn.Module, device: torch.device) -> None:
    """Spread a model over the processes, in place; every process holds the same weights before.

    A layer moves to the device just before it is spread, so that the whole model need not fit there.
    """
    base = base_model(model)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in [module for module in base.modules() if type(module).__name__ in (base._no_split_modules or ())]:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(base, mesh=mesh, reshard_after_forward=False)
    # The update calls decoder and head one by one; as a forward method they find their weights gathered all the same.
    base.score_tokens = types.MethodType(score_tokens, base)
    register_fsdp_forward_method(base, "score_tokens")


def is_sharded(model: nn.Module) -> bool:
    """Return whether :func:`shard` has spread the model."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Hold all weights on every process, for sampling and saving; nothing may be trained meanwhile.

    Forward passes within call no collective. A model that is not sharded is whole already.
    """
    modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
    with torch.no_grad():
        for module in modules:
            module.unshard()
            module.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        root = base_model(model)
        for module in modules:
            module.reshard()
            module.set_reshard_after_forward(module is not root, recurse=False)


def full(value: Tensor) -> Tensor:
    """Return the whole of a tensor: for a sharded one a collective, and the result is on the CPU."""
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def full_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimiser's state as a single process would have it: a collective where it is sharded."""
    state = optimiser.state_dict()
    return {**state, "state": {index: _map(full, values) for index, values in state["state"].items()}}


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return this process's part of a whole tensor, spread as the parameter is; no collective."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    mesh = parameter.device_mesh
    return distribute_tensor(value.to(mesh.device_type), mesh, parameter.placements, src_data_rank=None)


def load_full_state(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put the result of :func:`full_state` into an optimiser, sharded or not."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    spread = {
        index: _map(lambda value, index=index: like(value, parameters[index]), values)
        for index, values in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": spread})


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the ``state_dict`` of a model that is :func:`whole`; the method itself would spread it again."""
    persistent = {
        f"{prefix}.{name}".lstrip("."): buffer
        for prefix, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set
    }
    return {**dict(model.named_parameters(remove_duplicate=False)), **persistent}


def _map(function: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: function(value) if isinstance(value, Tensor) else value for key, value in values.items()}
