"""The parts of verl under our engine, seam by seam: when verl moves, the failing test names the part.

Each seam is a question to verl's own code that takes no run. Whether the parts work together is what the other tests show.
"""

import inspect
from collections.abc import Callable

import pytest

pytest.importorskip("verl", reason="verl has an environment of its own: make test-verl")

import verl
from verl.experimental.agent_loop import agent_loop
from verl.trainer import main_ppo
from verl.trainer.ppo import core_algos, ray_trainer
from verl.trainer.ppo.v1 import agent_loop_tq, get_trainer_cls, trainer_base
from verl.utils import tracking
from verl.utils.checkpoint import fsdp_checkpoint_manager
from verl.utils.dataset import rl_dataset
from verl.workers import engine_workers
from verl.workers.config import HFModelConfig
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.rollout.llm_server import LLMServerClient
from verl.workers.rollout.replica import TokenOutput
from verl.workers.utils import losses

from workflow_r1.engines.verl import plugin


def parameters(function: Callable[..., object]) -> set[str]:
    return set(inspect.signature(function).parameters)


def source(part: object) -> str:
    return inspect.getsource(part)  # type: ignore[arg-type]


SEAMS: dict[str, Callable[[], bool]] = {
    "the version is the tested minor": lambda: verl.__version__.startswith("0.9."),
    "external_lib is imported wherever the model's configuration is read": lambda: (
        "import_external_libs(self.external_lib)" in source(HFModelConfig)
    ),
    "loss, advantage and loop are registered": lambda: plugin.check_registered() is None,
    "the loss hook is called by these names": lambda: all(
        f"{name}={name}" in source(losses.ppo_loss)
        for name in ("old_log_prob", "log_prob", "advantages", "response_mask", "loss_agg_mode", "config")
    ),
    "the loss hook finds the mini-batch's counts": lambda: all(
        f'global_batch_info["{name}"]' in source(losses.ppo_loss)
        for name in ("dp_size", "batch_num_tokens", "global_batch_size")
    ),
    "the KL is verl's own, outside of the hook": lambda: "kl_penalty(" in source(losses.ppo_loss),
    "the worker's loss is ppo_loss": lambda: (
        "partial(ppo_loss, config=actor_config)" in source(engine_workers.ActorRolloutRefWorker)
    ),
    "the mini-batch is counted with its empty rows": lambda: (
        '"global_batch_size": ppo_mini_batch_size' in source(trainer_base.PPOTrainer._update_actor)
    ),
    "the advantage hook gets rewards, mask and groups": lambda: all(
        word in source(ray_trainer.compute_advantage)
        for word in ('"token_level_rewards"', '"response_mask"', 'adv_kwargs["index"]')
    ),
    "advantages of our name are not GRPO's": lambda: "GRPO" in core_algos.AdvantageEstimator.__members__,
    "loops are registered by their target": lambda: isinstance(agent_loop._agent_loop_registry, dict),
    "a loop is made with server manager and tokenizer": lambda: (
        {"trainer_config", "server_manager", "tokenizer"} <= parameters(agent_loop.AgentLoopBase.__init__)
    ),
    "a loop knows its member and its step": lambda: (
        "session_id=i" in source(agent_loop_tq) and '"global_steps"' in source(trainer_base.PPOTrainer)
    ),
    "a loop's output has our fields": lambda: (
        {
            "prompt_ids",
            "response_ids",
            "response_mask",
            "response_logprobs",
            "reward_score",
            "num_turns",
            "extra_fields",
        }
        <= set(agent_loop.AgentLoopOutput.model_fields)
    ),
    "versions of the weights are read from extra_fields": lambda: (
        '"max_global_steps": field["extra_fields"].get("max_global_steps")' in source(agent_loop_tq)
    ),
    "servers take tokens": lambda: (
        {"request_id", "prompt_ids", "sampling_params"} <= parameters(LLMServerClient.generate)
    ),
    "servers give tokens": lambda: (
        {"token_ids", "log_probs", "stop_reason", "extra_fields"} <= set(TokenOutput.model_fields)
    ),
    "question files give extra_info and index": lambda: 'row_dict["index"]' in source(rl_dataset.RLHFDataset),
    "the trainer is V1's, in step with its rollouts": lambda: issubclass(
        get_trainer_cls("sync"), trainer_base.PPOTrainer
    ),
    "the entry point takes a configuration from a file": lambda: "@hydra.main" in source(main_ppo),
    "the file logger writes into the configured path": lambda: "VERL_FILE_LOGGER_PATH" in source(tracking.FileLogger),
    "the clip of the gradient is the optimiser's": lambda: (
        "self.optimizer_config.clip_grad" in source(transformer_impl.FSDPEngine)
    ),
    "checkpoints name the newest": lambda: (
        "latest_checkpointed_iteration.txt" in source(trainer_base.PPOTrainer._save_checkpoint)
    ),
    "checkpoints hold a Hugging Face model": lambda: (
        "huggingface" in source(fsdp_checkpoint_manager) and "should_save_hf_model" in source(fsdp_checkpoint_manager)
    ),
}


@pytest.mark.parametrize("seam", SEAMS)
def test_seam(seam: str) -> None:
    assert SEAMS[seam](), f"verl {verl.__version__} moved: {seam} no longer"
