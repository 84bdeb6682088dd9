"""GSsPO in a TRL script of your own, with a multi-turn ``rollout_func`` of your own.

    pip install torch==2.13.0 && pip install 'workflow-r1[trl]'
    python examples/trl_own_rollout.py

Only the ten lines of ``main`` are about GSsPO, and of those only the class and its switches. The rollout above them is a stand-in
for yours: two turns with a remark in between. What matters in it is ``env_mask``: 1 on the policy's tokens, 0 on
all others, with at least one 0 between two turns.
"""

import sys
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig

from workflow_r1.embedded import policy_directory
from workflow_r1.engines.trl.trainer import GSsPOTrainer

REMARK = "\nThink again, and answer.\n"


def rollout(prompts: list[str], trainer: Any) -> dict[str, list[Any]]:
    """Two turns for each prompt (they come as often as a group has members)."""
    tokenizer, fields = (
        trainer.processing_class,
        {"prompt_ids": [], "completion_ids": [], "logprobs": [], "env_mask": []},
    )
    remark = tokenizer(REMARK, add_special_tokens=False)["input_ids"]
    for prompt in prompts:
        prompt_ids = tokenizer(prompt)["input_ids"]
        first = write_turn(trainer, prompt_ids)
        second = write_turn(trainer, prompt_ids + first + remark)
        fields["prompt_ids"].append(prompt_ids)
        fields["completion_ids"].append(first + remark + second)
        fields["logprobs"].append([0.0] * len(first + remark + second))  # Only the correction reads them.
        fields["env_mask"].append([1] * len(first) + [0] * len(remark) + [1] * len(second))
    return fields


def write_turn(trainer: Any, context: list[int]) -> list[int]:
    """Sample up to 16 tokens."""
    with torch.inference_mode():
        ids = torch.tensor([context], device=trainer.model.device)
        written = trainer.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=True)
    return written[0, len(context) :].tolist()


def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Variety: the share of tokens that differ."""
    return [len(set(ids)) / len(ids) for ids in completion_ids]


def main() -> None:
    """Train for two steps."""
    options = {
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
    }
    trainer = GSsPOTrainer(
        unit="turn",
        clip_low=0.2,
        clip_high=0.2,
        model=sys.argv[1] if len(sys.argv) > 1 else str(policy_directory()),
        rollout_func=rollout,
        reward_funcs=reward,
        train_dataset=Dataset.from_list([{"prompt": f"Name {number} cities."} for number in range(8)]),
        args=GRPOConfig(
            "trl-own-rollout", max_steps=2, num_generations=4, logging_steps=1, save_strategy="no", **options
        ),
    )
    trainer.train()


if __name__ == "__main__":
    main()
