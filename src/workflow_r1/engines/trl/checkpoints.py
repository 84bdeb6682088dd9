"""Our own files in TRL's checkpoints, from which a run continues as if it had not stopped."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from transformers.trainer_utils import get_last_checkpoint

from workflow_r1.config.resuming import differing_keys
from workflow_r1.errors import CheckpointError
from workflow_r1.trajectory.storage import UNFINISHED, write_atomically

PROGRESS = "workflow_r1.json"
"""File of ours in TRL's checkpoints; a checkpoint without it is not complete."""

FREE_KEYS = (
    "budget",
    "directory",
    "logging",
    "name",
    "policy.threads",
    "prices",
    "store",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.steps",
    "trl.micro_batch_rows",
)
"""Configuration keys, or beginnings of them, that may differ on a resume: they change nothing that a step computes beyond
rounding."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """The run's configuration, as plain JSON values."""
    file_lengths: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the run's append-only files; a resume cuts off everything after them."""
    training_seconds: float = 0.0
    """Wall time spent in steps, evaluations left out."""
    watched: Mapping[str, float] = field(default_factory=dict)
    """Memory of the watch for collapse."""

    def write(self, checkpoint: Path) -> None:
        """Put it into a checkpoint of TRL, which is complete with it."""
        write_atomically(checkpoint / PROGRESS, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, checkpoint: Path, configuration: Mapping[str, Any]) -> "Progress":
        """Read it from a checkpoint.

        Args:
            checkpoint: TRL's.
            configuration: configuration of the run that resumes, as plain JSON values.

        Raises:
            CheckpointError: it is damaged, or belongs to another configuration; the message names the keys that differ.
        """
        file = checkpoint / PROGRESS
        try:
            progress = TypeAdapter(cls).validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise CheckpointError(
                f"expected the progress of the run in {file}, found text that cannot be read as such "
                f"({str(error).splitlines()[0]}): remove the folder {checkpoint} and resume from the checkpoint before it"
            ) from None
        refused = differing_keys(progress.config, configuration, free=FREE_KEYS)
        if refused:
            raise CheckpointError(
                f"expected the configuration of the run, but {', '.join(refused)} differ from it: leave them as they were, or "
                "start a new run"
            )
        return progress


def newest_complete(directory: Path, *, clean: bool) -> Path | None:
    """Return the newest checkpoint that is complete; None where there is no complete one.

    Args:
        directory: folder ``checkpoints/`` of the run.
        clean: set the incomplete ones aside, so that TRL does not take them: one process does.
    """
    if clean:
        for path in directory.glob("checkpoint-*"):
            if not (path / PROGRESS).is_file():
                path.rename(path.with_name(f"{UNFINISHED}{path.name}"))
    found = get_last_checkpoint(str(directory)) if directory.is_dir() else None
    return None if found is None else Path(found)
