"""Our configuration in TRL's words."""

import os
from pathlib import Path

import torch
from trl import GRPOConfig

from workflow_r1.config.run import RunConfig
from workflow_r1.errors import ConfigError


def translate(config: RunConfig, run_directory: Path) -> GRPOConfig:
    """Translate our configuration into TRL's; a key that TRL cannot express is an error.

    Raises:
        ConfigError: TRL has no equal of a key, or sizes do not divide one another.
    """
    training, optimiser, objective = config.training, config.optimiser, config.objective
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if config.sampling.temperature == 0:
        raise ConfigError(
            "`sampling.temperature` is 0: all trajectories of a group would be equal and teach nothing; use 1.0"
        )
    advantage = objective.in_effect("advantage")
    if advantage not in ("group_normalised", "group_centred"):
        raise ConfigError(
            f'objective.advantage: expected "group_normalised" or "group_centred" for TRL, received "{advantage}"; the native '
            "engine has it"
        )
    native = {
        "training.epochs": (training.epochs, 1),
        "training.staleness": (training.staleness, 0),
        "training.dynamic_sampling": (training.dynamic_sampling, 0),
        "objective.trust_region": (objective.trust_region, "current"),
    }
    for key, (value, only) in native.items():
        if value != only:
            raise ConfigError(f"{key}: expected {only!r} for TRL, received {value!r}; the native engine has it")
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
        scale_rewards="group" if advantage == "group_normalised" else "none",
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
