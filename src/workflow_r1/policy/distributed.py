"""Several processes that train one policy together: the division of the work, the sums, and the common decisions.

Every process runs the same trainer in step. The questions of a step and the rows of a mini-batch are dealt out, and the
results gathered: all processes hold the same trajectories, gradients and metrics and take the same decisions. Only the
first (rank 0) writes and shows anything.

Objects and decisions go over gloo, on the CPU, where a process that died or is late can be named; tensors of the policy
go over the device's own backend. :class:`Ranks` of one process does nothing at all.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from workflow_r1.errors import ConfigError, ProcessLostError, WorkflowR1Error

Value = TypeVar("Value")

BUCKET_ELEMENTS = 2**24
"""Numbers that are added up in one message (64 MiB of float32): few messages, and a copy that stays small."""

NANO = 10**9
"""The shared count of money is in billionths: the processes' store adds whole numbers."""

_TOLD_BY_ALL = "every process raises this"


class Ranks:
    """This process among those that train together.

    Args:
        rank: 0, 1, ...
        size: number of processes.
        timeout: longest wait for a process that is late.
        control: the gloo group of all processes; None for a process alone.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        *,
        timeout: timedelta = timedelta(minutes=30),
        control: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self._timeout = timeout
        self._control = control

    @property
    def is_main(self) -> bool:
        """True where this process writes the files and shows progress."""
        return self.rank == 0

    def share(self, items: Sequence[Value]) -> list[Value]:
        """Return this process's part of a list that all of them hold."""
        return list(items[self.rank :: self.size])

    def gather_shares(self, own: Sequence[Value]) -> list[Value]:
        """Return the results of all processes for their :meth:`share`, in the order of the whole list."""
        if self.size == 1:
            return list(own)
        shares = self.gather(list(own))
        return [shares[i % self.size][i // self.size] for i in range(sum(map(len, shares)))]

    def gather(self, value: Value) -> list[Value]:
        """Return every process's value, in the order of the ranks.

        Raises:
            ProcessLostError: a process died, or is late beyond the timeout.
        """
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with lost_process_explained():
            # It says on rank 0 which processes are missing, which no other collective does.
            dist.monitored_barrier(self._control, timeout=self._timeout, wait_all_ranks=True)
            dist.all_gather_object(values, value, group=self._control)
        return values

    def from_main(self, value: Value) -> Value:
        """Return rank 0's value, for something measured or chosen, such as time."""
        return self.gather(value)[0]

    def any(self, flag: bool) -> bool:
        """Return whether any process says so."""
        return any(self.gather(flag))

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Let every process raise what one of them raised in the context (the lowest rank's error), at its end.

        Only for what calls no collective, or fails after its last one: the others wait at the end, not within. A bug
        is raised where it happens, and ends the whole run.

        Raises:
            WorkflowR1Error: one of the processes raised it.
        """
        if self.size == 1:
            yield
            return
        own: WorkflowR1Error | None = None
        try:
            yield
        except ProcessLostError:
            raise
        except WorkflowR1Error as error:
            own = error
        told = [error for error in self.gather(None if own is None else _Told.of(own)) if error is not None]
        if told:
            raise told[0].error() from own

    def add_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, bit by bit the same in all of them."""
        if self.size == 1:
            return
        with lost_process_explained(), torch.no_grad():
            for bucket in _buckets(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                dist.all_reduce(flat)
                for tensor, total in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                    tensor.copy_(total.view_as(tensor))

    def tally(self) -> Callable[[str, float], float] | None:
        """Return the common count of the processes' budget; None for a process alone."""
        if self.size == 1:
            return None
        store = dist.PrefixStore("budget", dist.distributed_c10d._get_default_store())

        def add(name: str, amount: float) -> float:
            scale = NANO if name == "money" else 1
            with lost_process_explained():
                total = store.add(name, round(amount * scale))
            return total / scale if name == "money" else total

        return add


def is_told_by_all(error: BaseException | None) -> bool:
    """Return True where every process raises this error: one of them can then speak for all."""
    while error is not None:
        if _TOLD_BY_ALL in getattr(error, "__notes__", ()):
            return True
        error = error.__cause__
    return False


@contextmanager
def joined(device: str, *, timeout_minutes: float) -> Iterator[Ranks]:
    """Join the processes that torchrun, or ``workflow-r1 train --processes``, has started; alone where it has not.

    With GPUs each process takes the one of its local rank.

    Args:
        device: ``policy.device``.
        timeout_minutes: longest wait for a process that is late.

    Raises:
        ConfigError: a device that the processes cannot share.
        ProcessLostError: the others did not come in time.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    own, timeout = _take_device(device), timedelta(minutes=timeout_minutes)
    backend = "gloo" if own.type == "cpu" else "nccl"
    with lost_process_explained():
        dist.init_process_group(backend, timeout=timeout, device_id=None if own.type == "cpu" else own)
        control = dist.new_group(backend="gloo", timeout=timeout)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), timeout=timeout, control=control)
    except BaseException:
        # Waiting for the others here would wait for dead processes.
        if backend == "nccl":
            dist.distributed_c10d._abort_process_group()
        raise
    dist.destroy_process_group()


def _take_device(name: str) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise ConfigError(
            f"`policy.device` = {name!r} cannot be shared by several processes: use 'auto' or 'cuda' (each takes the GPU "
            f"of its local rank), or 'cpu'"
        )
    local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= found:
        raise ConfigError(
            f"expected a GPU for each process, but this machine has {found} and started at least {local + 1}: start fewer, "
            f"or set `policy.device` to 'cpu'"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextmanager
def lost_process_explained() -> Iterator[None]:
    """Turn the errors of the backends after the loss of a process into one message.

    Raises:
        ProcessLostError: in place of the backend's error.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not _says_lost(error):
            raise
        raise ProcessLostError(
            f"the other processes of the run are not all there any more ({str(error).strip().splitlines()[0]}): one has died "
            f"or stopped answering; its own last message, or the launcher's, says why"
        ) from None


def _says_lost(error: RuntimeError) -> bool:
    text = str(error)
    names = ("gloo", "NCCL", "monitoredBarrier", "Connection", "Broken pipe", "Timed out", "timed out", "TCPStore")
    return isinstance(error, dist.DistError) or any(name in text for name in names)


class _Told:
    """An error on its way to the other processes: exceptions with arguments of their own do not survive pickling."""

    def __init__(self, kind: type[WorkflowR1Error], message: str, state: dict[str, Any]) -> None:
        self._kind, self._message, self._state = kind, message, state

    @classmethod
    def of(cls, error: WorkflowR1Error) -> "_Told":
        return cls(type(error), str(error), {key: value for key, value in vars(error).items() if key[0] != "_"})

    def error(self) -> WorkflowR1Error:
        error = self._kind.__new__(self._kind, self._message)
        error.args = (self._message,)
        vars(error).update(self._state)
        error.add_note(_TOLD_BY_ALL)
        return error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield tensors of one type in groups of at most ``BUCKET_ELEMENTS`` numbers, or one that is larger."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(held.numel() for held in bucket) + tensor.numel() > BUCKET_ELEMENTS
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
