"""Starts verl's own entry point in a process of its own, and follows it.

Everything for verl lies below the run directory::

    config.toml               ours; every worker reads it
    verl/config.yaml          verl's, complete
    verl/training.parquet     questions in the order in which they are asked
    verl/evaluation.parquet   held-out questions
    verl/metrics-1.jsonl      verl's own metrics of the first start, -2 of the second, ...
    verl/log-1.txt            the output of verl and Ray
    verl/rollouts/            trajectories of the step under way
    checkpoints/              verl's checkpoints
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.verl.options import own_options, translate
from workflow_r1.engines.verl.question_files import write_questions
from workflow_r1.engines.verl.schema import complete
from workflow_r1.trajectory import Question

FOLDER = "verl"
"""Folder of verl's files below the run directory, besides checkpoints."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """One line of verl's metrics."""

    step: int
    """0 before the first step."""
    metrics: Mapping[str, float]
    """Metrics by verl's names."""


class VerlProcess:
    """A running verl."""

    def __init__(self, process: subprocess.Popen[bytes], metrics: Path, log: Path) -> None:
        self._process = process
        self._metrics = metrics
        self._read = 0
        self.log = log
        """Output of the process."""

    def reports(self) -> Iterator[StepReport]:
        """Return the lines of metrics that were completed since the last call."""
        if not self._metrics.exists():
            return
        with self._metrics.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                row = json.loads(line)
                yield StepReport(int(row["step"]), row["data"])

    def exit_code(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End it and all that it started; everything after its last checkpoint is lost."""
        for kind in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, kind)
                try:
                    self._process.wait(timeout=30.0)
                except subprocess.TimeoutExpired:
                    continue

    def last_lines(self) -> str:
        """Return the end of its output."""
        return "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-20:]) if self.log.exists() else ""


def prepare(
    config: RunConfig,
    *,
    model: str,
    run_directory: Path,
    train_questions: Sequence[Question],
    evaluation_questions: Sequence[Question],
    resume: bool,
) -> Path:
    """Write verl's input files, and return its configuration.

    Args:
        config: configuration of the run.
        model: directory or hub name of the policy's model.
        run_directory: absolute path.
        train_questions: all questions of the run, in order: ``steps`` times ``questions_per_step``.
        evaluation_questions: held-out questions; may be empty.
        resume: continue from the newest checkpoint.

    Raises:
        ConfigError: verl cannot do the run, or does not know one of its options.
    """
    folder = run_directory / FOLDER
    files = {use: folder / f"{use}.parquet" for use in ("training", "evaluation")}
    options = translate(
        config,
        model=model,
        run_directory=run_directory,
        train_file=files["training"],
        evaluation_file=files["evaluation"],
        resume=resume,
    )
    complete_config = complete(options, own_options(config.verl))
    write_questions(files["training"], train_questions, use="training")
    # verl wants a file even where it never evaluates.
    write_questions(files["evaluation"], evaluation_questions or train_questions[:1], use="evaluation")
    path = folder / "config.yaml"
    path.write_text(OmegaConf.to_yaml(complete_config), encoding="utf-8")
    return path


def start(config_file: Path, *, environment: Mapping[str, str] | None = None) -> VerlProcess:
    """Start verl with a configuration that :func:`prepare` wrote.

    Args:
        config_file: the run's ``verl/config.yaml``.
        environment: variables besides those of this process.
    """
    folder = config_file.parent
    number = 1 + sum(1 for _ in folder.glob("log-*.txt"))
    metrics, log = folder / f"metrics-{number}.jsonl", folder / f"log-{number}.txt"
    command = [
        *(sys.executable, "-m", "verl.trainer.main_ppo"),
        *(f"--config-path={folder.resolve()}", f"--config-name={config_file.stem}"),
        # Hydra would make folders and log files of its own in the working directory.
        *("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"),
    ]
    variables: dict[str, Any] = {
        "HF_DATASETS_OFFLINE": "1",  # The questions are files; without it they would be asked for on the network first.
        **os.environ,
        "VERL_FILE_LOGGER_PATH": str(metrics.resolve()),
        **(environment or {}),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=variables, start_new_session=True
        )
    return VerlProcess(process, metrics, log)
