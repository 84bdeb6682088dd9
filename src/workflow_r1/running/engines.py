"""The training engines by name: each takes on a run in two steps, and answers in the same words.

:data:`ENGINES` maps the configuration's ``engine`` to an :class:`Engine`; :data:`WARM_START` is a further engine, which
imitates demonstrations. First ``prepare`` checks and builds everything that can be refused, and writes nothing; its
result gets the run directory and starts.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from workflow_r1.errors import BudgetExceededError, ConfigError
from workflow_r1.running.configuration import require

if TYPE_CHECKING:
    from workflow_r1.accounting import Accounts
    from workflow_r1.config import RunConfig
    from workflow_r1.config.training import TrainingConfig
    from workflow_r1.environment import Environment
    from workflow_r1.policy.distributed import Ranks
    from workflow_r1.recording.events import OnEvent
    from workflow_r1.recording.metrics import Metrics
    from workflow_r1.rewards import Scorer
    from workflow_r1.trajectory import Question, Trajectory

Cause = Literal["finished", "budget", "interrupted"]
"""Reason for a run's end: all steps are done, its budget is used up, or a stop was requested."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of an engine's run."""

    cause: Cause
    """Reason for the end."""
    step: int
    """Steps that are complete and kept."""
    evaluation: "Metrics" = field(default_factory=dict)
    """The last held-out figures; empty where there were no held-out questions."""
    exceeded: BudgetExceededError | None = None
    """The limit that was reached, where the cause is ``budget``."""


@dataclass(frozen=True, slots=True)
class EngineRun:
    """A run that an engine has taken on."""

    run: Callable[[bool], Outcome]
    """Trains to the end; True resumes from the newest checkpoint."""
    request_stop: Callable[[], None]
    """Asks for a clean stop; may be called from a signal handler or another thread."""


class Start(Protocol):
    """Takes on the run in its directory."""

    def __call__(self, *, directory: Path, on_event: "OnEvent", ranks: "Ranks | None") -> EngineRun:
        """Make the run; ``ranks`` are the processes that train together, None where this one is alone."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to train."""

    prepare: "Callable[[RunConfig, OnEvent], Start]"
    """Checks and builds; writes nothing."""
    title: str = "{title}"
    """Maker of a run's title from the title of its configuration."""
    kind: str = ""
    """Word in the name of a run directory that is chosen here."""
    after_stop: str = "this step ends, then a checkpoint is saved"
    """Consequence of a request to stop, in words."""
    resume_with: str = "train"
    """The command that resumes a run."""


@dataclass(frozen=True, slots=True)
class _Material:
    """Parts of reinforcement learning, opened and checked."""

    train_questions: "Sequence[Question]"
    evaluation_questions: "Sequence[Question]"
    make_environment: "Callable[[Question], Environment]"
    score: "Scorer"
    accounts: "Accounts"


def _open_material(config: "RunConfig") -> _Material:
    """Open questions and services, and ask each service once.

    Raises:
        UserError: the configuration or a file cannot be used.
        ServiceError: a service refuses or cannot be reached.
    """
    from workflow_r1.assembly.operators import build_operators
    from workflow_r1.assembly.services import build_services, open_accounts
    from workflow_r1.assembly.tasks import build_environments, build_scorer, build_task, needs_of
    from workflow_r1.running.parts import held_out_questions, train_questions
    from workflow_r1.running.policies import special_tokens
    from workflow_r1.running.services import check_services
    from workflow_r1.tasks.instances import check_apart

    task = build_task(config.chosen_task)
    score = build_scorer(config.reward, task)
    questions, held_out = train_questions(config), held_out_questions(config)
    if task is not None:
        check_apart(task, questions, held_out)
    cost = config.reward.cost
    prices_for = "reward.cost.kind" if cost.dial > 0 and cost.kind == "money" else None
    accounts = open_accounts(config.prices, config.budget, prices_for=prices_for)
    operators = build_operators(config.pool)
    services = build_services(
        config.services, config.pool, operators=operators, accounts=accounts, needs=needs_of(task)
    )
    check_services(config.services, services)
    make_environment = build_environments(
        task,
        config.environment,
        operators=operators,
        services=services,
        special_tokens=special_tokens(config.policy),
    )
    return _Material(questions, held_out, make_environment, score, accounts)


def prepare_native(config: "RunConfig", on_event: "OnEvent") -> Start:
    """Prepare a run of the native engine."""
    material = _open_material(config)
    from workflow_r1.engines.native.run import Trainer

    def start(*, directory: Path, on_event: "OnEvent", ranks: "Ranks | None") -> EngineRun:
        trainer = Trainer(
            config=config,
            run_directory=directory,
            train_questions=material.train_questions,
            evaluation_questions=material.evaluation_questions,
            make_environment=material.make_environment,
            score=material.score,
            on_event=on_event,
            accounts=material.accounts,
            ranks=ranks,
        )

        def run(resume: bool) -> Outcome:
            result = trainer.run(resume=resume)
            return Outcome(result.cause, result.step, result.evaluation, result.exceeded)

        return EngineRun(run, trainer.request_stop)

    return start


def prepare_trl(config: "RunConfig", on_event: "OnEvent") -> Start:
    """Prepare a run in TRL's loop: the model is loaded first and saved last.

    Raises:
        MissingExtraError: TRL is not installed, or not in a tested version.
    """
    material = _open_material(config)
    from workflow_r1.engines.trl.versions import require_tested_trl

    require_tested_trl()

    def start(*, directory: Path, on_event: "OnEvent", ranks: "Ranks | None") -> EngineRun:
        # TRL calls its rollout function experimental, and docs/how-to/trl.md says so to all who choose this engine. It
        # reads the variable when it is imported or made.
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        from workflow_r1.engines.trl.run import TrlRun
        from workflow_r1.policy.model import load_policy_model, save_policy
        from workflow_r1.recording.events import PolicySaved

        # TRL switches gradient checkpointing on by itself.
        model, tokenizer = load_policy_model(config.policy, lora=config.optimiser.lora, seed=config.seed)
        training = TrlRun(
            config=config,
            run_directory=directory,
            model=model,
            tokenizer=tokenizer,
            questions=order_questions(config.training, material.train_questions, seed=config.seed),
            evaluation_questions=material.evaluation_questions,
            make_environment=material.make_environment,
            score=material.score,
            on_event=on_event,
            accounts=material.accounts,
        )

        def run(resume: bool) -> Outcome:
            result = training.run(resume=resume)
            if training.is_first:
                save_policy(model, tokenizer, directory / "policy")
                on_event(PolicySaved(directory / "policy"))
            return Outcome(result.cause, result.step, result.evaluation, result.exceeded)

        return EngineRun(run, training.request_stop)

    return start


def prepare_verl(config: "RunConfig", on_event: "OnEvent") -> Start:
    """Prepare a run on verl, which opens the services again in its own processes.

    Raises:
        ConfigError: verl cannot do the run.
        MissingExtraError: verl is not installed.
    """
    require_verl()
    material = _open_material(config)
    from workflow_r1.engines.verl.options import check_possible
    from workflow_r1.engines.verl.run import VerlTraining
    from workflow_r1.policy.model import model_source

    check_possible(config)
    if material.score.is_relative:
        raise ConfigError(
            "reward.weights: expected functions of one trajectory on verl, which scores each trajectory alone, received one "
            'of a group; use engine = "native" or "trl"'
        )

    def start(*, directory: Path, on_event: "OnEvent", ranks: "Ranks | None") -> EngineRun:
        training = VerlTraining(
            config=config,
            run_directory=directory,
            model=model_source(config.policy),
            train_questions=order_questions(config.training, material.train_questions, seed=config.seed),
            evaluation_questions=material.evaluation_questions,
            on_event=on_event,
        )

        def run(resume: bool) -> Outcome:
            result = training.run(resume=resume)
            return Outcome(result.cause, result.step)

        return EngineRun(run, training.request_stop)

    return start


def prepare_warm_start(config: "RunConfig", on_event: "OnEvent") -> Start:
    """Prepare the imitation of demonstrations; without a file of them, those of the task's own demonstrator.

    Raises:
        ConfigError: there are no demonstrations.
    """
    from workflow_r1.engines.native.warmstart import Warmstart
    from workflow_r1.running.policies import special_tokens

    if config.warmstart.new_policy is None:
        special_tokens(config.policy)  # Refuses a model that is no policy before the demonstrations, which take time.
    demonstrations = _demonstrations(config, on_event)

    def start(*, directory: Path, on_event: "OnEvent", ranks: "Ranks | None") -> EngineRun:
        training = Warmstart(config=config, run_directory=directory, demonstrations=demonstrations, on_event=on_event)

        def run(resume: bool) -> Outcome:
            result = training.run(resume=resume)
            return Outcome("finished" if result.finished else "interrupted", result.step, dict(result.metrics))

        return EngineRun(run, training.request_stop)

    return start


ENGINES: Mapping[str, Engine] = {
    "native": Engine(prepare_native),
    "trl": Engine(prepare_trl),
    "verl": Engine(prepare_verl, title="{title}, on verl", after_stop="verl ends; its newest checkpoint is kept"),
}
"""Engines by the configuration's ``engine``."""

WARM_START = Engine(prepare_warm_start, title="{title}: warm start", kind="warmstart", resume_with="warmstart")
"""Supervised training, before reinforcement learning."""


def require_verl() -> None:
    """Refuse where verl or something that it needs is not installed.

    Raises:
        MissingExtraError: names the extra.
    """
    for module in ("verl", "ray", "transfer_queue", "pyarrow"):
        require(module, extra="verl", purpose="training on verl")


def order_questions(training: "TrainingConfig", questions: "Sequence[Question]", *, seed: int) -> "list[Question]":
    """The questions of all steps in the order in which the native engine asks them."""
    from workflow_r1.engines.native.batching import draw

    num = training.steps * training.questions_per_step
    return [questions[index] for index in draw(len(questions), seed=seed, start=0, count=num)]


def _demonstrations(config: "RunConfig", on_event: "OnEvent") -> "list[Trajectory]":
    """Return the configured file's demonstrations, or those of the task's own demonstrator."""
    from workflow_r1.assembly.tasks import build_task
    from workflow_r1.recording.events import Preparing
    from workflow_r1.trajectory import load_trajectories

    if config.warmstart.demonstrations is not None:
        return load_trajectories(config.warmstart.demonstrations)
    num = config.warmstart.num_demonstrations

    def report(done: int, total: int) -> None:
        on_event(Preparing(f"making demonstrations: {done} of {total}"))

    task = build_task(config.chosen_task)
    if task is not None:
        from workflow_r1.running.parts import open_environments
        from workflow_r1.tasks.demonstrations import demonstrate

        on_event(Preparing(f"making {num} demonstrations"))
        return demonstrate(
            task,
            num,
            make_environment=open_environments(config, special_tokens=_template_tokens(config)),
            seed=config.seed,
            on_progress=report,
        )
    if config.data.source != "embedded":
        raise ConfigError(
            "warmstart.demonstrations: expected a JSONL of trajectories to imitate, since only the embedded world makes its "
            "own; `workflow-r1 rollout` samples some from a stronger policy or a fixed workflow"
        )
    from workflow_r1.embedded.demonstrations import ENVIRONMENT, make_demonstrations

    on_event(Preparing(f"making {num} demonstrations"))
    limits = {key: getattr(config.environment, key) for key in ("max_operator_calls", "max_turns")}
    made = make_demonstrations(
        num, config=config.embedded, environment=ENVIRONMENT.model_copy(update=limits), on_progress=report
    )
    return [demonstration.trajectory for demonstration in made]


def _template_tokens(config: "RunConfig") -> "Sequence[str]":
    """Return the special tokens of the policy that will be taught."""
    from workflow_r1.embedded.tokenizer import TEMPLATE_TOKENS
    from workflow_r1.running.policies import special_tokens

    return special_tokens(config.policy) if config.warmstart.new_policy is None else TEMPLATE_TOKENS
