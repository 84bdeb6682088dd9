"""The reinforcement learning loop: questions, rollouts, rewards, advantages, update, again.

Read :meth:`Trainer._step` first: it is the path of the data in one screen. Its parts live elsewhere: the update in
``update``, the cutting into batches in ``batching``, checkpoints in ``checkpoint``, files and events in
``RunRecorder``.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from workflow_r1.accounting import Accounts, Budget
from workflow_r1.config.run import RunConfig
from workflow_r1.engines.native.adapter_sync import AdapterSync, refuse_unservable
from workflow_r1.engines.native.checkpoint import CheckpointStore, Progress
from workflow_r1.engines.native.interrupt import stop_on_interrupt
from workflow_r1.engines.native.optimiser import build_optimiser
from workflow_r1.engines.native.rollouts import (
    RolloutsInTurn,
    RolloutStream,
    StepRollouts,
    Weights,
    has_signal,
    lag_metrics,
    refuse_impossible,
)
from workflow_r1.engines.native.sampler_check import of_version, refuse_another_distribution
from workflow_r1.engines.native.update import PolicyUpdate, UpdateResult, reference_copy, with_correction
from workflow_r1.engines.native.weights import FreshSamplers, StandingSampler
from workflow_r1.environment import Environment
from workflow_r1.errors import (
    BudgetExceededError,
    CheckpointError,
    ConfigError,
    DataError,
    ServiceError,
)
from workflow_r1.evaluation.evaluate import EvaluationResult, evaluate
from workflow_r1.policy.distributed import Ranks, lost_process_explained
from workflow_r1.policy.forward import out_of_memory_explained
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.policy.model import (
    describe,
    load_policy_model,
    resolve_device,
    save_policy,
)
from workflow_r1.policy.sharding import shard, whole
from workflow_r1.policy.threads import explain_threads
from workflow_r1.recording.events import (
    EvaluationStarted,
    OnEvent,
    PolicySaved,
    RunStarted,
    StepStarted,
    UpdateStarted,
    ignore,
)
from workflow_r1.recording.metrics import Metrics, evaluation_metrics, merge, rollout_metrics, sampled_metrics
from workflow_r1.recording.recorder import RunRecorder
from workflow_r1.rewards import Scorer
from workflow_r1.rollout import derive_seed
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.trajectory import Question, Trajectory

StopCause = Literal["finished", "budget", "interrupted"]
"""Reason for the end of :meth:`Trainer.run`: all steps done, the budget is used up, or a stop was requested."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Outcome of a training run."""

    cause: StopCause
    """Reason for the end; after ``interrupted`` a resume continues, after ``budget`` one with a higher limit."""
    step: int
    """Steps that are complete."""
    policy_directory: Path
    """The policy as it is now, in Hugging Face format."""
    evaluation: Metrics
    """The last evaluation's figures (``evaluation/...``); empty where there was no evaluation."""
    exceeded: BudgetExceededError | None = None
    """The reached limit and the amount spent, where the cause is ``budget``."""


class Trainer:
    """One run of reinforcement learning on this machine.

    Args:
        config: the whole configuration of the run.
        run_directory: gets ``metrics.jsonl``, ``trajectories.jsonl.gz``, ``evaluations.jsonl``, ``services.jsonl``,
            ``spent.json``, ``checkpoints/`` and ``policy/``.
        train_questions: questions with golden answers.
        evaluation_questions: held-out questions; the first ``training.evaluation_questions`` of them are asked.
        make_environment: makes a fresh environment for each trajectory.
        score: scores the trajectories of a group; None is the configuration's reward of questions.
        on_event: called with progress and warnings.
        accounts: accounts of the environments' services; None where nothing is metered.
        ranks: the processes that train together, each with a trainer of the same arguments; None for a single process.

    Raises:
        DataError: no questions to train on.
        ConfigError: the configuration cannot be trained with.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        run_directory: Path,
        train_questions: Sequence[Question],
        evaluation_questions: Sequence[Question],
        make_environment: Callable[[Question], Environment],
        score: Scorer | None = None,
        on_event: OnEvent = ignore,
        accounts: Accounts | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        if not train_questions:
            raise DataError("expected at least one question to train on, received none")
        if config.sampling.temperature == 0:
            raise ConfigError(
                "`sampling.temperature` is 0: all trajectories of a group would be equal and teach nothing; use 1.0"
            )
        self._config = config
        self._directory = run_directory
        self._train_questions = train_questions
        self._evaluation_questions = evaluation_questions[: config.training.evaluation_questions]
        self._make_environment = make_environment
        self._score = score or Scorer(config.reward)
        self._ranks = ranks or Ranks()
        self._accounts = accounts or Accounts(budget=Budget(config.budget))
        self._recorder = RunRecorder(
            run_directory,
            on_event=on_event,
            accounts=self._accounts,
            writes=self._ranks.is_main,
            has_clip=config.objective.has_clip,
        )
        self._store = CheckpointStore(
            run_directory / "checkpoints",
            self._fingerprint(),
            keep=config.training.keep_checkpoints,
            on_event=self._recorder.tell,
            writes=self._ranks.is_main,
        )
        self._evaluation: Metrics = {}
        self._evaluated: tuple[int, list[tuple[Trajectory, ...]]] = (-1, [])
        self._stop = False
        self._sampler_is_checked = False

    def request_stop(self) -> None:
        """Ask for a clean stop: the current step ends, a checkpoint is saved, :meth:`run` returns."""
        self._stop = True

    def run(self, *, resume: bool = False) -> TrainingResult:
        """Train from the start, or continue from the newest checkpoint exactly as if the run had not stopped.

        Ctrl-C is :meth:`request_stop`; a second one raises ``KeyboardInterrupt``, and a resume then continues from the
        checkpoint before.

        Raises:
            UserError: model, questions, run directory or checkpoint cannot be used, or the disk is full.
            ServiceError: the services failed every trajectory of a step, or ``training.stop_after_failures`` in a row; there
                is a checkpoint of the step before.
        """
        # One event loop for the whole run: the services' connections belong to the loop that opened them.
        with stop_on_interrupt(self.request_stop), asyncio.Runner() as runner:
            return self._run(runner, resume)

    def _run(self, runner: asyncio.Runner, resume: bool) -> TrainingResult:
        self._runner = runner
        with ExitStack() as stack:
            with self._ranks.agreeing():
                stack.enter_context(self._recorder.holding(resume=resume))
                self._load()
                self._sync = self._open_sync()
                self._weights = self._open_weights()
                self._rollouts = self._open_rollouts()
            with self._ranks.agreeing():
                progress = self._restore(resume)
            self._require_same_step(progress)
            stack.callback(self._rollouts.close)
            if (fewer := explain_threads(self._config.policy.threads)) is not None:
                self._recorder.warn(fewer)
            self._recorder.tell(RunStarted(progress.step, self._config.training.steps, **describe(self._model)))
            result = self._train(progress)
            with self._ranks.agreeing(), whole(self._model):
                if self._ranks.is_main:
                    save_policy(self._model, self._tokenizer, result.policy_directory)
            self._recorder.tell(PolicySaved(result.policy_directory))
        return result

    def _train(self, progress: Progress) -> TrainingResult:
        """Roll out, update, evaluate, save: step after step, until the run is over."""
        num_steps, checkpoint_every = self._config.training.steps, self._config.training.checkpoint_every
        stopped, exceeded = False, self._used_up(progress)
        over = exceeded is not None or progress.step >= num_steps
        try:
            if progress.step == 0 and exceeded is None:
                progress = self._evaluate_start(progress)
            while progress.unevaluated is not None or not over:
                if progress.unevaluated is None:
                    progress = self._step(progress)
                exceeded = self._used_up(progress)
                last = exceeded is not None or progress.step >= num_steps
                progress = self._finish_step(progress, last=last)
                stopped = not last and self._ranks.any(self._stop)
                over = last or stopped
                if over or progress.step % checkpoint_every == 0:
                    self._save(progress)
        except (ServiceError, BudgetExceededError) as error:
            exceeded = self._break_off(progress, error)
        cause: StopCause = "budget" if exceeded is not None else "interrupted" if stopped else "finished"
        return TrainingResult(cause, progress.step, self._directory / "policy", self._evaluation, exceeded)

    def _used_up(self, progress: Progress) -> BudgetExceededError | None:
        """Return the budget of minutes where it leaves no room for the steps to come."""
        if progress.step >= self._config.training.steps:
            return None
        return self._accounts.budget.minutes_used_up(progress.training_seconds)

    def _break_off(self, progress: Progress, error: ServiceError | BudgetExceededError) -> BudgetExceededError:
        """Keep the steps that are complete.

        Raises:
            ServiceError: the error, where no budget is its cause.
        """
        if progress.step > 0:
            self._save(progress)
        if isinstance(error, BudgetExceededError):
            return error
        if progress.step == 0:
            raise error
        raise type(error)(
            f"{error}. Step {progress.step} and all before it are kept: repair the service and resume"
        ) from error

    def _step(self, progress: Progress) -> Progress:
        """Take one step of the path: questions, trajectories, rewards, advantages, update, metrics."""
        config, training, recorder = self._config, self._config.training, self._recorder
        step = progress.step + 1
        recorder.tell(StepStarted(step, training.steps))
        started = time.perf_counter()

        with self._ranks.agreeing(), whole(self._model):
            groups = self._rollouts.take(step)
            scored = [self._score(group) for group in groups]
        scored = self._ranks.gather_shares(scored)
        trajectories = [trajectory for group in scored for trajectory in group]
        recorder.record_trajectories(trajectories, step=step)
        self._book_services(step, "training")
        recorder.report_failures(trajectories, step)
        sampled = time.perf_counter()

        self._check_sampler(trajectories, progress.policy_version)
        learned = [group for group in scored if has_signal(group)] if training.dynamic_sampling else scored
        num_mini_batches = training.epochs * -(-len(learned) // training.mini_batch_questions)
        recorder.tell(UpdateStarted(step, num_mini_batches))

        def learn() -> UpdateResult:
            with self._watching_processors(), out_of_memory_explained(), lost_process_explained():
                return self._update.step(
                    learned, policy_version=progress.policy_version, clip_scale=progress.clip_scale
                )

        update = self._rollouts.update(step, learn)
        for warning in update.warnings:
            recorder.warn(f"step {step}: {warning}")
        # One clock for all: a budget of minutes must end for all at the same step.
        started, sampled, ended = self._ranks.from_main((started, sampled, time.perf_counter()))

        policy_version = progress.policy_version + update.num_optimiser_steps
        training_seconds = progress.training_seconds + ended - started
        row = merge(
            {"step": step, "policy_version": policy_version},
            rollout_metrics(trajectories, operators=config.environment.operators),
            lag_metrics(trajectories, progress.policy_version) if training.staleness else {},
            {"rollout/num_groups_learned": len(learned)} if training.dynamic_sampling else {},
            update.metrics,
            {
                "time/rollout_seconds": sampled - started,
                "time/update_seconds": ended - sampled,
                "time/step_seconds": ended - started,
                "time/training_seconds": training_seconds,
                "time/sampled_tokens_per_second": sum(t.num_policy_tokens for t in trajectories)
                # A stream samples all along.
                / ((ended if self._overlaps else sampled) - started),
                "time/update_tokens_per_second": update.num_tokens / (ended - sampled),
            },
        )
        return replace(
            progress,
            step=step,
            num_drawn=progress.num_drawn + training.questions_per_step,
            policy_version=policy_version,
            clip_scale=update.clip_scale,
            training_seconds=training_seconds,
            file_lengths=recorder.file_lengths,
            unevaluated=row,
        )

    def _evaluate_start(self, progress: Progress) -> Progress:
        """Evaluate the policy that has not been trained yet."""
        self._recorder.record_start(self._evaluate(0, 0))
        return replace(progress, file_lengths=self._recorder.file_lengths)

    def _finish_step(self, progress: Progress, *, last: bool) -> Progress:
        """Evaluate where it is time, and write the line of the step."""
        training, row = self._config.training, dict(progress.unevaluated or {})
        if last or (training.evaluate_every and progress.step % training.evaluate_every == 0):
            row = merge(row, self._evaluate(progress.step, progress.policy_version))
        self._recorder.record_step(row, num_steps=training.steps)
        return replace(
            progress,
            file_lengths=self._recorder.file_lengths,
            watched=self._recorder.watched,
            unevaluated=None,
        )

    def _evaluate(self, step: int, policy_version: int) -> Metrics:
        """Ask the held-out questions greedily, then sample as many answers as are configured; no figures without questions.

        Questions that the same weights have answered in the last evaluation are not asked again.
        """
        if not self._evaluation_questions:
            return {}
        self._recorder.tell(EvaluationStarted(step, len(self._evaluation_questions)))
        started = time.perf_counter()
        share = self._ranks.share(self._evaluation_questions)
        self._weights.publish(policy_version, exactly=True)
        seed, samples = self._config.seed, self._config.training.evaluation_samples
        passes = [(0.0, seed)] + [
            (self._config.sampling.temperature, derive_seed(seed, "sampled", number)) for number in range(samples)
        ]
        evaluated_version, evaluated = self._evaluated
        done = evaluated if evaluated_version == policy_version else [()] * len(passes)
        count = self._recorder.count(len(share) * len(passes))
        with self._ranks.agreeing(), whole(self._model):
            own = [
                self._runner.run(
                    evaluate(
                        share,
                        policy=self._weights.sampler(temperature),
                        make_environment=self._make_environment,
                        seed=seed_of_pass,
                        concurrency=self._config.sampling.max_sessions,
                        score=self._score.one,
                        done=done_of_pass,
                        on_trajectory=count,
                    )
                ).trajectories
                for (temperature, seed_of_pass), done_of_pass in zip(passes, done, strict=True)
            ]
        self._evaluated = policy_version, own
        greedy, *sampled = (EvaluationResult(tuple(self._ranks.gather_shares(each))) for each in own)
        metrics = {
            **evaluation_metrics(greedy),
            **sampled_metrics(sampled),
            "time/evaluation_seconds": time.perf_counter() - started,
        }
        self._book_services(step, "evaluation")
        self._recorder.record_evaluation(metrics, step)
        self._evaluation = metrics
        return metrics

    def _book_services(self, step: int, stage: Literal["training", "evaluation"]) -> None:
        """Write the usage of services since the last time, in all processes."""
        ledger = self._accounts.ledger
        if self._ranks.size > 1:
            for accounts in self._ranks.gather(ledger.hand_over()):
                ledger.take_in(accounts)
        self._recorder.book_services(step, stage)

    @contextmanager
    def _watching_processors(self) -> Iterator[None]:
        """Compare wall and CPU time of work that waits for nothing but the processors of this machine."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        if self._ranks.size == 1 and next(self._model.parameters()).device.type == "cpu":
            self._recorder.watch_processors(
                wall_seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu
            )

    def _check_sampler(self, trajectories: Sequence[Trajectory], policy_version: int) -> None:
        """Compare the server's log-probabilities with the trainer's, once in each start of a run: in the first step with turns enough.

        Raises:
            UserError: the server's log-probabilities belong to another distribution.
        """
        if self._sync is None or self._sampler_is_checked:
            return
        sampling = self._config.sampling
        first = of_version(trajectories, policy_version)
        with out_of_memory_explained(), lost_process_explained():
            differences = self._update.sampler_differences(first)
            raw = [] if sampling.temperature == 1.0 else self._update.sampler_differences(first, temperature=1.0)
        # Where most of a step failed, the next one says it.
        self._sampler_is_checked = refuse_another_distribution(differences, sampling, before_temperature=raw)

    def _open_sync(self) -> AdapterSync | None:
        """Return the part that gives a policy server the weights; None without a server."""
        settings = self._config.sampling.server
        if settings is None:
            return None
        refuse_unservable(self._model)
        return AdapterSync(
            self._model,
            self._tokenizer,
            policy=self._config.policy,
            sampling=self._config.sampling,
            settings=settings,
            run_directory=self._directory,
            rank=self._ranks.rank,
            notify=self._recorder.warn,
        )

    @property
    def _overlaps(self) -> bool:
        """True where trajectories are sampled while others are learned from."""
        return self._config.training.staleness > 0 and self._config.training.overlap

    def _open_weights(self) -> Weights:
        """Return the weights that sample: the server's, or the trainer's own."""
        if self._sync is not None:
            return self._sync
        if self._overlaps:
            return StandingSampler(self._make_sampler, self._config.sampling.temperature)
        return FreshSamplers(self._make_sampler)

    def _make_sampler(self, temperature: float) -> LocalSampler:
        return LocalSampler(
            self._model,
            self._tokenizer,
            sampling=self._config.sampling.model_copy(update={"temperature": temperature}),
            template=self._config.policy.template,
            name=self._config.policy.model,
            autocast=torch.bfloat16 if self._config.optimiser.precision == "bfloat16" else None,
        )

    def _open_rollouts(self) -> RolloutsInTurn | RolloutStream:
        """Return the order of rollouts and updates that the configuration names."""
        refuse_impossible(self._config, self._ranks)
        kind = RolloutStream if self._overlaps else RolloutsInTurn
        return kind(
            self._runner,
            StepRollouts(self._config, self._train_questions, self._make_environment, self._score, self._ranks),
            self._weights,
            staleness=self._config.training.staleness,
            count=self._recorder.count,
        )

    def _load(self) -> None:
        """Load the policy; make its optimiser and its updater."""
        config, ranks = self._config, self._ranks
        sharded = config.optimiser.sharding == "full" and ranks.size > 1
        self._model, self._tokenizer = load_policy_model(
            config.policy,
            lora=config.optimiser.lora,
            gradient_checkpointing=config.optimiser.gradient_checkpointing,
            seed=config.seed,
            device=torch.device("cpu") if sharded else None,
        )
        reference = reference_copy(self._model, config.objective)
        if sharded:
            device = resolve_device(config.policy.device)
            for model in (self._model, reference):
                if model is not None:
                    shard(model, device)
        self._optimiser = build_optimiser(self._model, config.optimiser, learning_rate=config.optimiser.learning_rate)
        renderer = Renderer(self._tokenizer, config.policy.template)
        self._update = PolicyUpdate(
            self._model,
            self._optimiser,
            self._tokenizer.pad_token_id,
            objective=with_correction(
                config.objective, is_off_policy=config.sampling.server is not None or config.training.staleness > 0
            ),
            settings=config.optimiser,
            temperature=config.sampling.temperature,
            mini_batch_questions=config.training.mini_batch_questions,
            epochs=config.training.epochs,
            samples_as_trained=config.sampling.server is None
            and config.optimiser.precision == "float32"
            and not config.training.staleness,
            reference=reference,
            turn_weight=self._score.turn_weight,
            max_response_tokens=config.environment.max_response_tokens,
            num_think_tokens=lambda turn: renderer.num_think_tokens(turn.token_ids),
            ranks=ranks,
        )

    def _require_same_step(self, progress: Progress) -> None:
        """Refuse to continue where the processes do not see one run directory.

        Raises:
            CheckpointError: the processes found checkpoints of different steps.
        """
        steps = self._ranks.gather(progress.step)
        if len(set(steps)) > 1:
            raise CheckpointError(
                f"expected all processes to resume from one checkpoint, but they found steps {steps}: the run directory "
                f"{self._directory} must be on a disk that all machines share"
            )

    def _restore(self, resume: bool) -> Progress:
        """Put everything back to the newest checkpoint, or to the beginning."""
        progress = self._store.load_latest(self._model, self._optimiser) if resume else Progress()
        if progress is None:
            self._recorder.warn("there is no checkpoint to resume from yet: the run starts from its beginning")
            progress = Progress()
        pending = self._store.load_pending(progress.step) if progress.step else []
        self._rollouts.start(progress.step, version=progress.policy_version, pending=pending)
        self._recorder.continue_from(progress.file_lengths, watched=progress.watched, tally=self._ranks.tally())
        return progress

    def _save(self, progress: Progress) -> None:
        with self._ranks.agreeing():
            self._store.save(progress, self._model, self._optimiser, pending=self._rollouts.pending())

    def _fingerprint(self) -> dict[str, Any]:
        """Return the settings that must be the same on a resume: the configuration and the questions themselves."""

        def digest(questions: Sequence[Question]) -> str:
            return hashlib.sha256("\n".join(q.model_dump_json() for q in questions).encode()).hexdigest()[:16]

        return {
            **self._config.model_dump(mode="json"),
            "train_questions": digest(self._train_questions),
            "evaluation_questions": digest(self._evaluation_questions),
        }
