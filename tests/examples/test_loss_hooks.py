"""The adapters for other trainers, called as those call them, against the golden batch of all engines."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from workflow_r1.algorithms import PRESETS, policy_loss, turn_ids_from_mask, unit_ids

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "engines" / "golden_batch.json").read_text(encoding="utf-8"))
ROWS = GOLDEN["trajectories"]
NUM_SCORED = sum(row["reward"] is not None for row in ROWS)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def padded(rows: Any) -> torch.Tensor:
    return pad_sequence([torch.as_tensor(row, dtype=torch.float64) for row in rows], batch_first=True)


@pytest.fixture
def batch() -> SimpleNamespace:
    """The golden batch in tensors; a failure has no token that counts."""
    leaves = [torch.tensor(row["logprobs"], dtype=torch.float64, requires_grad=True) for row in ROWS]
    masks = [
        torch.tensor([float(turn > 0 and row["reward"] is not None) for turn in row["turn_ids"]], dtype=torch.float64)
        for row in ROWS
    ]
    values = zip(GOLDEN["advantages"], ROWS, strict=True)
    return SimpleNamespace(
        leaves=leaves,
        masks=masks,
        old=[torch.tensor(row["old_logprobs"], dtype=torch.float64) for row in ROWS],
        advantages=[torch.full((len(row["turn_ids"]),), value, dtype=torch.float64) for value, row in values],
    )


def check(loss: torch.Tensor, batch: SimpleNamespace) -> None:
    loss.backward()
    expected = GOLDEN["expected"]["uniform"]
    assert loss.item() == pytest.approx(expected["policy_loss"], abs=1e-12)
    for leaf, gradient in zip(batch.leaves, expected["policy_gradient"], strict=True):
        torch.testing.assert_close(leaf.grad, torch.tensor(gradient, dtype=torch.float64), rtol=0, atol=1e-12)


def test_openrlhf_calls_a_module_and_takes_four_values(batch: SimpleNamespace) -> None:
    loss_fn = example("openrlhf_loss").GSsPOLoss(clip_eps_low=GOLDEN["clip_low"], clip_eps_high=GOLDEN["clip_high"])
    loss, clip_ratio, ppo_kl, sampler_kl = loss_fn(
        pad_sequence(batch.leaves, batch_first=True),
        padded(batch.old),
        padded(batch.advantages),
        action_mask=padded(batch.masks),
        rollout_log_probs=None,
    )
    check(loss, batch)
    assert 0 < clip_ratio.item() < 1 and ppo_kl.item() > 0 and sampler_kl is None


def test_openrlhf_micro_batches_and_processes_add_up(batch: SimpleNamespace) -> None:
    loss_fn = example("openrlhf_loss").GSsPOLoss(clip_eps_low=GOLDEN["clip_low"], clip_eps_high=GOLDEN["clip_high"])
    total = torch.zeros((), dtype=torch.float64)
    for rows in (slice(0, 3), slice(3, 7)):  # Two processes: their gradients are averaged.
        loss, *_ = loss_fn(
            pad_sequence(batch.leaves[rows], batch_first=True),
            padded(batch.old[rows]),
            padded(batch.advantages[rows]),
            action_mask=padded(batch.masks[rows]),
            dp_size=2,
            batch_num_tokens=torch.tensor(99),
            global_batch_size=torch.tensor(NUM_SCORED),
        )
        total = total + loss / 2
    check(total, batch)


@pytest.mark.parametrize("preset", ["gspo", "grpo", "dapo", "sapo", "cispo", "luspo"])
def test_openrlhf_takes_every_switch_of_a_preset(batch: SimpleNamespace, preset: str) -> None:
    logprobs, old = pad_sequence(batch.leaves, batch_first=True), padded(batch.old)
    advantages, mask = padded(batch.advantages), padded(batch.masks)
    switches = PRESETS[preset]
    units = unit_ids(turn_ids_from_mask(mask > 0), switches.unit)
    expected = policy_loss(
        logprobs=logprobs, old_logprobs=old, advantages=advantages, unit_ids=units, **switches.of_loss()
    )
    loss_fn = example("openrlhf_loss").GSsPOLoss(preset=preset)
    total = torch.zeros((), dtype=torch.float64)
    for rows in (slice(0, 3), slice(3, 7)):
        loss, *_ = loss_fn(
            logprobs[rows],
            old[rows],
            advantages[rows],
            mask[rows],
            dp_size=2,
            batch_num_tokens=mask.sum(),
            global_batch_size=torch.tensor(NUM_SCORED),
        )
        total = total + loss / 2
    torch.testing.assert_close(total, expected.loss, rtol=0, atol=1e-12)


def test_skyrl_sums_and_divides_the_advantages_beforehand(batch: SimpleNamespace) -> None:
    config = SimpleNamespace(
        loss_reduction="sequence_mean", eps_clip_low=GOLDEN["clip_low"], eps_clip_high=GOLDEN["clip_high"]
    )
    mask = padded(batch.masks)
    advantages = padded(batch.advantages) / (NUM_SCORED * mask.sum(dim=-1, keepdim=True).clamp(min=1))
    logprobs, old = pad_sequence(batch.leaves, batch_first=True), padded(batch.old)
    gsspo, parts = example("skyrl_loss").gsspo, []
    for rows in (slice(0, 4), slice(4, 7)):
        loss, metrics = gsspo(
            logprobs[rows], old[rows], advantages[rows], config=config, loss_mask=mask[rows], rollout_logprobs=None
        )
        parts.append(loss)
        assert set(metrics) == {"clip_ratio", "approx_kl"}
    check(parts[0] + parts[1], batch)
    config.loss_reduction = "token_mean"
    with pytest.raises(ValueError, match="sequence_mean"):
        gsspo(logprobs, old, advantages, config=config, loss_mask=mask)


def test_slime_hands_over_logits_and_samples(batch: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get_log_probs_and_entropy(
        logits: torch.Tensor, *, args: Any, unconcat_tokens: Any, total_lengths: Any, response_lengths: Any, **_: Any
    ) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
        asked.append(response_lengths)
        return torch.empty(0), {"log_probs": batch.leaves}

    for name in ("slime", "slime.backends", "slime.backends.megatron_utils", "slime.backends.megatron_utils.loss"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["slime.backends.megatron_utils.loss"].get_log_probs_and_entropy = get_log_probs_and_entropy  # type: ignore[attr-defined]
    lengths = [len(mask) for mask in batch.masks]
    samples = {
        "unconcat_tokens": [torch.zeros(length + 2, dtype=torch.long) for length in lengths],
        "total_lengths": [length + 2 for length in lengths],
        "response_lengths": lengths,
        "loss_masks": batch.masks,
        "log_probs": batch.old,
        "advantages": batch.advantages,
    }
    args = SimpleNamespace(eps_clip=GOLDEN["clip_low"], eps_clip_high=GOLDEN["clip_high"])
    gsspo = example("slime_loss").gsspo
    loss, log = gsspo(args, samples, torch.zeros(1, 9, 5), lambda values: values.sum())
    assert asked == [lengths]
    assert set(log) == {"loss", "pg_clipfrac"} and all(isinstance(value, torch.Tensor) for value in log.values())
    check(loss / NUM_SCORED, batch)
    with pytest.raises(ValueError, match="context_parallel_size"):
        gsspo(args, samples | {"loss_masks": [mask[1:] for mask in batch.masks]}, torch.zeros(1, 9, 5), torch.sum)
