"""The steps of decoding between products of matrices, compiled once for this CPU from ``decoding.c`` and kept on disk.

While tokens are decoded, torch pads the keys of all rows to the longest, masks them, and makes many small operations.
The compiled functions read each row's own keys and nothing else. They take a second or two to compile, by the C compiler
that ``CC`` names (``cc`` where it is not set), into ``$XDG_CACHE_HOME/workflow-r1`` (``~/.cache/workflow-r1``). Where
there is no compiler, torch does everything: the results are the same but for rounding.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

COMPILE_SECONDS = 120
"""Longest time that the compiler may take, in seconds."""

_SOURCE = Path(__file__).with_name("decoding.c")
# Without -ffast-math, which would switch off small numbers for the whole process as soon as the library is loaded.
_FLAGS = ("-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
TYPES = {torch.float32: "float", torch.bfloat16: "bfloat16"}
"""Types of numbers that can be computed with, by their names in the source."""


class _Shape(ctypes.Structure):
    """The numbers of a call, as ``decoding.c`` has them."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "heads", "kv_heads", "dim", "value_dim", "capacity")),
        *((name, ctypes.c_int64) for name in ("row_stride", "head_stride", "window")),
        *((name, ctypes.c_float) for name in ("scale", "softcap")),
    )


class Compiled:
    """The functions of ``decoding.c`` for tensors."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._attend = {dtype: getattr(library, f"attend_{name}") for dtype, name in TYPES.items()}
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        for function in self._attend.values():
            function.argtypes = (ctypes.POINTER(_Shape), *(pointer,) * 7)
            function.restype = None
        self._store: Any = library.store
        self._store.argtypes = (*(pointer,) * 4, *(number,) * 6)
        self._store.restype = None
        self._norm, self._rotate, self._gated = (
            {dtype: getattr(library, f"{step}_{name}") for dtype, name in TYPES.items()}
            for step in ("rms_norm", "rotate", "gated")
        )
        for functions, arguments in (
            (self._norm, (pointer, pointer, pointer, number, number, ctypes.c_float)),
            (self._rotate, (pointer, pointer, pointer, number, number, number)),
            (self._gated, (pointer, pointer, number)),
        ):
            for function in functions.values():
                function.argtypes, function.restype = arguments, None

    def store(self, cache: Tensor, added: Tensor, slots: Tensor, positions: Tensor) -> None:
        """Put new tokens' keys or values into their slots.

        Args:
            cache: ``(slots, heads, capacity, dim)``, contiguous.
            added: ``(tokens, heads, dim)`` of the same type.
            slots: ``(tokens,)``, int64.
            positions: ``(tokens,)``, int64.
        """
        added = added if added.stride(-1) == 1 else added.contiguous()
        size = cache.element_size()
        self._store(
            cache.data_ptr(), added.data_ptr(), slots.data_ptr(), positions.data_ptr(), added.shape[0], cache.shape[1],
            cache.shape[2], cache.shape[3] * size, added.stride(0) * size, added.stride(1) * size,
        )  # fmt: skip

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        slots: Tensor,
        positions: Tensor,
        *,
        scaling: float | None,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Let each query attend to its own slot, up to its own position.

        Args:
            query: ``(rows, heads, dim)``, float32 or bfloat16.
            keys: ``(slots, key-value heads, capacity, dim)`` of the same type, contiguous.
            values: ``(slots, key-value heads, capacity, value dim)``, likewise.
            slots: ``(rows,)``, int64.
            positions: ``(rows,)``, int64; below the capacity.
            scaling: factor of the scores; None is ``dim ** -0.5``.
            window: most positions that a query sees; None for all.
            softcap: bound of the scores; None for none.

        Returns:
            ``(rows, heads, value dim)``, contiguous.
        """
        query = query if query.stride(-1) == 1 else query.contiguous()
        rows, heads, dim = query.shape
        num_kv_heads, capacity, value_dim = values.shape[1:]
        output = torch.empty((rows, heads, value_dim), dtype=query.dtype)
        scratch = torch.empty(dim + value_dim + capacity, dtype=torch.float32)
        shape = _Shape(
            rows, heads, num_kv_heads, dim, value_dim, capacity, query.stride(0), query.stride(1), window or 0,
            dim**-0.5 if scaling is None else scaling, softcap or 0.0,
        )  # fmt: skip
        self._attend[query.dtype](
            shape, query.data_ptr(), keys.data_ptr(), values.data_ptr(), output.data_ptr(), slots.data_ptr(),
            positions.data_ptr(), scratch.data_ptr(),
        )  # fmt: skip
        return output

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return ``x / sqrt(mean(x^2) + eps) * weight`` over the last dimension.

        Args:
            x: float32, contiguous.
            weight: ``(dim,)``, float32, contiguous.
            eps: number that is added to the mean.
            dtype: type of the result; it is computed in float32.
        """
        output = torch.empty_like(x, dtype=dtype)
        dim = x.shape[-1]
        self._norm[dtype](output.data_ptr(), x.data_ptr(), weight.data_ptr(), x.numel() // dim, dim, eps)
        return output

    def rotate(self, x: Tensor, cosines: Tensor, sines: Tensor) -> None:
        """Rotate heads by their positions, in place.

        Args:
            x: ``(tokens, heads, dim)``, float32 or bfloat16, contiguous.
            cosines: ``(tokens, dim)``, float32, contiguous.
            sines: likewise.
        """
        self._rotate[x.dtype](x.data_ptr(), cosines.data_ptr(), sines.data_ptr(), *x.shape)

    def gated(self, gate: Tensor, up: Tensor) -> None:
        """Replace ``gate`` by ``silu(gate) * up``; both float32 or both bfloat16, contiguous, of one shape."""
        self._gated[gate.dtype](gate.data_ptr(), up.data_ptr(), gate.numel())


@functools.cache
def compiled_functions() -> Compiled | None:
    """Return the compiled functions, compiling them where that was not done before; None where it cannot be done."""
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        return None
    try:
        with _writable_folder() as folder:
            return Compiled(ctypes.CDLL(str(_compile(compiler, folder))))
    except (OSError, subprocess.SubprocessError):
        return None


@contextmanager
def _writable_folder() -> Iterator[Path]:
    """Give the folder of compiled libraries, or one for this process alone where none can be kept."""
    folder = _cache()
    try:
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        folder = None
    if folder is not None and os.access(folder, os.W_OK):
        yield folder
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


def _compile(compiler: str, folder: Path) -> Path:
    """Return the library, made in ``folder`` unless it lies there for this source, compiler and processor.

    Raises:
        OSError: the folder cannot be written.
        subprocess.SubprocessError: the compiler fails, or takes too long.
    """
    # A home that several machines share holds a library for each kind of processor.
    asked = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=COMPILE_SECONDS)
    known = hashlib.sha256(_SOURCE.read_bytes() + asked.stdout + " ".join(_FLAGS).encode() + _processor().encode())
    library = folder / f"decoding-{known.hexdigest()[:32]}.so"
    if not library.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            made = Path(temporary) / library.name
            command = [compiler, *_FLAGS, "-o", str(made), str(_SOURCE), "-lm"]
            subprocess.run(command, capture_output=True, check=True, timeout=COMPILE_SECONDS)
            made.replace(library)
    return library


def _processor() -> str:
    """Return what tells this kind of processor from others."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(
        [
            platform.machine(),
            platform.processor(),
            *dict.fromkeys(line for line in lines if line.startswith(("flags", "Features", "model name"))),
        ]
    )


def _cache() -> Path | None:
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has relative paths ignored.
    if Path(chosen).is_absolute():
        return Path(chosen) / "workflow-r1"
    try:
        return Path.home() / ".cache" / "workflow-r1"
    except RuntimeError:  # A user without a home, as containers run.
        return None


__all__ = ["TYPES", "Compiled", "compiled_functions"]
