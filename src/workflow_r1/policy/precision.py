"""Weights in the type of autocast, cast once instead of at every token.

Autocast keeps a weight that it has cast only while its gradient may be wanted: under ``inference_mode`` it casts every
matrix again in each forward pass, which is most of the time that a small batch takes. Here they are cast beforehand, by
the same rounding, so that autocast finds nothing to do. On a CPU, linear layers keep them in the order in which oneDNN
reads them, which it would otherwise make anew at each use. The outputs are the same to the last bit.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


@cache
def bfloat16_slowdown() -> float:
    """Measure a matrix product on this CPU: the time that it takes in bfloat16, as a multiple of float32's.

    Without instructions for bfloat16 and without AVX-512, torch computes one by a loop of its own: forty times as long and
    more (torch 2.13, AVX2; ``docs/dev/log.md``). The measurement takes half a second there. The shortest of three tries
    counts, so that another program does not.
    """

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.ones(128, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        left @ right  # The first product of a type prepares its kernel.
        tries = []
        for _ in range(3):
            start = time.perf_counter()
            left @ right
            tries.append(time.perf_counter() - start)
        return min(tries)

    return seconds(torch.bfloat16) / seconds(torch.float32)


class CastWeights:
    """Copies of a model's matrices in another type, which stand in their places for single forward passes.

    They take the room of that type besides the model's own: 2 bytes a weight for bfloat16 beside the 4 of float32.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None) -> None:
        """Find the matrices; nothing is allocated before :meth:`refresh`.

        Args:
            model: any model; its own weights are never changed.
            dtype: type of the copies; None makes none.
        """
        self._places: list[_Packed | _Copied] = []
        if dtype is None:
            return
        for module, name, weight in _matrices(model):
            if _can_be_packed(module, weight, dtype):
                if name == "weight":
                    self._places.append(_Packed(module))
            elif weight.dtype != dtype:
                self._places.append(_Copied(module, name, dtype))

    @torch.no_grad()
    def refresh(self) -> None:
        """Cast the weights that have changed since the last time."""
        for place in self._places:
            place.refresh()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model compute with the copies; afterwards it has its own weights again."""
        for place in self._places:
            place.enter()
        try:
            yield
        finally:
            for place in self._places:
                place.leave()


def cast_for_good(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace the matrices of a model that is never trained by others of this type: its memory shrinks.

    A head that shares its weights with the embedding gets its own; the embedding keeps its type.
    """
    for module, name, weight in list(_matrices(model)):
        module._parameters[name] = nn.Parameter(weight.detach().to(dtype), requires_grad=False)


def hold_in_bfloat16(model: nn.Module) -> None:
    """Keep the frozen matrices and the embedding of a model in bfloat16; what is trained, and all else, keeps its type.

    Under autocast to bfloat16 the outputs stay the same to the last bit where the weights are numbers of that type, as
    those of most saved models are: matrices are cast at each use anyway, and the embedding's output becomes float32
    again. A head that shares its weights with the embedding still does.
    """
    for module in model.modules():
        is_matrix = isinstance(module, nn.Linear | Conv1D)
        frozen = [each for each in module._parameters.values() if each is not None and not each.requires_grad]
        if not frozen or not (is_matrix or isinstance(module, nn.Embedding)):
            continue
        for weight in frozen:
            weight.data = weight.data.to(torch.bfloat16)
        if is_matrix:
            module.register_forward_pre_hook(_in_the_type_of_the_weight)
        else:
            module.register_forward_hook(_in_float32)


def _in_the_type_of_the_weight(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Let a matrix compute outside of autocast, too."""
    first, *others = inputs
    return (first.to(module.weight.dtype), *others)


def _in_float32(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return output.float()


@contextmanager
def computed_in_float32(model: nn.Module) -> Iterator[None]:
    """Let a model compute with float32 copies of the matrices that it keeps in bfloat16, for exact comparisons."""
    holds_bfloat16 = any(weight.dtype == torch.bfloat16 for weight in model.parameters())
    copies = CastWeights(model, torch.float32 if holds_bfloat16 else None)
    copies.refresh()
    with copies.in_place():
        yield


class _Copied:
    """A weight whose copy takes its place."""

    def __init__(self, module: nn.Module, name: str, dtype: torch.dtype) -> None:
        self._weights: dict[str, Any] = module._parameters
        self._name, self._dtype = name, dtype
        self._version: object = None

    def refresh(self) -> None:
        self._weight = self._weights[self._name]
        if _version(self._weight) != self._version:
            self._version = _version(self._weight)
            self._copy = self._weight.detach().to(self._dtype)

    def enter(self) -> None:
        self._weights[self._name] = self._copy

    def leave(self) -> None:
        self._weights[self._name] = self._weight


class _Packed:
    """A linear layer that computes with its weights in bfloat16, in oneDNN's own order."""

    def __init__(self, module: nn.Module) -> None:
        self._module: Any = module
        self._version: object = None

    def refresh(self) -> None:
        weight, bias = self._seen = self._module.weight, self._module.bias  # Held, so that no other takes its id.
        version = _version(weight), None if bias is None else _version(bias)
        if version != self._version:
            self._version = version
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(torch.bfloat16), None)
            self._bias = None if bias is None else bias.detach().to(torch.bfloat16)

    def enter(self) -> None:
        self._module.__dict__["forward"] = self._forward

    def leave(self) -> None:
        del self._module.__dict__["forward"]

    def _forward(self, input: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(input.to(torch.bfloat16), self._packed, self._bias, "none", [], "")


def _matrices(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Yield the weights that autocast casts at each use: those of linear layers, with their biases.

    Experts hold their weights themselves, and their products keep the weights' own type.
    """
    # Where peft adapts a single parameter, it computes the change and adds it, all in the parameter's own type.
    adapted = {
        id(part)
        for module in model.modules()
        if hasattr(module, "parameter_name") and hasattr(module, "get_base_layer")
        for part in (module.get_base_layer(), *module.lora_A.values(), *module.lora_B.values())  # type: ignore[operator]
    }
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D) and id(module) not in adapted:
            for name, weight in module._parameters.items():
                if weight is not None:
                    yield module, name, weight


def _can_be_packed(module: nn.Module, weight: Tensor, dtype: torch.dtype) -> bool:
    return (
        type(module) is nn.Linear
        and "forward" not in module.__dict__
        and weight.device.type == "cpu"
        and dtype == torch.bfloat16
        and _has_packed_products()
    )


def _has_packed_products() -> bool:
    """Return whether this build of torch has the operations that its own compiler uses, and this CPU supports them."""
    operations = torch.ops.mkldnn
    names = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    return (
        torch.backends.mkldnn.is_available()
        and all(hasattr(operations, name) for name in names)
        and bool(operations._is_mkldnn_bf16_supported())
    )


def _version(weight: Tensor) -> tuple[int, int]:
    """Return numbers that change with the weight: another tensor in its place, or another content."""
    return id(weight), 0 if weight.is_inference() else weight._version


__all__ = ["CastWeights", "cast_for_good", "computed_in_float32", "hold_in_bfloat16"]
