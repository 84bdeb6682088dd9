"""Checkpoints that hold everything a run needs to go on as if it had never stopped.

    run directory/checkpoints/step-000010/
        weights.safetensors   trainable parameters
        tensors.pt            optimiser state, torch's random states
        state.json            counters, Python's and numpy's random states, lengths of the run's files, the
                              configuration, and a checksum of everything

A checkpoint appears under its name only when it is complete and on the disk. Learning rate, order of the data and seeds
of the rollouts are functions of the counters and need no state of their own.
"""

import hashlib
import json
import pickle
import random
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from workflow_r1.errors import CheckpointError
from workflow_r1.policy.sharding import full, full_state, like, load_full_state
from workflow_r1.recording.atomic import atomic_directory, remove_directory, remove_unfinished
from workflow_r1.recording.events import CheckpointSaved, OnEvent, Warned

FORMAT = 1
"""Version of the files of a checkpoint; another version is refused."""

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
"""Configuration keys (or beginnings of them) that may differ on a resume: they do not change what a step computes, or
(threads, micro-batches, sharding) by rounding alone."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    step: int = 0
    """Steps that are complete."""
    num_drawn: int = 0
    """Questions (or demonstrations) drawn so far: the position in the data."""
    policy_version: int = 0
    """Optimiser steps taken."""
    training_seconds: float = 0.0
    """Wall time spent in steps, evaluations left out."""
    file_lengths: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the run's append-only files; what comes after them is cut off on a resume."""
    watched: Mapping[str, float] = field(default_factory=dict)
    """What the watch for collapse remembers."""
    unevaluated: Mapping[str, float | int | None] | None = None
    """Metrics of the last step where the budget ended its evaluation: a resume evaluates first."""


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: where they stand; made when the first is saved.
        configuration: what must be the same on a resume, as plain JSON values (nested mappings).
        keep: the newest so many stay.
        on_event: is told of what was saved, and of damage.
        writes: whether this process is the one that writes.
    """

    def __init__(
        self, directory: Path, configuration: Mapping[str, Any], *, keep: int, on_event: OnEvent, writes: bool = True
    ) -> None:
        self._directory = directory
        self._configuration = configuration
        self._keep = keep
        self._on_event = on_event
        self._writes = writes

    def save(self, progress: Progress, model: nn.Module, optimiser: torch.optim.Optimizer) -> Path:
        """Save a checkpoint and delete those that are too old. Every process of a run calls it; one writes.

        Raises:
            UserError: the disk is full; the earlier checkpoints are unharmed.
        """
        path = self._directory / f"step-{progress.step:06d}"
        # What is sharded is gathered, so that a checkpoint does not say how many processes there were.
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
            state = {
                "format": FORMAT,
                "progress": asdict(progress),
                "configuration": self._configuration,
                "python_random": random.getstate(),
                "numpy_random": _numpy_state(),
                "checksums": {name: _checksum(temporary / name) for name in ("tensors.pt", "weights.safetensors")},
            }
            body = json.dumps(state, sort_keys=True)
            document = {"checksum": hashlib.sha256(body.encode()).hexdigest(), "state": json.loads(body)}
            (temporary / "state.json").write_text(json.dumps(document, sort_keys=True), encoding="utf-8")
        for old in self._paths()[: -self._keep]:
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
                state = _read_state(path)
            except _DamagedError as damage:
                damaged.append(path)
                self._on_event(Warned(f"the checkpoint {path} is damaged ({damage}); trying the one before it"))
                continue
            self._refuse_other_configuration(path, state["configuration"])
            _restore(path, state, model, optimiser)
            return Progress(**state["progress"])
        if damaged:
            raise CheckpointError(
                f"expected an undamaged checkpoint in {self._directory}, but all {len(damaged)} are damaged: remove the "
                f"run directory and start again"
            )
        return None

    def _paths(self) -> list[Path]:
        """Return all checkpoints, oldest first."""
        if not self._directory.is_dir():
            return []
        return sorted(path for path in self._directory.iterdir() if re.fullmatch(r"step-\d{6,}", path.name))

    def _refuse_other_configuration(self, path: Path, saved: Mapping[str, Any]) -> None:
        before, now = _flat(saved), _flat(json.loads(json.dumps(self._configuration)))
        differing = [
            f"{key}: {before.get(key, 'absent')!r} in the checkpoint, {now.get(key, 'absent')!r} now"
            for key in sorted(before.keys() | now.keys())
            if before.get(key, "absent") != now.get(key, "absent")
            and not any(key == free or key.startswith(f"{free}.") for free in FREE_KEYS)
        ]
        if differing:
            raise CheckpointError(
                f"the checkpoint {path} was made with another configuration: "
                + "; ".join(differing)
                + ". Resume with the run's own configuration, or start a new run"
            )


class _DamagedError(Exception):
    """A checkpoint whose files are not what was written."""


def _read_state(path: Path) -> dict[str, Any]:
    try:
        document = json.loads((path / "state.json").read_text(encoding="utf-8"))
        state = document["state"]
        body = json.dumps(state, sort_keys=True)
        if hashlib.sha256(body.encode()).hexdigest() != document["checksum"]:
            raise _DamagedError("state.json does not match its checksum")
        if state["format"] != FORMAT:
            raise CheckpointError(
                f"expected checkpoint format {FORMAT}, found {state['format']} in {path}: it was written by another "
                f"version of workflow-r1; resume with that version"
            )
        for name, checksum in state["checksums"].items():
            if _checksum(path / name) != checksum:
                raise _DamagedError(f"{name} does not match its checksum")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _DamagedError(f"{type(error).__name__}: {error}") from None
    return state


def _restore(path: Path, state: Mapping[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    try:
        weights = load_file(path / "weights.safetensors")
        tensors = torch.load(path / "tensors.pt", map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error}") from None
    parameters = _trainable(model)
    if weights.keys() != parameters.keys() or any(weights[n].shape != parameters[n].shape for n in weights):
        raise CheckpointError(
            f"the checkpoint {path} holds the weights of another model than `policy.model` names: resume with the model "
            f"that the run started from"
        )
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


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _numpy_state() -> list[Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()
    return [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
