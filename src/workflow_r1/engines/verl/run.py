"""A training run on verl, from the outside: started, followed, put into our run directory, resumed."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.verl.estimate import count_parameters
from workflow_r1.engines.verl.launch import FOLDER, StepReport, VerlProcess, prepare, start
from workflow_r1.engines.verl.metrics import time_metrics, update_metrics
from workflow_r1.engines.verl.naming import policy_version
from workflow_r1.engines.verl.rollout_files import RolloutFiles
from workflow_r1.errors import CheckpointError, ServiceUnavailableError
from workflow_r1.evaluation.evaluate import EvaluationResult
from workflow_r1.policy.portable import make_portable
from workflow_r1.recording.atomic import atomic_directory
from workflow_r1.recording.events import (
    CheckpointSaved,
    OnEvent,
    PolicySaved,
    RunStarted,
    StepStarted,
    TrajectoryFinished,
    ignore,
)
from workflow_r1.recording.metrics import Metrics, evaluation_metrics, merge, rollout_metrics
from workflow_r1.recording.recorder import RunRecorder
from workflow_r1.trajectory import Question, Trajectory
from workflow_r1.trajectory.storage import write_atomically

POLL_SECONDS = 0.5
"""Time between two looks at the run, in seconds."""

LATEST = "latest_checkpointed_iteration.txt"
"""File in ``checkpoints/`` with the step of verl's newest complete checkpoint."""


@dataclass(frozen=True, slots=True)
class VerlResult:
    """Outcome of a run."""

    cause: Literal["finished", "interrupted"]
    """Reason for the end; after ``interrupted`` a resume continues from the newest checkpoint."""
    step: int
    """Steps that the newest checkpoint holds."""
    policy_directory: Path | None
    """The policy of that checkpoint in Hugging Face format; None where there is no checkpoint yet."""


class VerlTraining:
    """One run on verl.

    Args:
        config: the whole configuration of the run; ``config.toml`` in the run directory holds the same.
        run_directory: gets ``metrics.jsonl``, ``trajectories.jsonl.gz``, ``evaluations.jsonl``, ``checkpoints/``, ``policy/``
            and ``verl/``; every node must see it.
        model: directory or hub name of the policy's model.
        train_questions: all questions of the run, in order: ``steps`` times ``questions_per_step``.
        evaluation_questions: held-out questions.
        on_event: called with progress and warnings.
        environment: variables for verl's process besides those of this one.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        run_directory: Path,
        model: str,
        train_questions: Sequence[Question],
        evaluation_questions: Sequence[Question],
        on_event: OnEvent = ignore,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._directory = run_directory.resolve()
        self._model = model
        self._train_questions = train_questions
        self._evaluation_questions = evaluation_questions
        self._recorder = RunRecorder(self._directory, on_event=on_event, has_clip=config.objective.has_clip)
        self._environment = environment
        self._rollouts = RolloutFiles(self._directory)
        self._stop = False

    def request_stop(self) -> None:
        """Ask :meth:`run` to end verl; everything after the newest checkpoint is lost."""
        self._stop = True

    def run(self, *, resume: bool = False) -> VerlResult:
        """Train from the start, or continue from the newest checkpoint.

        Raises:
            UserError: verl cannot do the run, or the run directory cannot be used.
            ServiceUnavailableError: verl broke off, or infrastructure failed every trajectory of a step.
        """
        with self._recorder.holding(resume=resume):
            return self._run(resume)

    def _run(self, resume: bool) -> VerlResult:
        config, recorder = self._config, self._recorder
        step = self._checkpointed() if resume else 0
        # The watch has seen the rows that are kept.
        recorder.continue_from(self._lengths_at(step))
        self._rollouts.discard_all()
        config_file = prepare(
            config,
            model=self._model,
            run_directory=self._directory,
            train_questions=self._train_questions,
            evaluation_questions=self._evaluation_questions,
            resume=resume,
        )
        if resume and step == 0:
            recorder.warn("there is no checkpoint to resume from yet: the run starts from its beginning")
        parameters = count_parameters(Path(self._model))
        recorder.tell(RunStarted(step, config.training.steps, parameters, parameters))
        recorder.tell(StepStarted(step + 1, config.training.steps))
        process = start(config_file, environment=self._environment)
        try:
            self._follow(process, step)
        finally:
            process.stop()
        step = self._checkpointed()
        return VerlResult("interrupted" if self._stop else "finished", step, self._take_policy(step))

    def _follow(self, process: VerlProcess, step: int) -> None:
        """Look at the run until it ends."""
        steps = self._config.training.steps
        saved = step
        self._reader = self._rollouts.follow("training", step + 1)
        while not self._stop:
            ended = process.exit_code()  # Before the last look, so that nothing is missed.
            self._tell_trajectories()
            for report in process.reports():
                step = max(step, report.step)
                self._take_report(report)
                if step < steps:
                    self._recorder.tell(StepStarted(step + 1, steps))
                self._reader = self._rollouts.follow("training", step + 1)
            if (newest := self._checkpointed()) > saved:
                saved = newest
                self._recorder.tell(CheckpointSaved(saved, self._checkpoint(saved)))
            if ended == 0 and step >= steps:
                return
            if ended is not None:
                raise ServiceUnavailableError(
                    f"verl ended at step {step} of {steps} with exit code {ended}. The end of {process.log}:\n"
                    f"{process.last_lines()}"
                )
            time.sleep(POLL_SECONDS)

    def _tell_trajectories(self) -> None:
        total = self._config.training.questions_per_step * self._config.training.group_size
        done = len(self._reader.trajectories)
        for number, trajectory in enumerate(self._reader.read(), start=done + 1):
            self._recorder.tell(TrajectoryFinished(number, total, trajectory))

    def _take_report(self, report: StepReport) -> None:
        """Put a step that verl has finished into the files of the run.

        Raises:
            ServiceUnavailableError: the infrastructure failed all of its trajectories.
            RuntimeError: a trajectory ended in an error of the program.
        """
        config, step = self._config, report.step
        row: Metrics = {"step": step}
        if step > 0:
            self._tell_trajectories()
            trajectories = self._in_order(self._reader.trajectories, step)
            self._check_complete(trajectories, step)
            self._recorder.record_trajectories(trajectories, step=step)
            self._recorder.report_failures(trajectories, step)
            row = merge(
                row,
                {"policy_version": policy_version(config.training, step)},
                rollout_metrics(trajectories, operators=config.environment.operators),
                update_metrics(report.metrics),
                time_metrics(report.metrics, num_sampled_tokens=sum(t.num_policy_tokens for t in trajectories)),
            )
            self._rollouts.discard("training", step)
        evaluation = self._take_evaluation(step)
        if step > 0:
            self._recorder.record_step(merge(row, evaluation), num_steps=config.training.steps)
        else:
            self._recorder.record_start(evaluation)
        self._remember_lengths(step)

    def _check_complete(self, trajectories: Sequence[Trajectory], step: int) -> None:
        """Crash where verl continued without a trajectory: it logs a loop's error, and learns from the others."""
        expected = self._config.training.questions_per_step * self._config.training.group_size
        if len(trajectories) < expected:
            raise RuntimeError(
                f"step {step}: expected {expected} trajectories, found {len(trajectories)}: the others ended in "
                f"an error that is not a service's. The newest log in {self._directory / FOLDER} shows it; repair it and resume"
            )

    def _in_order(self, trajectories: Sequence[Trajectory], step: int) -> list[Trajectory]:
        """Sort a step's trajectories as the native engine writes them: by question as asked, then by member."""
        size = self._config.training.questions_per_step
        asked = self._train_questions[(step - 1) * size : step * size]
        place = {question.id: index for index, question in enumerate(asked)}
        return sorted(trajectories, key=lambda t: (place[t.question.id], int(t.id.rpartition("-")[2])))

    def _take_evaluation(self, step: int) -> Metrics:
        reader = self._rollouts.follow("evaluation", step)
        found = {trajectory.question.id: trajectory for trajectory in reader.read()}
        if not found:
            return {}
        answers = [found[question.id] for question in self._evaluation_questions if question.id in found]
        metrics = evaluation_metrics(EvaluationResult(tuple(answers)))
        self._recorder.record_evaluation(metrics, step)
        self._rollouts.discard("evaluation", step)
        return metrics

    # ------------------------------------------------------------------------------------------------------ checkpoints

    def _checkpoint(self, step: int) -> Path:
        return self._directory / "checkpoints" / f"global_step_{step}"

    def _checkpointed(self) -> int:
        """Step of the newest complete checkpoint; 0 without one.

        Raises:
            CheckpointError: the file that says so is damaged.
        """
        file = self._directory / "checkpoints" / LATEST
        try:
            return int(file.read_text()) if file.exists() else 0
        except ValueError:
            raise CheckpointError(
                f"expected the step of verl's newest checkpoint in {file}, found something else: write the number of the newest "
                f"complete global_step_N into it"
            ) from None

    def _take_policy(self, step: int) -> Path | None:
        """Copy the newest checkpoint's model to ``policy/``, which all other commands read."""
        if step == 0:
            return None
        source = self._checkpoint(step) / "actor" / "huggingface"
        if not (source / "config.json").is_file():
            raise CheckpointError(f"expected a Hugging Face model in {source}, where verl's checkpoint should hold one")
        policy = self._directory / "policy"
        with atomic_directory(policy) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
            make_portable(temporary)
        self._recorder.tell(PolicySaved(policy))
        return policy

    def _remember_lengths(self, step: int) -> None:
        """Keep the lengths of the files after a step, to which a resume can cut them back."""
        known = self._read_lengths()
        known[str(step)] = self._recorder.file_lengths
        write_atomically(self._directory / FOLDER / "lengths.json", json.dumps(known))

    def _lengths_at(self, step: int) -> Mapping[str, int]:
        return self._read_lengths().get(str(step), {}) if step else {}

    def _read_lengths(self) -> dict[str, dict[str, int]]:
        file = self._directory / FOLDER / "lengths.json"
        try:
            return TypeAdapter(dict[str, dict[str, int]]).validate_json(file.read_bytes()) if file.exists() else {}
        except ValidationError:
            raise CheckpointError(
                f"expected the lengths of the run's files by step in {file}, found something else: put it back, or start a new "
                f"run from the saved policy"
            ) from None
