"""A whole run in TRL: our configuration as its arguments, our files and events beside its own."""

import asyncio
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback

from workflow_r1.accounting import Accounts, Budget
from workflow_r1.config.run import RunConfig
from workflow_r1.engines.trl.checkpoints import Progress, newest_complete
from workflow_r1.engines.trl.options import translate
from workflow_r1.engines.trl.rollouts import Rollouts, total_reward
from workflow_r1.engines.trl.trainer import GSsPOTrainer
from workflow_r1.environment import Environment
from workflow_r1.errors import BudgetExceededError, CheckpointError
from workflow_r1.evaluation.evaluate import evaluate
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.policy.model import describe
from workflow_r1.policy.threads import explain_threads
from workflow_r1.recording.atomic import full_disk_explained
from workflow_r1.recording.events import (
    CheckpointSaved,
    EvaluationStarted,
    OnEvent,
    RunStarted,
    StepStarted,
    UpdateStarted,
    ignore,
)
from workflow_r1.recording.metrics import Metrics, evaluation_metrics, merge, rollout_metrics
from workflow_r1.recording.recorder import RunRecorder
from workflow_r1.rewards import Scorer
from workflow_r1.trajectory import Question


@dataclass(frozen=True, slots=True)
class TrlResult:
    """Outcome of a run in TRL."""

    cause: Literal["finished", "budget", "interrupted"]
    """Reason for the end; after ``interrupted`` a resume continues, after ``budget`` one with a higher limit."""
    step: int
    """Steps that are complete."""
    evaluation: Metrics
    """The last evaluation's figures (``evaluation/...``); empty where there was no evaluation."""
    exceeded: BudgetExceededError | None = None
    """The reached limit and the amount spent, where the cause is ``budget``; the last checkpoint stands."""


class TrlRun:
    """One run: rollouts by our environment, loss by :class:`GSsPOTrainer`, loop by TRL.

    Under ``torchrun`` every process makes one; the first alone evaluates, writes files and reports events.

    Args:
        config: the whole configuration of the run.
        run_directory: directory of the files of every engine (``docs/reference/run-directory.md``), and TRL's checkpoints.
        model: the policy, trainable, whole in this process.
        tokenizer: its tokenizer.
        questions: questions, ``training.questions_per_step`` for each step, in the order in which they are asked.
        evaluation_questions: held-out questions.
        make_environment: makes a fresh environment for each trajectory.
        score: scores the trajectories of a group; None is the configuration's reward of questions.
        on_event: called with progress and warnings.
        accounts: accounts of the environments' services; None where nothing is metered.

    Raises:
        ConfigError: the configuration asks for something that TRL cannot do.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        run_directory: Path,
        model: Any,
        tokenizer: Any,
        questions: Sequence[Question],
        evaluation_questions: Sequence[Question],
        make_environment: Callable[[Question], Environment],
        score: Scorer | None = None,
        on_event: OnEvent = ignore,
        accounts: Accounts | None = None,
    ) -> None:
        self._config = config
        self._directory = run_directory
        self._model = model
        self._tokenizer = tokenizer
        self._questions = questions
        self._evaluation_questions = evaluation_questions[: config.training.evaluation_questions]
        self._make_environment = make_environment
        self._score = score or Scorer(config.reward)
        self.is_first = int(os.environ.get("RANK", "0")) == 0
        self._recorder = RunRecorder(
            run_directory,
            on_event=on_event,
            accounts=accounts or Accounts(budget=Budget(config.budget)),
            writes=self.is_first,
            has_clip=config.objective.has_clip,
        )
        self._arguments = translate(config, run_directory)
        self._stop = False

    def request_stop(self) -> None:
        """Ask for a clean stop: the current step ends, a checkpoint is saved, :meth:`run` returns."""
        self._stop = True

    def run(self, *, resume: bool = False) -> TrlResult:
        """Train from the start, or continue from the newest complete checkpoint.

        Raises:
            UserError: run directory or checkpoint cannot be used.
            ServiceError: the services failed every trajectory of a step, or ``training.stop_after_failures`` in a row.
        """
        with self._recorder.holding(resume=resume), asyncio.Runner() as runner:
            self._runner = runner
            return self._run(resume)

    def _run(self, resume: bool) -> TrlResult:
        config = self._config
        checkpoint = newest_complete(Path(self._arguments.output_dir), clean=self.is_first) if resume else None
        if resume and checkpoint is None:
            self._recorder.warn("there is no checkpoint to resume from yet: the run starts from its beginning")
        progress = Progress() if checkpoint is None else Progress.read(checkpoint, config.model_dump(mode="json"))
        self._seconds = progress.training_seconds
        self._evaluation: Metrics = {}
        self._recorder.continue_from(progress.file_lengths, watched=progress.watched)
        self._rollouts = Rollouts(
            training=config.training,
            seed=config.seed,
            max_sessions=config.sampling.max_sessions,
            make_sampler=lambda model: self._sampler(model, config.sampling.temperature),
            questions=self._questions,
            make_environment=self._make_environment,
            runner=self._runner,
            score=self._score,
            on_trajectory=lambda trajectory: self._count(trajectory),
        )
        objective = config.objective
        self.trainer = GSsPOTrainer(
            model=self._model,
            processing_class=self._tokenizer,
            args=self._arguments,
            train_dataset=self._rollouts.dataset(),
            reward_funcs=total_reward,
            rollout_func=self._roll_out,
            callbacks=[_Moments(self)],
            preset=objective.preset,
            switches=objective.switches(max_response_tokens=config.environment.max_response_tokens),
            correction_cap=objective.correction_cap,
            kl_kind=objective.kl_kind,
        )
        # It prints every log; the run's events say the same.
        self.trainer.remove_callback(PrinterCallback)
        exceeded = None
        try:
            with _damage_explained(checkpoint), full_disk_explained(self._directory):
                self.trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except BudgetExceededError as error:
            exceeded = error
        step = self.trainer.state.global_step // self._steps_of_optimiser
        if exceeded is not None:
            return TrlResult("budget", step, self._evaluation, exceeded)
        return TrlResult("finished" if step >= config.training.steps else "interrupted", step, self._evaluation)

    @property
    def _steps_of_optimiser(self) -> int:
        """Return the number of the optimiser's steps in one step of ours."""
        return self._arguments.steps_per_generation // self._arguments.gradient_accumulation_steps

    def _roll_out(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        training, recorder = self._config.training, self._recorder
        step = trainer.state.global_step // self._steps_of_optimiser + 1
        recorder.tell(StepStarted(step, training.steps))
        self._count = recorder.count(len(prompts))
        self._started = time.perf_counter()
        fields = self._rollouts(prompts, trainer)
        self._sampled, self._sampled_cpu = time.perf_counter(), time.process_time()
        recorder.record_trajectories(self._rollouts.trajectories, step=step)
        recorder.book_services(step, "training")
        recorder.report_failures(self._rollouts.trajectories, step)
        recorder.tell(UpdateStarted(step, self._steps_of_optimiser))
        return fields

    def finish_step(self, optimiser_steps: int, logs: dict[str, Any]) -> None:
        """Write the line of a step, evaluated where its turn has come. Called in the first process."""
        training = self._config.training
        step = optimiser_steps // self._steps_of_optimiser
        trajectories = self._rollouts.trajectories
        ended = time.perf_counter()
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 and next(self._model.parameters()).device.type == "cpu":
            self._recorder.watch_processors(
                wall_seconds=ended - self._sampled, cpu_seconds=time.process_time() - self._sampled_cpu
            )
        self._seconds += ended - self._started
        num_failed = sum(trajectory.stop_reason.is_infrastructure for trajectory in trajectories)
        row = merge(
            {"step": step, "policy_version": optimiser_steps},
            rollout_metrics(trajectories, operators=self._config.environment.operators),
            {
                "update/loss": logs["loss"],
                "update/grad_norm": logs.get("grad_norm"),
                "update/learning_rate": logs.get("learning_rate"),
                "update/num_optimiser_steps": self._steps_of_optimiser,
                "update/num_failed": num_failed,
                "update/num_rows_trained": len(trajectories) - num_failed,
            },
            {name: value for name, value in logs.items() if name.startswith("update/")},
            {
                "time/rollout_seconds": self._sampled - self._started,
                "time/update_seconds": ended - self._sampled,
                "time/step_seconds": ended - self._started,
                "time/training_seconds": self._seconds,
                "time/sampled_tokens_per_second": sum(t.num_policy_tokens for t in trajectories)
                / (self._sampled - self._started),
            },
        )
        if step == training.steps or (training.evaluate_every and step % training.evaluate_every == 0):
            row = merge(row, self.evaluate(step))
        self._recorder.record_step(row, num_steps=training.steps)

    def evaluate(self, step: int) -> Metrics:
        """Ask the held-out questions greedily; returns no figures without questions. Called in the first process."""
        if not self._evaluation_questions:
            return {}
        self._recorder.tell(EvaluationStarted(step, len(self._evaluation_questions)))
        started = time.perf_counter()
        config = self._config
        result = self._runner.run(
            evaluate(
                self._evaluation_questions,
                policy=self._sampler(self._model, 0.0),
                make_environment=self._make_environment,
                seed=config.seed,
                concurrency=config.sampling.max_sessions,
                score=self._score.one,
                on_trajectory=self._recorder.count(len(self._evaluation_questions)),
            )
        )
        metrics = {**evaluation_metrics(result), "time/evaluation_seconds": time.perf_counter() - started}
        self._recorder.book_services(step, "evaluation")
        self._recorder.record_evaluation(metrics, step)
        self._evaluation = metrics
        return metrics

    def _sampler(self, model: Any, temperature: float) -> LocalSampler:
        """Return a sampler of the model's current weights."""
        config = self._config
        return LocalSampler(
            model,
            self._tokenizer,
            sampling=config.sampling.model_copy(update={"temperature": temperature}),
            template=config.policy.template,
            name=config.policy.model,
            autocast=torch.bfloat16 if config.optimiser.precision == "bfloat16" else None,
        )

    def begin(self, optimiser_steps: int) -> None:
        """Report that the run begins, and evaluate a policy that has not been trained yet. Called in the first process."""
        step = optimiser_steps // self._steps_of_optimiser
        if (fewer := explain_threads(self._config.policy.threads)) is not None:
            self._recorder.warn(fewer)
        self._recorder.tell(RunStarted(step, self._config.training.steps, **describe(self._model)))
        if step == 0:
            self._recorder.record_start(self.evaluate(0))

    def complete_checkpoint(self, optimiser_steps: int) -> None:
        """Write the parts of a resume besides TRL's own files. Called in the first process."""
        path = Path(self._arguments.output_dir) / f"checkpoint-{optimiser_steps}"
        Progress(
            config=self._config.model_dump(mode="json"),
            file_lengths=self._recorder.file_lengths,
            training_seconds=self._seconds,
            watched=self._recorder.watched,
        ).write(path)
        self._recorder.tell(CheckpointSaved(optimiser_steps // self._steps_of_optimiser, path))

    def shall_stop(self) -> bool:
        """Return True where any process was asked to stop. Called in every process: they agree on it."""
        return any(gather_object([self._stop]))

    def ends_a_step(self, optimiser_steps: int) -> bool:
        """Return True where the optimiser has made all steps of one of ours."""
        return optimiser_steps % self._steps_of_optimiser == 0


class _Moments(TrainerCallback):
    """Calls the run at the moments at which TRL reports progress."""

    def __init__(self, run: TrlRun) -> None:
        self._run = run

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._run.is_first:
            self._run.begin(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs or not self._run.ends_a_step(state.global_step):
            return
        if self._run.is_first:
            self._run.finish_step(state.global_step, logs)
        if self._run.shall_stop():
            control.should_training_stop = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._run.is_first:
            self._run.complete_checkpoint(state.global_step)


@contextmanager
def _damage_explained(checkpoint: Path | None) -> Iterator[None]:
    """Turn the errors of libraries that cannot read a checkpoint into one message.

    Raises:
        CheckpointError: in place of such an error.
    """
    try:
        yield
    except (SafetensorError, pickle.UnpicklingError, json.JSONDecodeError, RuntimeError) as error:
        is_damage = not isinstance(error, RuntimeError) or "PytorchStreamReader failed" in str(error)
        if checkpoint is None or not is_damage:
            raise
        raise CheckpointError(
            f"the checkpoint {checkpoint} is damaged ({str(error).splitlines()[0]}): remove its folder and resume from the one "
            f"before it"
        ) from None
