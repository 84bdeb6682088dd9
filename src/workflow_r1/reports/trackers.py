"""TensorBoard and Weights & Biases: both show the lines of ``metrics.jsonl``, which stay the record."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from workflow_r1.config.run import LoggingConfig
from workflow_r1.errors import MissingExtraError
from workflow_r1.installation import install_command
from workflow_r1.services.secrets import mask_addresses

Metrics = Mapping[str, float | int | None]
"""One line of metrics; None where a quantity was not finite or not measured."""


class Tracker(Protocol):
    """Something that shows metrics elsewhere."""

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Show one line."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...


def open_trackers(
    config: LoggingConfig, directory: Path, *, configuration: Mapping[str, Any], first_step: int = 0
) -> Sequence[Tracker]:
    """Open the trackers that the configuration asks for.

    Args:
        config: which.
        directory: the run directory; both trackers keep their files inside it.
        configuration: of the whole run, as plain JSON values, for a tracker that shows it; addresses are masked.
        first_step: steps already done, when a run continues: later steps that were shown are withdrawn where possible.

    Raises:
        MissingExtraError: the tracker's package is not installed.
    """
    trackers: list[Tracker] = []
    if config.tensorboard:
        trackers.append(TensorBoardTracker(directory / "tensorboard", first_step=first_step))
    if config.wandb_project is not None:
        trackers.append(WandbTracker(configuration, directory, project=config.wandb_project))
    return trackers


class TensorBoardTracker:
    """Writes event files; ``tensorboard --logdir runs`` shows them."""

    def __init__(self, directory: Path, *, first_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                f"logging.tensorboard needs tensorboard, which is not installed; run: {install_command('tensorboard')}"
            ) from None
        self._writer: Any = SummaryWriter(str(directory), purge_step=first_step + 1 if first_step else None)

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Write one line."""
        for key, value in metrics.items():
            if value is not None and key != "step":
                self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class WandbTracker:
    """A Weights & Biases run. ``WANDB_MODE=offline`` keeps it on this machine and needs no network."""

    def __init__(self, configuration: Mapping[str, Any], directory: Path, *, project: str) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError(
                f"logging.wandb_project needs wandb, which is not installed; run: {install_command('wandb')}"
            ) from None
        self._run: Any = wandb.init(
            project=project,
            # The directory's name is unique and stays the same when the run continues.
            id=directory.name,
            name=directory.name,
            dir=str(directory),
            config=json.loads(mask_addresses(json.dumps(configuration, ensure_ascii=False))),
            resume="allow",
        )

    def log(self, metrics: Metrics, *, step: int) -> None:
        """Send one line."""
        self._run.log({key: value for key, value in metrics.items() if value is not None and key != "step"}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
