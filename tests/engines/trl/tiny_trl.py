"""A trainer of TRL around a tiny random Llama, for tests of the loss alone."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig

from workflow_r1.engines.trl.trainer import GSsPOTrainer


def make_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": 0, "<eos>": 1, **{f"t{index}": index for index in range(2, 64)}}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
    )


def make_model(directory: Path) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(directory)  # The reference policy is loaded from there.
    return LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)


def make_trainer(directory: Path, *, rollout_func: Any = None, rewards: Any = None, **options: Any) -> GSsPOTrainer:
    """A trainer of one generation of 8 rows; options of ``GRPOConfig`` and of the trainer."""
    switches = (
        "preset",
        "unit",
        "weight",
        "clip_low",
        "clip_high",
        "clip_reference_length",
        "switches",
        "correction_cap",
        "kl_kind",
    )
    ours = {name: options.pop(name) for name in switches if name in options}
    settings: dict[str, Any] = {
        "output_dir": str(directory / "out"),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "num_generations": 4,
        "max_steps": 1,
        "beta": 0.0,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        **options,
    }
    return GSsPOTrainer(
        model=make_model(directory / "model"),
        processing_class=make_tokenizer(),
        args=GRPOConfig(**settings),
        train_dataset=Dataset.from_list([{"prompt": f"t{index}"} for index in range(2, 10)]),
        reward_funcs=rewards or (lambda completions, **_: [0.0] * len(completions)),
        rollout_func=rollout_func,
        **ours,
    )
