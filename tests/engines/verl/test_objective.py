"""The golden batch through verl's own loss function, with ours behind its hook."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("verl", reason="verl has an environment of its own: make test-verl")

from tensordict import TensorDict
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn
from verl.utils import tensordict_utils
from verl.workers.config import FSDPActorConfig
from verl.workers.config.actor import PolicyLossConfig
from verl.workers.utils.losses import ppo_loss

from workflow_r1.algorithms import (
    group_advantages,
    policy_loss,
    resolve_preset,
    turn_correction,
    turn_ids_from_mask,
    unit_ids,
)
from workflow_r1.config import dump_toml
from workflow_r1.config.run import RunConfig
from workflow_r1.config.training import ObjectiveConfig
from workflow_r1.engines.verl import plugin  # noqa: F401  Registers advantage and loss.
from workflow_r1.engines.verl.described_run import VARIABLE
from workflow_r1.engines.verl.options import AGGREGATION, LOSS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden_batch.json").read_text(encoding="utf-8"))
ROWS = GOLDEN["trajectories"]
MASKS = [[0 if row["reward"] is None else int(turn > 0) for turn in row["turn_ids"]] for row in ROWS]
PROMPT = [1, 2, 3]


Describe = Callable[..., None]


@pytest.fixture
def describe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Describe:
    """Let this process be a worker of a run with such an objective."""

    def describe(**values: Any) -> None:
        (tmp_path / "config.toml").write_text(dump_toml(RunConfig(objective=ObjectiveConfig(**values))))
        monkeypatch.setenv(VARIABLE, str(tmp_path))

    return describe


def actor_config(*, kl: bool = False, **values: Any) -> FSDPActorConfig:
    return FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio=0.2,
        clip_ratio_low=GOLDEN["clip_low"],
        clip_ratio_high=GOLDEN["clip_high"],
        loss_agg_mode=AGGREGATION,
        use_kl_loss=kl,
        kl_loss_coef=GOLDEN["kl_coefficient"],
        kl_loss_type="low_var_kl",
        policy_loss=PolicyLossConfig(loss_mode=LOSS),
        **values,
    )


def nested(values: list[list[float]], dtype: torch.dtype) -> torch.Tensor:
    return torch.nested.as_nested_tensor([torch.tensor(row, dtype=dtype) for row in values], layout=torch.jagged)


def advantages(dtype: torch.dtype) -> list[list[float]]:
    width = max(len(mask) for mask in MASKS)
    mask = torch.tensor([[*row, *[0] * (width - len(row))] for row in MASKS])
    rewards = torch.zeros(mask.shape, dtype=dtype)
    for index, row in enumerate(ROWS):
        rewards[index, len(row["turn_ids"]) - 1] = row["reward"] or 0.0
    values, _ = get_adv_estimator_fn(LOSS)(
        token_level_rewards=rewards,
        response_mask=mask,
        index=np.array([f"uid-{row['group']}" for row in ROWS], dtype=object),
        config=None,
    )
    return [values[index, : len(row)].tolist() for index, row in enumerate(MASKS)]


def through_verl(rows: list[int], leaves: list[torch.Tensor], config: FSDPActorConfig, *, dp_size: int = 1) -> Any:
    """One micro-batch through ``ppo_loss``, as an engine of verl's calls it: packed, with its counts beside it."""
    dtype = leaves[0].dtype
    values = advantages(dtype)
    data = TensorDict(
        {
            "prompts": nested([PROMPT for _ in rows], torch.int64),
            "responses": nested([ROWS[i]["response_token_ids"] for i in rows], torch.int64),
            "input_ids": nested([PROMPT + ROWS[i]["response_token_ids"] for i in rows], torch.int64),
            "response_mask": nested([MASKS[i] for i in rows], torch.int64),
            "old_log_probs": nested([ROWS[i]["old_logprobs"] for i in rows], dtype),
            "ref_log_prob": nested([ROWS[i]["ref_logprobs"] for i in rows], dtype),
            "advantages": nested([values[i] for i in rows], dtype),
        },
        batch_size=len(rows),
    )
    tensordict_utils.assign_non_tensor(
        data,
        dp_size=dp_size,
        batch_num_tokens=sum(map(sum, MASKS)),
        global_batch_size=len(ROWS),
    )
    # Column t of a model's output says what follows token t: the response starts one before its first token.
    shifted = [torch.cat([leaves[i].new_zeros(len(PROMPT) - 1), leaves[i], leaves[i].new_zeros(1)]) for i in rows]
    log_probs = torch.nested.as_nested_tensor(shifted, layout=torch.jagged)
    return ppo_loss(config, {"log_probs": log_probs}, data)


def gradients(dtype: torch.dtype, config: FSDPActorConfig, cuts: list[list[int]], **options: Any) -> Any:
    leaves = [torch.tensor(row["logprobs"], dtype=dtype, requires_grad=True) for row in ROWS]
    loss = 0.0
    for rows in cuts:
        part, _ = through_verl(rows, leaves, config, **options)
        part.backward()
        loss += part.item()
    return loss, [leaf.grad for leaf in leaves]


WHOLE = [list(range(len(ROWS)))]
CUT = [[0, 4], [1], [2, 3, 6], [5]]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
@pytest.mark.parametrize("cuts", [WHOLE, CUT])
@pytest.mark.parametrize("weight", ["uniform", "length"])
def test_verl_makes_of_the_golden_batch_what_the_formulas_say(
    describe: Describe, dtype: torch.dtype, tolerance: float, cuts: list[list[int]], weight: str
) -> None:
    describe(weight=weight)
    loss, found = gradients(dtype, actor_config(), cuts)
    expected = GOLDEN["expected"][weight]
    assert loss == pytest.approx(expected["policy_loss"], abs=tolerance)
    for gradient, row in zip(found, expected["policy_gradient"], strict=True):
        torch.testing.assert_close(gradient, torch.tensor(row, dtype=dtype), rtol=0, atol=tolerance)


def test_kl_of_verl_is_weighted_by_length_and_divided_by_all_rows(describe: Describe) -> None:
    """The one term that verl computes itself: by tokens within a trajectory, and over failures, too."""
    describe(weight="length")
    loss, found = gradients(torch.float64, actor_config(kl=True), WHOLE)
    expected = GOLDEN["expected"]["length"]
    scale = GOLDEN["kl_coefficient"] * sum(row["reward"] is not None for row in ROWS) / len(ROWS)
    # verl adds 1e-8 to the number of tokens by which it divides.
    assert loss == pytest.approx(expected["policy_loss"] + scale * expected["kl_loss"], abs=1e-8)
    for gradient, policy, kl in zip(found, expected["policy_gradient"], expected["kl_gradient"], strict=True):
        whole = torch.tensor(policy, dtype=torch.float64) + scale * torch.tensor(kl, dtype=torch.float64)
        torch.testing.assert_close(gradient, whole, rtol=0, atol=1e-8)


def test_ranks_average_to_the_whole(describe: Describe) -> None:
    describe()
    whole, _ = gradients(torch.float64, actor_config(), WHOLE)
    ranks = [gradients(torch.float64, actor_config(), [rows], dp_size=2)[0] for rows in ([0, 1, 2, 3], [4, 5, 6])]
    assert sum(ranks) / 2 == pytest.approx(whole, abs=1e-12)


def test_advantages_leave_failures_out_and_make_up_for_their_rows(describe: Describe) -> None:
    describe()
    valid = torch.tensor([row["reward"] is not None for row in ROWS])
    rewards = torch.tensor([row["reward"] or 0.0 for row in ROWS], dtype=torch.float64)
    expected = group_advantages(rewards, torch.tensor([row["group"] for row in ROWS]), valid=valid) * 7 / 6
    for found, mask, value in zip(advantages(torch.float64), MASKS, expected.tolist(), strict=True):
        assert found == pytest.approx([value * inside for inside in mask], abs=1e-12)
    assert advantages(torch.float64)[3] == [0.0] * 6


def test_correction_is_the_mean_of_each_turn(describe: Describe) -> None:
    describe(correction_cap=1.02)
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 0, 1, 1, 1], [1, 0, 1, 1, 0, 0]])
    difference = torch.randn(mask.shape, dtype=torch.float64) * 0.05
    weights = turn_correction(
        old_logprobs=difference,
        sampler_logprobs=torch.zeros_like(difference),
        unit_ids=turn_ids_from_mask(mask),
        cap=1.02,
    )
    assert weights.max() == 1.02
    assert 0 < weights[mask > 0].min() < 1
    config = actor_config()
    config.global_batch_info.update(dp_size=1, batch_num_tokens=8, global_batch_size=2)
    arguments = {
        "old_log_prob": torch.zeros_like(difference),
        "log_prob": torch.zeros_like(difference),
        "response_mask": mask,
        "loss_agg_mode": AGGREGATION,
        "config": config,
    }
    loss_function = get_policy_loss_fn(LOSS)
    corrected, _ = loss_function(
        **arguments, advantages=torch.ones_like(difference), rollout_is_weights=difference.exp()
    )
    expected = [(weights[0, 0] + weights[0, 3]) / 2, (weights[1, 0] + weights[1, 2]) / 2]
    assert corrected.item() == pytest.approx(-sum(value.item() for value in expected) / 2, abs=1e-12)


@pytest.mark.parametrize(
    "switches",
    [
        {"preset": "sapo"},
        {"preset": "gsspo", "clip": "cispo"},
        {"preset": "dr_grpo", "weight_length": 30.0},
        {"preset": "gsspo", "dual_clip": 1.05},
        {"preset": "gspo", "clip": "none", "weight": "constant", "weight_length": 1.0, "advantage": "leave_one_out"},
    ],
    ids=lambda switches: "-".join(map(str, switches.values())),
)
def test_other_bounds_are_those_of_the_functions(describe: Describe, switches: dict[str, Any]) -> None:
    """The same rows, cut as verl cuts them, and at once through ``policy_loss``."""
    describe(**switches)
    config = actor_config()
    _, found = gradients(torch.float64, config, CUT)
    given = {key: value for key, value in switches.items() if key != "preset"}
    preset = resolve_preset(
        switches["preset"], **given, clip_low=config.clip_ratio_low, clip_high=config.clip_ratio_high
    )
    width = max(map(len, MASKS))
    leaves = [torch.tensor(row["logprobs"], dtype=torch.float64, requires_grad=True) for row in ROWS]
    turns = turn_ids_from_mask(torch.tensor([[*mask, *[0] * (width - len(mask))] for mask in MASKS]))
    padded = [
        torch.nn.utils.rnn.pad_sequence([*rows], batch_first=True)
        for rows in (leaves, [torch.tensor(row["old_logprobs"], dtype=torch.float64) for row in ROWS])
    ]
    values = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row, dtype=torch.float64) for row in advantages(torch.float64)], batch_first=True
    )
    loss = policy_loss(
        logprobs=padded[0],
        old_logprobs=padded[1],
        advantages=values,
        unit_ids=unit_ids(turns, preset.unit),
        num_trajectories=float(len(ROWS)),
        **preset.of_loss(),
    ).loss
    for got, want in zip(found, torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(got, want, atol=1e-10, rtol=0)


def test_another_aggregation_is_refused() -> None:
    with pytest.raises(ValueError, match="seq-mean-token-mean"):
        get_policy_loss_fn(LOSS)(*[torch.zeros(1, 1)] * 4, loss_agg_mode="token-mean", config=actor_config())
