"""The golden batch through the native engine: its advantages, its packing, its micro-batches, its loss and gradient."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from workflow_r1.config.training import ObjectiveConfig, OptimiserConfig, TrainingConfig
from workflow_r1.engines.native import update
from workflow_r1.policy.forward import TokenScores
from workflow_r1.policy.packing import PackedBatch
from workflow_r1.trajectory import AnswerReward, Question, ScoredTrajectory, StopReason, Trajectory, Turn

GOLDEN = json.loads((Path(__file__).parents[1] / "golden_batch.json").read_text(encoding="utf-8"))
ROWS = GOLDEN["trajectories"]


def trajectory(row: dict[str, Any]) -> Trajectory:
    """The row as a record: runs of one turn id are turns, the tokens after them are their context."""
    runs: list[tuple[int, list[int]]] = []
    for turn, token in zip(row["turn_ids"], row["response_token_ids"], strict=True):
        if not runs or runs[-1][0] != turn:
            runs.append((turn, []))
        runs[-1][1].append(token)
    turns = []
    for (turn, tokens), (_, context) in zip(runs[::2], [*runs[1::2], (0, [])], strict=False):
        turns.append(
            Turn(
                index=turn,
                text="",
                token_ids=tokens,
                logprobs=[0.0] * len(tokens),
                well_formed=True,
                context_token_ids=context,
            )
        )
    failed = row["reward"] is None
    values: dict[str, Any] = {
        "id": row["name"],
        "group_id": str(row["group"]),
        "question": Question(id="q", text="?", golden_answers=("a",)),
        "prompt_token_ids": row["prompt_token_ids"],
        "turns": tuple(turns),
        "stop_reason": StopReason.OPERATOR_FAILED if failed else StopReason.ANSWERED,
    }
    if failed:
        return Trajectory(**values)
    reward = AnswerReward(total=row["reward"], answer=0.0, format=0.0, exact_match=0.0, f1=0.0)
    return ScoredTrajectory(**values, reward=reward)


class Table(nn.Module):
    """A model whose log-probabilities are its parameters, one per token of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ParameterList([nn.Parameter(torch.tensor(r["logprobs"], dtype=torch.float64)) for r in ROWS])
        self.row_of_prompt = {row["prompt_token_ids"][0]: index for index, row in enumerate(ROWS)}


def look_up(model: Table, batch: PackedBatch, **_: Any) -> TokenScores:
    scores = torch.zeros(batch.input_ids.shape, dtype=torch.float64)
    for place, ids in enumerate(batch.input_ids[:, 0].tolist()):
        index = model.row_of_prompt[ids]
        start = len(ROWS[index]["prompt_token_ids"])
        stop = start + len(ROWS[index]["logprobs"])
        scores[place, start:stop] = model.rows[index]
    return TokenScores(scores, torch.zeros_like(scores), torch.zeros_like(scores, dtype=torch.bool))


def packed(batch: PackedBatch, key: str) -> torch.Tensor:
    row_of_prompt = {row["prompt_token_ids"][0]: row for row in ROWS}
    values = torch.full(batch.input_ids.shape, -7.0, dtype=torch.float64)
    for place, ids in enumerate(batch.input_ids[:, 0].tolist()):
        row = row_of_prompt[ids]
        start = len(row["prompt_token_ids"])
        values[place, start : start + len(row[key])] = torch.tensor(row[key], dtype=torch.float64)
    return values


@pytest.mark.parametrize("weight", ["uniform", "length"])
@pytest.mark.parametrize("micro_batch_tokens", [4096, 20])
@pytest.mark.parametrize("kl_coefficient", [0.0, GOLDEN["kl_coefficient"]])
def test_native_engine_makes_of_the_golden_batch_what_the_formulas_say(
    monkeypatch: pytest.MonkeyPatch, weight: Any, micro_batch_tokens: int, kl_coefficient: float
) -> None:
    monkeypatch.setattr(update, "token_scores", look_up)
    monkeypatch.setattr(update, "shares_prefixes", lambda model: False)
    model = Table()
    objective = ObjectiveConfig(
        weight=weight,
        clip_low=GOLDEN["clip_low"],
        clip_high=GOLDEN["clip_high"],
        kl_coefficient=kl_coefficient,
        kl_kind=GOLDEN["kl_kind"],
    )
    step = update.PolicyUpdate(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        0,
        objective=objective,
        settings=OptimiserConfig(micro_batch_tokens=micro_batch_tokens),
        temperature=1.0,
        mini_batch_questions=TrainingConfig().mini_batch_questions,
    )
    groups = [[trajectory(row) for row in ROWS if row["group"] == group] for group in (0, 1)]

    [mini_batch] = step.mini_batches(groups)
    scored = [index for index, row in enumerate(ROWS) if row["reward"] is not None]
    expected_advantages = torch.tensor([GOLDEN["advantages"][index] for index in scored], dtype=torch.float64)
    torch.testing.assert_close(mini_batch.advantages.double(), expected_advantages, rtol=1e-6, atol=1e-6)
    # The engine keeps these in float32; the comparison below is finer than that.
    batch = replace(mini_batch.batch, sampler_logprobs=mini_batch.batch.sampler_logprobs.double())
    mini_batch = replace(mini_batch, batch=batch, advantages=expected_advantages)
    gradient = step.accumulate_gradient(
        mini_batch,
        packed(mini_batch.batch, "old_logprobs"),
        packed(mini_batch.batch, "ref_logprobs") if kl_coefficient else None,
    )

    expected = GOLDEN["expected"][weight]
    assert gradient.loss == pytest.approx(expected["policy_loss"] + kl_coefficient * expected["kl_loss"], abs=1e-12)
    for index, (policy, kl) in enumerate(zip(expected["policy_gradient"], expected["kl_gradient"], strict=True)):
        found = model.rows[index].grad
        whole = torch.tensor(policy, dtype=torch.float64) + kl_coefficient * torch.tensor(kl, dtype=torch.float64)
        torch.testing.assert_close(torch.zeros_like(whole) if found is None else found, whole, rtol=0, atol=1e-12)


def test_golden_batch_holds_every_case() -> None:
    lengths = {row["name"]: [row["turn_ids"].count(turn) for turn in sorted({*row["turn_ids"]} - {0})] for row in ROWS}
    assert lengths["ragged turns"] == [5, 2, 3]
    assert lengths["one turn"] == [4]
    assert lengths["many turns"] == [1, 2, 2, 1, 3, 1]
    assert set(ROWS[2]["turn_ids"]) == {0, 1, 3}
    assert [row["name"] for row in ROWS if row["reward"] is None] == ["a masked failure"]
    # Turns whose gradient the clip removed, in both directions of the advantage.
    for sign in (1, -1):
        clipped = [
            gradient == 0.0
            for row, advantage, gradients in zip(
                ROWS, GOLDEN["advantages"], GOLDEN["expected"]["uniform"]["policy_gradient"], strict=True
            )
            if advantage * sign > 0
            for turn, gradient in zip(row["turn_ids"], gradients, strict=True)
            if turn
        ]
        assert any(clipped) and not all(clipped)
