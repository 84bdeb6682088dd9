"""Our configuration in verl's words.

Every option names the key of ours that it comes from: a refusal repeats that name, and ``docs/how-to/cluster.md`` lists
it. This module refuses settings that verl cannot follow, before anything is started.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_r1.algorithms import LOG_RATIO_BOUND, ObjectivePreset, resolve_preset
from workflow_r1.config.run import RunConfig
from workflow_r1.config.training import OptimiserConfig, TrainingConfig
from workflow_r1.config.verl import VerlConfig
from workflow_r1.engines.verl.described_run import VARIABLE
from workflow_r1.environment import EnvironmentConfig
from workflow_r1.errors import ConfigError

PLUGIN = "workflow_r1.engines.verl.plugin"
"""Module that verl imports in every process."""

LOSS = "gsspo"
"""Name under which verl knows our advantage (``algorithm.adv_estimator``) and our loss (``policy_loss.loss_mode``)."""

AGGREGATION = "seq-mean-token-mean"
"""The only ``actor.loss_agg_mode`` that goes with our loss; verl's own KL and entropy follow it."""

AGENT_LOOP = "workflow_r1"
"""Name under which verl knows our agent loop."""

KL_KINDS = {"k1": "kl", "k2": "mse", "k3": "low_var_kl"}
"""Our names of the KL estimators, and verl's."""

MICRO_BATCH_TOKENS = 16384
"""Tokens of one forward pass where ``optimiser.micro_batch_tokens`` is not set; never less than one trajectory."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of verl's."""

    key: str
    """Dotted name in verl's configuration."""
    value: Any
    """Value of the option."""
    source: str
    """Key of ours that it comes from, or the reason why it is set."""


def translate(
    config: RunConfig, *, model: str, run_directory: Path, train_file: Path, evaluation_file: Path, resume: bool
) -> list[Option]:
    """Return every option that a run sets, besides those of ``verl.options``.

    Args:
        config: configuration of the run.
        model: directory or hub name of the policy's model.
        run_directory: absolute path on a file system that every node sees.
        train_file: questions in the order in which they are asked.
        evaluation_file: held-out questions.
        resume: continue from the newest checkpoint.

    Raises:
        ConfigError: the configuration asks for something that verl cannot do.
    """
    check_possible(config)
    return [
        *_data(config.training, config.environment, train_file, evaluation_file),
        *_objective(config),
        *_optimiser(config),
        *_policy(config.optimiser, model),
        *_rollout(config),
        *_trainer(config, run_directory, resume=resume),
    ]


def own_options(settings: VerlConfig) -> dict[str, Any]:
    """The options of ``verl.options`` by their dotted names, however deep they were written."""

    def flatten(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in table.items():
            if isinstance(value, Mapping) and value:
                yield from flatten(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    return dict(flatten(settings.options, ""))


def row_tokens(environment: EnvironmentConfig) -> int:
    """Return the length of the longest trajectory: prompt and response."""
    return environment.max_prompt_tokens + environment.max_response_tokens


def update_tokens(optimiser: OptimiserConfig, environment: EnvironmentConfig) -> int:
    """Return the tokens of one forward pass of an update; a trajectory is never cut."""
    return max(optimiser.micro_batch_tokens or MICRO_BATCH_TOKENS, row_tokens(environment))


def asynchronous_options(staleness: int) -> dict[str, Any]:
    """Return the options of verl's asynchronous trainer on one set of GPUs that bound staleness as ours does.

    No group is learned from more than ``staleness`` steps after the step in which it began, and none is thrown away: verl
    feeds so many batches ahead, and waits for groups at the bound.

    Args:
        staleness: as ``training.staleness``.
    """
    return {
        "trainer.v1.trainer_mode": "colocate_async",
        "trainer.v1.colocate_async.num_warmup_batches": staleness,
        # verl counts the versions that a group spans, the first among them.
        "trainer.v1.sampler.max_off_policy_threshold": staleness + 1,
        "trainer.v1.sampler.max_off_policy_strategy": "wait",
    }


def check_possible(config: RunConfig) -> None:
    """Refuse settings that the native engine can follow and verl cannot.

    Raises:
        ConfigError: the message names every such key, and the way out.
    """
    training, objective = config.training, config.objective
    switches = _switches(config)
    refused = {
        "optimiser.lora: adapters are not trained by the verl engine; leave the section out": config.optimiser.lora,
        'objective.weight: "batch" needs the number of units in a mini-batch, of which verl counts only tokens; use '
        '"uniform" or "length"': switches.weight == "batch" and switches.unit != "token",
        'objective.unit: "think_action" needs to know where a think ends, and verl\'s mask tells only turns; use "turn"': (
            switches.unit == "think_action"
        ),
        'objective.clip: "matched" adapts the range between steps, and verl\'s checkpoints do not hold it; use "fixed"': (
            switches.clip == "matched"
        ),
        "training.dynamic_sampling: the trainer that our parts are written for takes one batch of questions a step; leave it "
        "out": training.dynamic_sampling,
        "sampling.server: verl starts servers of its own; leave the section out": config.sampling.server is not None,
        'sampling.schedule: "rounds" needs one process that sees all trajectories; use "continuous"': (
            config.sampling.schedule != "continuous"
        ),
        "training.staleness: verl's asynchronous trainer swaps weights within a turn and makes a step of whatever is finished, so "
        "that the files of a run could not say what a step learned from; leave it out, or start verl yourself with "
        f"{' '.join(f'{key}={value}' for key, value in asynchronous_options(training.staleness).items())}": training.staleness,
        'objective.trust_region: "sampler" is the native engine\'s alone; use "current"': (
            objective.trust_region != "current"
        ),
        "training.mini_batch_questions: verl fills a step up to whole mini-batches; expected a divisor of "
        f"training.questions_per_step = {training.questions_per_step}, received {training.mini_batch_questions}": (
            training.questions_per_step % training.mini_batch_questions
        ),
        "budget: limits cannot be held over many processes; leave the section out and watch rollout/cost": (
            config.budget.model_dump(exclude_defaults=True)
        ),
        "verl.tensor_parallel: expected a divisor of all GPUs (verl.num_nodes times verl.gpus_per_node)": (
            config.verl.num_nodes * config.verl.gpus_per_node % config.verl.tensor_parallel
        ),
        "verl.seeded_sampling: sglang takes no seed for each turn; set it to false": (
            config.verl.seeded_sampling and config.verl.rollout == "sglang"
        ),
        "sampling.temperature: 0 gives a group of equal trajectories, which teach nothing; use 1.0": (
            config.sampling.temperature == 0
        ),
    }
    reasons = [reason for reason, is_asked_for in refused.items() if is_asked_for]
    if reasons:
        raise ConfigError("not possible with verl: " + "\nnot possible with verl: ".join(reasons))


def _data(
    training: TrainingConfig, limits: EnvironmentConfig, train_file: Path, evaluation_file: Path
) -> Iterator[Option]:
    yield Option("data.train_files", str(train_file), "data, seed")
    yield Option("data.val_files", str(evaluation_file), "data")
    yield Option("data.train_batch_size", training.questions_per_step, "training.questions_per_step")
    yield Option("data.max_prompt_length", limits.max_prompt_tokens, "environment.max_prompt_tokens")
    yield Option("data.max_response_length", limits.max_response_tokens, "environment.max_response_tokens")
    yield Option("data.shuffle", False, "the file is in order already")
    yield Option("data.dataloader_num_workers", 0, "a row is a question: nothing to load in parallel")


def _switches(config: RunConfig) -> ObjectivePreset:
    given = config.objective.switches(max_response_tokens=config.environment.max_response_tokens)
    return resolve_preset(config.objective.preset, **given)


def _objective(config: RunConfig) -> Iterator[Option]:
    objective, switches = config.objective, _switches(config)
    actor = "actor_rollout_ref.actor"
    yield Option("algorithm.adv_estimator", LOSS, "objective.advantage")
    yield Option("algorithm.use_kl_in_reward", False, "the KL is in the loss")
    yield Option(f"{actor}.policy_loss.loss_mode", LOSS, "objective.unit, objective.weight")
    yield Option(f"{actor}.loss_agg_mode", AGGREGATION, "objective.weight")
    yield Option(f"{actor}.clip_ratio_low", switches.clip_low, "objective.clip_low")
    yield Option(f"{actor}.clip_ratio_high", switches.clip_high, "objective.clip_high")
    yield Option(f"{actor}.entropy_coeff", 0, "the objective has no entropy bonus")
    yield Option(f"{actor}.use_kl_loss", objective.kl_coefficient > 0, "objective.kl_coefficient")
    yield Option(f"{actor}.kl_loss_coef", objective.kl_coefficient, "objective.kl_coefficient")
    yield Option(f"{actor}.kl_loss_type", KL_KINDS[objective.kl_kind], "objective.kl_kind")
    if objective.correction_cap is not None:
        correction = "algorithm.rollout_correction"
        yield Option(f"{correction}.rollout_is", "token", "objective.correction_cap")
        # So high that verl truncates nothing: our loss takes the mean of each turn first.
        yield Option(f"{correction}.rollout_is_threshold", math.exp(LOG_RATIO_BOUND), "objective.correction_cap")


def _optimiser(config: RunConfig) -> Iterator[Option]:
    settings, training = config.optimiser, config.training
    actor = "actor_rollout_ref.actor"
    updates_per_step = training.epochs * training.questions_per_step // training.mini_batch_questions
    yield Option(f"{actor}.strategy", "fsdp2", "the sharding that verl keeps up")
    yield Option(f"{actor}.ppo_mini_batch_size", training.mini_batch_questions, "training.mini_batch_questions")
    yield Option(f"{actor}.ppo_epochs", training.epochs, "training.epochs")
    yield Option(f"{actor}.shuffle", False, "the order of the questions is ours")
    yield Option(f"{actor}.use_dynamic_bsz", True, "optimiser.micro_batch_tokens")
    yield Option(
        f"{actor}.ppo_max_token_len_per_gpu",
        update_tokens(settings, config.environment),
        "optimiser.micro_batch_tokens",
    )
    yield Option(f"{actor}.optim.lr", settings.learning_rate, "optimiser.learning_rate")
    yield Option(
        f"{actor}.optim.lr_warmup_steps",
        -(-settings.warmup_steps // updates_per_step) if settings.warmup_steps else -1,
        "optimiser.warmup_steps",
    )
    yield Option(f"{actor}.optim.lr_scheduler_type", "constant", "optimiser.warmup_steps")
    yield Option(f"{actor}.optim.weight_decay", settings.weight_decay, "optimiser.weight_decay")
    yield Option(f"{actor}.optim.betas", list(settings.betas), "optimiser.betas")
    yield Option(f"{actor}.optim.clip_grad", settings.max_grad_norm, "optimiser.max_grad_norm")
    yield Option(
        f"{actor}.checkpoint.save_contents", ["model", "optimizer", "extra", "hf_model"], "policy/ is made of hf_model"
    )
    precision = {"float32": "fp32", "bfloat16": "bf16"}[settings.precision]
    for engine in ("actor", "ref"):
        place = f"actor_rollout_ref.{engine}.fsdp_config"
        # Computed in bfloat16, a policy that is never updated needs no more of its weights.
        yield Option(f"{place}.model_dtype", "fp32" if engine == "actor" else precision, "optimiser.precision")
        yield Option(
            f"{place}.mixed_precision",
            {"param_dtype": precision, "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
            "optimiser.precision",
        )
        yield Option(f"{place}.param_offload", config.verl.offload, "verl.offload")
    yield Option(f"{actor}.fsdp_config.optimizer_offload", config.verl.offload, "verl.offload")
    yield Option(f"{actor}.fsdp_config.seed", config.seed, "seed")


def _policy(optimiser: OptimiserConfig, model: str) -> Iterator[Option]:
    place = "actor_rollout_ref.model"
    yield Option(f"{place}.path", model, "policy.model")
    yield Option(f"{place}.external_lib", PLUGIN, "our loop, advantage and loss")
    yield Option(
        f"{place}.enable_gradient_checkpointing",
        optimiser.gradient_checkpointing,
        "optimiser.gradient_checkpointing",
    )


def _rollout(config: RunConfig) -> Iterator[Option]:
    place, settings = "actor_rollout_ref.rollout", config.verl
    yield Option(f"{place}.name", settings.rollout, "verl.rollout")
    yield Option(f"{place}.n", config.training.group_size, "training.group_size")
    yield Option(f"{place}.temperature", config.sampling.temperature, "sampling.temperature")
    yield Option(f"{place}.top_p", config.sampling.top_p, "sampling.top_p")
    yield Option(
        f"{place}.dtype",
        {"float32": "float32", "bfloat16": "bfloat16"}[config.optimiser.precision],
        "optimiser.precision",
    )
    yield Option(f"{place}.calculate_log_probs", True, "trajectories hold the sampler's log-probabilities")
    yield Option(f"{place}.tensor_model_parallel_size", settings.tensor_parallel, "verl.tensor_parallel")
    yield Option(f"{place}.gpu_memory_utilization", settings.gpu_memory, "verl.gpu_memory")
    yield Option(f"{place}.max_num_seqs", config.sampling.max_sessions, "sampling.max_sessions")
    yield Option(f"{place}.max_model_len", row_tokens(config.environment), "environment")
    yield Option(f"{place}.agent.num_workers", settings.agent_workers, "verl.agent_workers")
    yield Option(f"{place}.agent.default_agent_loop", AGENT_LOOP, "our loop")
    yield Option(f"{place}.val_kwargs.temperature", 0, "evaluations are greedy")
    yield Option(f"{place}.val_kwargs.do_sample", False, "evaluations are greedy")
    yield Option(f"{place}.val_kwargs.n", 1, "each held-out question is asked once")


def _trainer(config: RunConfig, run_directory: Path, *, resume: bool) -> Iterator[Option]:
    training = config.training
    evaluates = training.evaluation_questions > 0
    yield Option("trainer.nnodes", config.verl.num_nodes, "verl.num_nodes")
    yield Option("trainer.n_gpus_per_node", config.verl.gpus_per_node, "verl.gpus_per_node")
    yield Option("trainer.total_epochs", 1, "the file holds the questions of all steps")
    yield Option("trainer.total_training_steps", training.steps, "training.steps")
    yield Option("trainer.project_name", "workflow-r1", "name")
    yield Option("trainer.experiment_name", config.name, "name")
    yield Option("trainer.logger", ["file"], "metrics.jsonl and the trackers of [logging] are ours")
    yield Option("trainer.save_freq", training.checkpoint_every, "training.checkpoint_every")
    yield Option("trainer.max_actor_ckpt_to_keep", training.keep_checkpoints, "training.keep_checkpoints")
    yield Option("trainer.default_local_dir", str(run_directory / "checkpoints"), "the run directory")
    yield Option("trainer.resume_mode", "auto" if resume else "disable", "--resume")
    yield Option("trainer.val_before_train", evaluates and not resume, "training.evaluation_questions")
    yield Option(
        "trainer.test_freq",
        (training.evaluate_every or training.steps) if evaluates else -1,
        "training.evaluate_every",
    )
    yield Option("trainer.use_v1", True, "the trainer that our parts are written for")
    yield Option("trainer.v1.trainer_mode", "sync", "every step samples from the newest policy")
    yield Option("critic.enable", False, "the advantage compares the members of a group")
    yield Option("reward.num_workers", 1, "our reward is computed in the loop")
    yield Option(f"ray_kwargs.ray_init.runtime_env.env_vars.{VARIABLE}", str(run_directory), "the run directory")
