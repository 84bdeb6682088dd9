"""Every key that we translate exists in verl, and a key that verl would ignore is an error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl has an environment of its own: make test-verl")

from omegaconf import OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1.replay_buffer import ReplayBufferAsync
from verl.utils.config import omega_conf_to_dataclass, validate_config

from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.engines.verl.options import asynchronous_options, own_options, translate
from workflow_r1.engines.verl.schema import complete, compose_defaults
from workflow_r1.errors import ConfigError

RECIPES = sorted((Path(__file__).parents[3] / "configs").glob("*.toml"))


def completed(config: RunConfig) -> Any:
    options = translate(
        config,
        model=config.policy.model,
        run_directory=Path("/shared/run"),
        train_file=Path("/shared/run/verl/training.parquet"),
        evaluation_file=Path("/shared/run/verl/evaluation.parquet"),
        resume=False,
    )
    return complete(options, own_options(config.verl))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_whole_configurations_of_verl(path: Path) -> None:
    """Composed, resolved, read into verl's dataclasses, and passed by verl's own check."""
    config = load_run_config(path)
    assert config.engine == "verl"
    whole = completed(config)
    OmegaConf.resolve(whole)
    validate_config(config=whole, use_reference_policy=need_reference_policy(whole), use_critic=need_critic(whole))
    assert not need_critic(whole)
    actor = omega_conf_to_dataclass(whole.actor_rollout_ref.actor)
    rollout = omega_conf_to_dataclass(whole.actor_rollout_ref.rollout)
    assert actor.optim.clip_grad == config.optimiser.max_grad_norm
    assert tuple(actor.optim.betas) == config.optimiser.betas
    assert actor.engine.mixed_precision["param_dtype"] == "bf16"
    assert rollout.prompt_length + rollout.response_length == rollout.max_model_len == 1280 + 8192
    gpus = config.verl.num_nodes * config.verl.gpus_per_node
    assert whole.data.train_batch_size * rollout.n % gpus == 0
    assert rollout.n_gpus_per_node == config.verl.gpus_per_node


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 3


def test_what_is_set_is_what_verl_reads(cpu_config: Callable[..., RunConfig]) -> None:
    whole = completed(cpu_config())
    assert whole.actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype == "fp32"
    assert whole.trainer.device == "cpu"
    assert OmegaConf.select(whole, "actor_rollout_ref.ref.log_prob_use_dynamic_bsz") is True
    assert OmegaConf.select(whole, "data.train_batch_size") == 4


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "custom_reward_function.path",
            "no longer reads custom_reward_function.path.*reward.custom_reward_function.path",
        ),
        ("reward_model.reward_manager", "no longer reads"),
        (
            "actor_rollout_ref.actor.grad_clip",
            "no longer reads actor_rollout_ref.actor.grad_clip: set actor_rollout_ref.actor.optim.clip_grad",
        ),
        ("actor_rollout_ref.rollout.gpu_memory_utilisation", "did you mean.*gpu_memory_utilization"),
        ("rollout.enforce_eager", "did you mean 'actor_rollout_ref.rollout.enforce_eager'"),
        ("trainer.steps", "no option trainer.steps"),
        ("no.such.section", "no option"),
        ("actor_rollout_ref.rollout.n", "set from training.group_size"),
    ],
)
def test_a_key_that_verl_would_not_read_is_refused(
    cpu_config: Callable[..., RunConfig], key: str, message: str
) -> None:
    config = cpu_config()
    verl = config.verl.model_copy(update={"options": {key: 1}})
    with pytest.raises(ConfigError, match=message):
        completed(config.model_copy(update={"verl": verl}))


def test_a_field_of_the_dataclass_behind_a_section_is_known(cpu_config: Callable[..., RunConfig]) -> None:
    config = cpu_config("verl.options.actor_rollout_ref.rollout.limit_images=3")
    assert "limit_images" not in compose_defaults().actor_rollout_ref.rollout
    assert completed(config).actor_rollout_ref.rollout.limit_images == 3


@pytest.mark.parametrize("staleness", [0, 2])
def test_verls_own_asynchronous_trainer_bounds_staleness_as_ours(staleness: int) -> None:
    """A group that began in step 3 holds up the step that is as far behind as it may be, and none before it."""
    whole = compose_defaults()
    for key, value in asynchronous_options(staleness).items():
        assert OmegaConf.select(whole, key, throw_on_missing=True) is not None
        OmegaConf.update(whole, key, value)
    v1 = whole.trainer.v1
    assert v1[v1.trainer_mode].num_warmup_batches == staleness
    buffer = ReplayBufferAsync(
        v1.trainer_mode,
        whole.trainer,
        v1.sampler.max_off_policy_threshold,
        v1.sampler.max_off_policy_strategy,
        v1.sampler.sampler_kwargs,
    )
    buffer.prompt_global_steps["train"] = {"slow": 3}
    buffer.running_keys["train"] = {"slow"}
    held_up = [not buffer._has_enough_samples(step, "train", 1, {"another"}) for step in range(3, 3 + staleness + 1)]
    assert held_up == [False] * staleness + [True]
