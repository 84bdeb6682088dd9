"""A whole run in TRL: our configuration as its arguments, our files and events beside its own."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import gather_object
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOConfig

from workflow_r1.accounting import Accounts, Budget, Spent
from workflow_r1.config.run import RunConfig
from workflow_r1.engines.trl.rollouts import Rollouts, total_reward
from workflow_r1.engines.trl.trainer import GSsPOTrainer
from workflow_r1.environment import Environment
from workflow_r1.errors import BudgetExceededError, CheckpointError, ConfigError
from workflow_r1.evaluation.evaluate import evaluate
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.recording.events import (
    CheckpointSaved,
    EvaluationFinished,
    EvaluationStarted,
    OnEvent,
    RunStarted,
    ServicesBooked,
    StepFinished,
    StepStarted,
    TrajectoryFinished,
    UpdateStarted,
    Warned,
    ignore,
)
from workflow_r1.recording.health import CollapseWatch
from workflow_r1.recording.metrics import Metrics, evaluation_metrics, merge, rollout_metrics
from workflow_r1.recording.run_files import EVALUATIONS, METRICS, SERVICES, SPENT, RunFiles
from workflow_r1.trajectory import Question, Trajectory
from workflow_r1.trajectory.storage import write_atomically

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
class TrlResult:
    """How a run in TRL ended."""

    cause: Literal["finished", "budget", "interrupted"]
    """Why it ended; after ``interrupted`` a resume goes on, after ``budget`` one with a higher limit."""
    step: int
    """Steps that are complete."""
    evaluation: Metrics
    """The last evaluation's figures (``evaluation/...``); empty where there was none."""
    exceeded: BudgetExceededError | None = None
    """The limit that was reached, and what was spent, where the cause is ``budget``; the last checkpoint stands."""


class TrlRun:
    """One run: rollouts by our environment, loss by :class:`GSsPOTrainer`, loop by TRL.

    Under ``torchrun`` every process makes one; the first alone evaluates, writes files and tells events.

    Args:
        config: everything that a run is told.
        run_directory: gets the files of every engine (``docs/reference/run-directory.md``), and TRL's checkpoints.
        model: the policy, trainable, whole in this process.
        tokenizer: its tokenizer.
        questions: ``training.questions_per_step`` for each step, in the order in which they are asked.
        evaluation_questions: held out.
        make_environment: a fresh environment for each trajectory.
        on_event: told of progress and warnings.
        accounts: those of the environments' services; None where nothing is metered.

    Raises:
        ConfigError: the configuration asks for what TRL cannot do.
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
        self._accounts = accounts or Accounts(budget=Budget(config.budget))
        self.is_first = int(os.environ.get("RANK", "0")) == 0
        self._on_event: OnEvent = on_event if self.is_first else ignore
        self._arguments = translate(config, run_directory)
        self._stop = False

    def request_stop(self) -> None:
        """Ask for a clean stop: the current step ends, a checkpoint is saved, :meth:`run` returns."""
        self._stop = True

    def run(self, *, resume: bool = False) -> TrlResult:
        """Train from the start, or go on from the newest complete checkpoint.

        Raises:
            UserError: run directory or checkpoint cannot be used.
            ServiceError: the services failed every trajectory of a step, or ``training.stop_after_failures`` in a row.
        """
        with asyncio.Runner() as runner:
            self._runner = runner
            return self._run(resume)

    def _run(self, resume: bool) -> TrlResult:
        config = self._config
        checkpoint = self._find_checkpoint() if resume else None
        progress = _read_progress(checkpoint, config) if checkpoint else {}
        self._watch = CollapseWatch(progress.get("watched"))
        self._seconds: float = progress.get("training_seconds", 0.0)
        self._evaluation: Metrics = {}
        if self.is_first:
            self._files = RunFiles(self._directory, resume=resume)
            self._files.cut_back(progress.get("file_lengths", {}))
            self._accounts.budget.restart(Spent.read(self._directory / SPENT))
        self._num_done = 0
        self._rollouts = Rollouts(
            config=config,
            questions=self._questions,
            make_environment=self._make_environment,
            runner=self._runner,
            on_trajectory=self._count,
        )
        objective = config.objective
        self.trainer = GSsPOTrainer(
            model=self._model,
            processing_class=self._tokenizer,
            args=self._arguments,
            train_dataset=self._rollouts.dataset(),
            reward_funcs=total_reward,
            rollout_func=self._roll_out,
            callbacks=[_Recorder(self)],
            preset=objective.preset,
            unit=objective.unit,
            weight=objective.weight,
            clip_low=objective.clip_low,
            clip_high=objective.clip_high,
            clip_reference_length=objective.clip_reference_length,
            correction_cap=objective.correction_cap,
            kl_kind=objective.kl_kind,
        )
        # It prints every log; the run's events say the same.
        self.trainer.remove_callback(PrinterCallback)
        exceeded = None
        try:
            self.trainer.train(resume_from_checkpoint=checkpoint)
        except BudgetExceededError as error:
            exceeded = error
        finally:
            if self.is_first:
                self._accounts.budget.spent.write(self._directory / SPENT)
        step = self.trainer.state.global_step // self._steps_of_optimiser
        if exceeded is not None:
            return TrlResult("budget", step, self._evaluation, exceeded)
        return TrlResult("finished" if step >= config.training.steps else "interrupted", step, self._evaluation)

    @property
    def _steps_of_optimiser(self) -> int:
        """How many the optimiser makes in one step of ours."""
        return self._arguments.steps_per_generation // self._arguments.gradient_accumulation_steps

    def _roll_out(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        training = self._config.training
        step = trainer.state.global_step // self._steps_of_optimiser + 1
        self._on_event(StepStarted(step, training.steps))
        self._num_done, self._started = 0, time.perf_counter()
        fields = self._rollouts(prompts, trainer)
        self._sampled = time.perf_counter()
        trajectories = self._rollouts.trajectories
        failed = [trajectory for trajectory in trajectories if trajectory.stop_reason.is_infrastructure]
        if self.is_first:
            self._files.append_trajectories(trajectories)
            self._book_services(step, "training")
        if failed:
            example = failed[0].error or failed[0].stop_reason.value
            self._on_event(
                Warned(
                    f"step {step}: {len(failed)} of {len(trajectories)} trajectories failed, the first with: {example}"
                )
            )
        self._on_event(UpdateStarted(step, self._steps_of_optimiser))
        return fields

    def finish_step(self, optimiser_steps: int, logs: dict[str, Any]) -> None:
        """Write the line of a step, evaluated where its turn has come. Called in the first process."""
        training = self._config.training
        step = optimiser_steps // self._steps_of_optimiser
        trajectories = self._rollouts.trajectories
        ended = time.perf_counter()
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
        self._files.append(METRICS, row)
        for message in self._watch.observe(row):
            self._on_event(Warned(f"step {step}: {message}"))
        self._on_event(StepFinished(step, training.steps, row))

    def evaluate(self, step: int) -> Metrics:
        """Ask the held-out questions greedily; returns no figures where there are none. Called in the first process."""
        if not self._evaluation_questions:
            return {}
        self._on_event(EvaluationStarted(step, len(self._evaluation_questions)))
        started = time.perf_counter()
        config = self._config
        self._num_done = 0
        sampler = LocalSampler(
            self._model,
            self._tokenizer,
            sampling=config.sampling.model_copy(update={"temperature": 0.0}),
            name=config.policy.model,
            autocast=torch.bfloat16 if config.optimiser.precision == "bfloat16" else None,
        )
        result = self._runner.run(
            evaluate(
                self._evaluation_questions,
                policy=sampler,
                make_environment=self._make_environment,
                seed=config.seed,
                concurrency=config.sampling.max_sessions,
                on_trajectory=lambda trajectory: self._count(trajectory, len(self._evaluation_questions)),
            )
        )
        metrics = {**evaluation_metrics(result), "time/evaluation_seconds": time.perf_counter() - started}
        self._files.append(EVALUATIONS, {"step": step, **metrics})
        self._book_services(step, "evaluation")
        self._on_event(EvaluationFinished(step, metrics))
        self._evaluation = metrics
        return metrics

    def begin(self, optimiser_steps: int) -> None:
        """Tell that the run begins, and evaluate a policy that has not been trained yet. Called in the first process."""
        step = optimiser_steps // self._steps_of_optimiser
        parameters = list(self._model.parameters())
        self._on_event(
            RunStarted(
                step,
                self._config.training.steps,
                num_parameters=sum(parameter.numel() for parameter in parameters),
                num_trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
            )
        )
        if step == 0 and (evaluation := self.evaluate(0)):
            self._files.append(METRICS, {"step": 0, **evaluation})

    def complete_checkpoint(self, optimiser_steps: int) -> None:
        """Write what a resume needs besides TRL's own files. Called in the first process."""
        path = Path(self._arguments.output_dir) / f"checkpoint-{optimiser_steps}"
        progress = {
            "config": self._config.model_dump(mode="json"),
            "file_lengths": self._files.lengths(),
            "training_seconds": self._seconds,
            "watched": self._watch.remembered,
        }
        write_atomically(path / PROGRESS, json.dumps(progress) + "\n")
        self._on_event(CheckpointSaved(optimiser_steps // self._steps_of_optimiser, path))

    def shall_stop(self) -> bool:
        """Whether any process was asked to stop. Called in every process: they agree on it."""
        return any(gather_object([self._stop]))

    def ends_a_step(self, optimiser_steps: int) -> bool:
        """Whether the optimiser has made all steps of one of ours."""
        return optimiser_steps % self._steps_of_optimiser == 0

    def _count(self, trajectory: Trajectory, total: int) -> None:
        self._num_done += 1
        self._on_event(TrajectoryFinished(self._num_done, total, trajectory))

    def _book_services(self, step: int, stage: Literal["training", "evaluation"]) -> None:
        """Write what the calls of this process' services took since the last time."""
        row = {"step": step, "stage": stage, **self._accounts.ledger.take()}
        self._files.append(SERVICES, row)
        self._accounts.budget.spent.write(self._directory / SPENT)
        self._on_event(ServicesBooked(step, stage, row, self._accounts.budget.describe()))

    def _find_checkpoint(self) -> str | None:
        directory = Path(self._arguments.output_dir)
        unfinished = [path for path in directory.glob("checkpoint-*") if not (path / PROGRESS).is_file()]
        if self.is_first and unfinished:
            for path in unfinished:
                path.rename(path.with_name(f"unfinished-{path.name}"))
        found = get_last_checkpoint(str(directory)) if directory.is_dir() else None
        if found is None:
            self._on_event(Warned("there is no checkpoint to resume from yet: the run starts from its beginning"))
        return found


class _Recorder(TrainerCallback):
    """Calls the run at the moments at which TRL says that something is done."""

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


def translate(config: RunConfig, run_directory: Path) -> GRPOConfig:
    """Say our configuration in TRL's words; what it cannot say is an error.

    Raises:
        ConfigError: a key that TRL has no equal of, or sizes that do not divide one another.
    """
    training, optimiser, objective = config.training, config.optimiser, config.objective
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if config.sampling.temperature == 0:
        raise ConfigError(
            "`sampling.temperature` is 0: all trajectories of a group would be equal and teach nothing; use 1.0"
        )
    if objective.advantage == "leave_one_out":
        raise ConfigError(
            'objective.advantage: expected "group_normalised" or "group_centred" for TRL, received "leave_one_out"; the native '
            "engine has it"
        )
    if num_processes > 1 and config.budget != type(config.budget)():
        raise ConfigError(
            "budget: expected no limit with several processes in TRL, since each has accounts of its own; use one process, or "
            "the native engine"
        )
    if config.budget.minutes is not None:
        raise ConfigError(
            "budget.minutes: expected none for TRL, which cannot stop by the clock; limit training.steps instead"
        )
    mini_batch = min(training.mini_batch_questions, training.questions_per_step)
    if training.questions_per_step % mini_batch:
        raise ConfigError(
            f"training.mini_batch_questions: expected a divisor of training.questions_per_step "
            f"({training.questions_per_step}) for TRL, received {mini_batch}"
        )
    rows = mini_batch * training.group_size
    micro_batch = min(config.trl.micro_batch_rows, rows // num_processes)
    if micro_batch == 0 or rows % (num_processes * micro_batch):
        raise ConfigError(
            f"trl.micro_batch_rows: expected a divisor of the {rows} trajectories of an optimiser step over {num_processes} "
            f"processes, received {micro_batch}"
        )
    accumulation = rows // (num_processes * micro_batch)
    optimiser_steps = training.questions_per_step // mini_batch
    return GRPOConfig(
        output_dir=str(run_directory / "checkpoints"),
        seed=config.seed,
        max_steps=training.steps * optimiser_steps,
        num_generations=training.group_size,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation * optimiser_steps,
        max_completion_length=config.environment.max_response_tokens,
        temperature=config.sampling.temperature,
        beta=objective.kl_coefficient,
        scale_rewards="group" if objective.advantage == "group_normalised" else "none",
        shuffle_dataset=False,
        learning_rate=optimiser.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=optimiser.warmup_steps,
        weight_decay=optimiser.weight_decay,
        adam_beta1=optimiser.betas[0],
        adam_beta2=optimiser.betas[1],
        max_grad_norm=optimiser.max_grad_norm,
        bf16=optimiser.precision == "bfloat16",
        gradient_checkpointing=optimiser.gradient_checkpointing,
        use_cpu=config.policy.device == "cpu" or not torch.cuda.is_available(),
        disable_dropout=True,
        logging_strategy="steps",
        logging_steps=optimiser_steps,
        save_strategy="steps",
        save_steps=training.checkpoint_every * optimiser_steps,
        save_total_limit=training.keep_checkpoints,
        report_to="none",
        disable_tqdm=True,
    )


def _read_progress(checkpoint: str, config: RunConfig) -> dict[str, Any]:
    """Return what stands in a checkpoint besides TRL's own files.

    Raises:
        CheckpointError: it belongs to another configuration; the message names the keys that differ.
    """
    progress: dict[str, Any] = json.loads((Path(checkpoint) / PROGRESS).read_text(encoding="utf-8"))
    before, now = _flatten(progress["config"]), _flatten(config.model_dump(mode="json"))
    differ = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    refused = [key for key in differ if not any(key == free or key.startswith(f"{free}.") for free in FREE_KEYS)]
    if refused:
        raise CheckpointError(
            f"expected the configuration of the run, but {', '.join(refused)} differ from it: leave them as they were, or "
            "start a new run"
        )
    return progress


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
