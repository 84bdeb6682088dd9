"""Checkpoints that hold everything a run needs to continue as if it had never stopped.

    run directory/checkpoints/step-000010/
        weights.safetensors   trainable parameters
        tensors.pt            optimiser state, torch's random states
        state.json            counters, Python's and numpy's random states, lengths of the run's files, the
                              configuration, and a checksum of everything
        pending.jsonl         trajectories that were sampled and not learned from yet, where there are any

A checkpoint appears under its name only when it is complete and on the disk. Learning rate, order of the data and seeds
of the rollouts are functions of the counters and need no state of their own.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workflow_r1.config.resuming import differing_keys
from workflow_r1.errors import CheckpointError
from workflow_r1.policy.sharding import full, full_state, like, load_full_state
from workflow_r1.recording.atomic import atomic_directory, remove_directory, remove_unfinished
from workflow_r1.recording.events import CheckpointSaved, OnEvent, Warned
from workflow_r1.trajectory import Trajectory, load_trajectories
from workflow_r1.trajectory.storage import append_trajectories

FORMAT = 1
"""Version of the files of a checkpoint; another version is refused."""

FILES = ("tensors.pt", "weights.safetensors")
"""Files of a checkpoint besides ``state.json``."""

PENDING = "pending.jsonl"
"""Further file, where rollouts are ahead of the updates."""

FREE_KEYS = (
    "name",
    "directory",
    "logging",
    "store",
    "prices",
    "budget",
    "policy.threads",
    "llm.concurrency",
    "llm.timeout_seconds",
    "llm.max_retries",
    *(
        f"sampling.server.{key}"
        for key in (
            "base_url",
            "model",
            "adapter",
            "directory",
            "api_key_env",
            "wait_seconds",
            "timeout_seconds",
            "idle_timeout_seconds",
            "max_retries",
            "backoff_seconds",
            "concurrency",
        )
    ),
    "optimiser.micro_batch_tokens",
    "optimiser.gradient_checkpointing",
    "optimiser.sharding",
    "training.steps",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.peer_timeout_minutes",
    "warmstart.checkpoint_every",
)
"""Configuration keys (or beginnings of them) that may differ on a resume: they do not change the result of a step, or (threads, micro-batches, sharding) by rounding alone."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run."""

    step: int = 0
    """Steps that are complete."""
    num_drawn: int = 0
    """Questions (or demonstrations) drawn so far: the position in the data."""
    policy_version: int = 0
    """Optimiser steps taken."""
    clip_scale: float = 1.0
    """Factor of a clip range that is matched to a share of the gradient's mass."""
    training_seconds: float = 0.0
    """Wall time spent in steps, evaluations left out."""
    file_lengths: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the run's append-only files; a resume cuts off everything after them."""
    watched: Mapping[str, float] = field(default_factory=dict)
    """Memory of the watch for collapse."""
    unevaluated: Mapping[str, float | int | None] | None = None
    """Metrics of the last step where the budget ended its evaluation: a resume evaluates first."""


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: directory of the checkpoints; made when the first is saved.
        configuration: settings that must be the same on a resume, as plain JSON values (nested mappings).
        keep: the newest so many stay.
        on_event: called for each saved checkpoint, and for damage.
        writes: True in the process that writes.
    """

    def __init__(
        self, directory: Path, configuration: Mapping[str, Any], *, keep: int, on_event: OnEvent, writes: bool = True
    ) -> None:
        self._directory = directory
        self._configuration = configuration
        self._keep = keep
        self._on_event = on_event
        self._writes = writes

    def save(
        self,
        progress: Progress,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        pending: Sequence[Trajectory] = (),
    ) -> Path:
        """Save a checkpoint and delete those before it that are too old. Every process of a run calls it; one writes.

        Args:
            progress: progress of the run.
            model: its trainable parameters are kept.
            optimiser: over them.
            pending: trajectories that were sampled and not learned from yet.

        Raises:
            UserError: the disk is full; the earlier checkpoints are unharmed.
        """
        path = self._directory / _name(progress.step)
        # Sharded tensors are gathered: a checkpoint does not depend on the number of processes.
        weights = {name: full(value.detach()).contiguous() for name, value in _trainable(model).items()}
        optimiser_state = full_state(optimiser)
        if not self._writes:
            return path
        self._directory.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self._directory)
        with atomic_directory(path) as temporary:
            save_file(weights, temporary / "weights.safetensors")
            torch.save(
                {
                    "optimiser": optimiser_state,
                    "torch_random": torch.get_rng_state(),
                    "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                },
                temporary / "tensors.pt",
            )
            if pending:
                append_trajectories(temporary / PENDING, pending)
            state = {
                "format": FORMAT,
                "progress": asdict(progress),
                "configuration": self._configuration,
                "python_random": random.getstate(),
                "numpy_random": _numpy_state(),
                "checksums": {name: _checksum(temporary / name) for name in (*FILES, *([PENDING] if pending else []))},
            }
            body = json.dumps(state, sort_keys=True)
            document = {"checksum": hashlib.sha256(body.encode()).hexdigest(), "state": json.loads(body)}
            (temporary / "state.json").write_text(json.dumps(document, sort_keys=True), encoding="utf-8")
        # A checkpoint of a later step is damaged, and the run was resumed from one before it: it takes no place of a sound one.
        for old in [each for each in self._paths() if _step_of(each) <= progress.step][: -self._keep]:
            remove_directory(old)
        self._on_event(CheckpointSaved(progress.step, path))
        return path

    def load_latest(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> Progress | None:
        """Put the newest undamaged checkpoint into model, optimiser and random states.

        Returns:
            How far it had come; None where the run has no checkpoint yet.

        Raises:
            CheckpointError: it belongs to another configuration or format, or every checkpoint is damaged.
        """
        damaged = []
        for path in reversed(self._paths()):
            try:
                state, progress = _read_state(path)
                self._refuse_other_configuration(path, state["configuration"])
                # The checkpoint before replaces everything that a damaged one has put in place already.
                _restore(path, state, model, optimiser)
            except _DamagedError as damage:
                damaged.append(path)
                self._on_event(Warned(f"the checkpoint {path} is damaged ({damage}); trying the one before it"))
                continue
            return progress
        if damaged:
            raise CheckpointError(
                f"expected an undamaged checkpoint in {self._directory}, but all {len(damaged)} are damaged: remove the "
                f"run directory and start again"
            )
        return None

    def load_pending(self, step: int) -> list[Trajectory]:
        """Return the trajectories that the checkpoint of a step, which was loaded before, holds for later steps."""
        path = self._directory / _name(step) / PENDING
        return load_trajectories(path) if path.exists() else []

    def _paths(self) -> list[Path]:
        """Return all checkpoints, oldest first."""
        if not self._directory.is_dir():
            return []
        found = (path for path in self._directory.iterdir() if re.fullmatch(r"step-\d{6,}", path.name))
        return sorted(found, key=_step_of)

    def _refuse_other_configuration(self, path: Path, saved: Mapping[str, Any]) -> None:
        differing = [
            f"{key}: {before!r} in the checkpoint, {now!r} now"
            for key, (before, now) in differing_keys(saved, self._configuration, free=FREE_KEYS).items()
        ]
        if differing:
            raise CheckpointError(
                f"the checkpoint {path} was made with another configuration: "
                + "; ".join(differing)
                + ". Resume with the run's own configuration, or start a new run"
            )


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


class _DamagedError(Exception):
    """A checkpoint whose files differ from those that were written."""


@contextmanager
def _damage_explained() -> Iterator[None]:
    """Take every error of the libraries on a file from outside for damage; a checksum says only who wrote it last.

    Raises:
        _DamagedError: in place of any error but our own.
    """
    try:
        yield
    except (CheckpointError, _DamagedError):
        raise
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise _DamagedError(f"{type(error).__name__}: {first_line}") from None


def _read_state(path: Path) -> tuple[dict[str, Any], Progress]:
    """Read ``state.json`` and compare all files with their checksums.

    Raises:
        _DamagedError: a file is missing, or differs from the one that was written.
        CheckpointError: another version of the project wrote it.
    """
    with _damage_explained():
        document = json.loads((path / "state.json").read_text(encoding="utf-8"))
        state: dict[str, Any] = document["state"]
        body = json.dumps(state, sort_keys=True)
        if hashlib.sha256(body.encode()).hexdigest() != document["checksum"]:
            raise _DamagedError("state.json does not match its checksum")
        if state["format"] != FORMAT:
            raise CheckpointError(
                f"expected checkpoint format {FORMAT}, found {state['format']} in {path}: it was written by another "
                f"version of workflow-r1; resume with that version"
            )
        for name in (*FILES, *([PENDING] if PENDING in state["checksums"] else [])):
            if _checksum(path / name) != state["checksums"][name]:
                raise _DamagedError(f"{name} does not match its checksum")
        progress = TypeAdapter(Progress).validate_python(state["progress"])
        if progress.step != _step_of(path):
            raise _DamagedError(f"state.json is of step {progress.step}")
        if not isinstance(state["configuration"], dict):
            raise _DamagedError("state.json holds no configuration")
    return state, progress


def _restore(path: Path, state: Mapping[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put a checkpoint's tensors and random states in place.

    Raises:
        _DamagedError: the tensors cannot be read, or do not belong to an optimiser of this model.
        CheckpointError: the tensors belong to another model.
    """
    parameters = _trainable(model)
    with _damage_explained():
        weights = load_file(path / "weights.safetensors")
        tensors = torch.load(path / "tensors.pt", map_location="cpu", weights_only=True)
    if weights.keys() != parameters.keys() or any(weights[n].shape != parameters[n].shape for n in weights):
        raise CheckpointError(
            f"the checkpoint {path} holds the weights of another model than `policy.model` names: resume with the model "
            f"that the run started from"
        )
    with _damage_explained():
        _check_optimiser_state(tensors["optimiser"]["state"], optimiser)
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(like(weights[name], parameter))
        load_full_state(optimiser, tensors["optimiser"])
        torch.set_rng_state(tensors["torch_random"])
        if torch.cuda.is_available() and len(tensors["cuda_random"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(tensors["cuda_random"])
        version, internal, gauss = state["python_random"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, position, has_gauss, cached = state["numpy_random"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))


def _check_optimiser_state(state: Mapping[int, Mapping[str, Any]], optimiser: torch.optim.Optimizer) -> None:
    """Refuse moments of other shapes than their parameters: torch takes them, and fails at the first step.

    Raises:
        _DamagedError: they have other shapes than the parameters.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for index, values in state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameters[index].shape:
                raise _DamagedError(f"{name} of the optimiser has the shape {tuple(value.shape)}")


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _numpy_state() -> list[Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()
    return [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
