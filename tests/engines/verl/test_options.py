"""Our configuration in verl's words, as far as it can be checked without verl."""

from pathlib import Path
from typing import Any

import pytest

from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.engines.verl.options import AGGREGATION, LOSS, Option, own_options, translate
from workflow_r1.errors import ConfigError

RUN = Path("/shared/runs/one")


def options(config: RunConfig, *, resume: bool = False) -> dict[str, Any]:
    translated = translate(
        config,
        model="Qwen/Qwen2.5-7B-Instruct",
        run_directory=RUN,
        train_file=RUN / "verl" / "training.parquet",
        evaluation_file=RUN / "verl" / "evaluation.parquet",
        resume=resume,
    )
    keys = [option.key for option in translated]
    assert len(keys) == len(set(keys))
    assert all(isinstance(option, Option) and option.source for option in translated)
    return {option.key: option.value for option in translated}


def test_values_of_the_paper_reach_verl() -> None:
    found = options(load_run_config("paper"))
    actor = "actor_rollout_ref.actor"
    assert found["data.train_batch_size"] == 512
    assert found["actor_rollout_ref.rollout.n"] == 8
    assert found[f"{actor}.ppo_mini_batch_size"] == 128
    assert found["data.max_prompt_length"] == 1280
    assert found["data.max_response_length"] == 8192
    assert found[f"{actor}.optim.lr"] == 1e-6
    assert found[f"{actor}.use_kl_loss"] is True
    assert found[f"{actor}.kl_loss_coef"] == 1e-3
    assert found[f"{actor}.kl_loss_type"] == "low_var_kl"
    assert (found[f"{actor}.clip_ratio_low"], found[f"{actor}.clip_ratio_high"]) == (0.2, 0.2)
    assert found[f"{actor}.policy_loss.loss_mode"] == found["algorithm.adv_estimator"] == LOSS
    assert found[f"{actor}.loss_agg_mode"] == AGGREGATION
    assert found["trainer.total_training_steps"] == 38


def test_switches_change_what_they_name() -> None:
    config = load_run_config(
        "paper",
        [
            "engine=verl",
            "objective.preset=gspo",
            "objective.clip_high=0.01",
            "objective.kl_coefficient=0",
            "objective.kl_kind=k2",
            "objective.correction_cap=2.0",
            "optimiser.precision=bfloat16",
            "optimiser.warmup_steps=5",
            "optimiser.micro_batch_tokens=100",
            "training.evaluate_every=3",
            "verl.offload=true",
        ],
    )
    found = options(config, resume=True)
    actor = "actor_rollout_ref.actor"
    assert (found[f"{actor}.clip_ratio_low"], found[f"{actor}.clip_ratio_high"]) == (3e-4, 0.01)
    assert found[f"{actor}.use_kl_loss"] is False
    assert found[f"{actor}.kl_loss_type"] == "mse"
    assert found["algorithm.rollout_correction.rollout_is"] == "token"
    assert found[f"{actor}.fsdp_config.mixed_precision"]["param_dtype"] == "bf16"
    assert found[f"{actor}.optim.lr_warmup_steps"] == 2  # Five optimiser steps at four of them a step.
    assert found[f"{actor}.ppo_max_token_len_per_gpu"] == 1280 + 8192  # A row is never cut.
    assert found["trainer.test_freq"] == 3
    assert found["trainer.resume_mode"] == "auto"
    assert found["trainer.val_before_train"] is False
    assert found["actor_rollout_ref.ref.fsdp_config.param_offload"] is True


def test_epochs_are_passes_of_verls_own_over_a_step() -> None:
    found = options(load_run_config("paper", ["training.epochs=3", "optimiser.warmup_steps=24"]))
    assert found["actor_rollout_ref.actor.ppo_epochs"] == 3
    assert (
        found["actor_rollout_ref.actor.optim.lr_warmup_steps"] == 2
    )  # Four mini-batches, three times: twelve optimiser steps a step.


def test_no_held_out_questions_is_no_evaluation() -> None:
    found = options(load_run_config("paper", ["training.evaluation_questions=0"]))
    assert found["trainer.val_before_train"] is False
    assert found["trainer.test_freq"] == -1


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["optimiser.lora.rank=8"], "optimiser.lora"),
        (["objective.weight=batch"], "objective.weight"),
        (["sampling.schedule=rounds"], "sampling.schedule"),
        (["training.staleness=1"], "training.staleness"),
        (["training.dynamic_sampling=1"], "training.dynamic_sampling"),
        (["objective.unit=think_action"], "objective.unit"),
        (["objective.clip=matched"], "objective.clip"),
        (["objective.trust_region=sampler"], "objective.trust_region"),
        (["training.mini_batch_questions=100"], "training.mini_batch_questions"),
        (["budget.tokens=1000"], "budget"),
        (["verl.tensor_parallel=3"], "verl.tensor_parallel"),
        (["sampling.temperature=0"], "sampling.temperature"),
        (["verl.rollout=sglang"], "verl.seeded_sampling"),
    ],
)
def test_what_verl_cannot_do_is_refused(overrides: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^not possible with verl: {named}"):
        options(load_run_config("paper", ["engine=verl", *overrides]))


def test_refused_staleness_names_verls_own_options_of_the_same_bound() -> None:
    with pytest.raises(ConfigError) as refusal:
        options(load_run_config("paper", ["engine=verl", "training.staleness=3"]))
    for option in ("num_warmup_batches=3", "max_off_policy_threshold=4", "max_off_policy_strategy=wait"):
        assert option in str(refusal.value)


def test_token_units_may_be_weighted_by_batch() -> None:
    options(load_run_config("paper", ["objective.preset=grpo", "objective.weight=batch"]))


def test_own_options_are_flat_however_they_are_written() -> None:
    config = load_run_config("paper", ["engine=verl", "verl.options.trainer.device=npu", 'verl.options."data.seed"=3'])
    assert own_options(config.verl) == {"trainer.device": "npu", "data.seed": 3}
