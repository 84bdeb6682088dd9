"""The golden batch through TRL: our loss where TRL calls for one, cut into its batches, padded as it pads."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from workflow_r1.engines.trl.rollouts import to_fields
from workflow_r1.trajectory import Question, StopReason, Trajectory

GOLDEN = json.loads((Path(__file__).parents[1] / "golden_batch.json").read_text(encoding="utf-8"))
ROWS = GOLDEN["trajectories"]


def padded(values, *, left=False, dtype=torch.long, fill=0):
    side = "left" if left else "right"
    return pad_sequence([torch.tensor(v, dtype=dtype) for v in values], True, fill, padding_side=side)


def batch_of(indices, parameters):
    """Some rows as TRL hands them to its loss; returns the log-probabilities that a model would find, too."""
    rows, fields = [], {"prompt_ids": [], "completion_ids": [], "env_mask": []}
    for index in indices:
        row = ROWS[index]
        if row["reward"] is None:
            question = Question(id="q", text="?", golden_answers=("a",))
            failure = Trajectory(id="f", group_id="g", question=question, stop_reason=StopReason.OPERATOR_FAILED)
            made = to_fields([failure], pad_token_id=0)
            assert made["total_reward"] == [None]
            rows.append((parameters[index][:1], [9.0], [9.0]))
        else:
            made = {
                "prompt_ids": [row["prompt_token_ids"]],
                "completion_ids": [row["response_token_ids"]],
                "env_mask": [[int(turn > 0) for turn in row["turn_ids"]]],
            }
            rows.append((parameters[index], row["old_logprobs"], row["ref_logprobs"]))
        for name in fields:
            fields[name] += made[name]
    inputs = {
        "prompt_ids": padded(fields["prompt_ids"], left=True),
        "prompt_mask": padded([[1] * len(ids) for ids in fields["prompt_ids"]], left=True),
        "completion_ids": padded(fields["completion_ids"]),
        "completion_mask": padded([[1] * len(ids) for ids in fields["completion_ids"]]),
        "tool_mask": padded(fields["env_mask"], fill=1),  # TRL pads its mask with ones.
        "advantages": torch.tensor([GOLDEN["advantages"][index] for index in indices], dtype=torch.float64),
        "old_per_token_logps": padded([old for _, old, _ in rows], dtype=torch.float64, fill=7.0),
        "ref_per_token_logps": padded([reference for _, _, reference in rows], dtype=torch.float64, fill=-3.0),
    }
    return inputs, pad_sequence([logprobs for logprobs, _, _ in rows], True, float("nan"))


@pytest.mark.parametrize("weight", ["uniform", "length"])
@pytest.mark.parametrize("cut", [[range(7)], [range(3), range(3, 6), range(6, 7)], [[3], [0, 1, 2], [4, 5, 6]]])
@pytest.mark.parametrize("kl_coefficient", [0.0, GOLDEN["kl_coefficient"]])
def test_trl_makes_of_the_golden_batch_what_the_formulas_say(
    make_trainer, tmp_path, monkeypatch, weight, cut, kl_coefficient
):
    trainer = make_trainer(
        tmp_path,
        gradient_accumulation_steps=len(cut),
        beta=kl_coefficient,
        weight=weight,
        clip_low=GOLDEN["clip_low"],
        clip_high=GOLDEN["clip_high"],
        kl_kind=GOLDEN["kl_kind"],
    )
    parameters = [torch.tensor(row["logprobs"], dtype=torch.float64, requires_grad=True) for row in ROWS]
    batches = [batch_of(list(indices), parameters) for indices in cut]
    found = {id(inputs["completion_ids"]): logprobs for inputs, logprobs in batches}

    def look_up(model, input_ids, attention_mask, logits_to_keep, **_):
        logprobs = next(
            v for inputs, v in batches if torch.equal(input_ids[:, -logits_to_keep:], inputs["completion_ids"])
        )
        return logprobs, torch.zeros_like(logprobs), None

    assert len(found) == len(cut)
    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", look_up)
    trainer.model.train()
    trainer._buffered_inputs = [inputs for inputs, _ in batches]
    loss = 0.0
    for inputs, _ in batches:
        part = trainer.compute_loss(trainer.model, inputs)
        part.backward()
        loss += part.item()

    expected = GOLDEN["expected"][weight]
    assert loss == pytest.approx(expected["policy_loss"] + kl_coefficient * expected["kl_loss"], abs=1e-12)
    for parameter, policy, kl in zip(parameters, expected["policy_gradient"], expected["kl_gradient"], strict=True):
        whole = torch.tensor(policy, dtype=torch.float64) + kl_coefficient * torch.tensor(kl, dtype=torch.float64)
        torch.testing.assert_close(parameter.grad, whole, rtol=0, atol=1e-12)
