import math

import pytest
import torch

from workflow_r1.errors import DataError
from workflow_r1.policy.packing import num_tokens, pack
from workflow_r1.trajectory import Question, StopReason, Trajectory, Turn

P, A, E, C, B = 10, 20, 9, 30, 40


def trajectory(turns, prompt=(P, P + 1), identifier="t"):
    return Trajectory(
        id=identifier,
        group_id="g",
        question=Question(id="q", text="?", golden_answers=("x",)),
        prompt_token_ids=prompt,
        turns=turns,
        stop_reason=StopReason.ANSWERED,
    )


def turn(index, tokens, logprobs=(), context=()):
    return Turn(index=index, text="", token_ids=tokens, logprobs=logprobs, context_token_ids=context, well_formed=True)


TWO_TURNS = trajectory(
    (turn(1, (A, E), (-0.3, -0.1), context=(C, C + 1)), turn(2, (B, E), (-0.7, -0.2))), identifier="two"
)
ONE_TURN = trajectory((turn(1, (A, A + 1, E), (-0.4, -0.9, -0.1)),), prompt=(P,), identifier="one")


def test_columns_of_the_docstring():
    batch = pack([TWO_TURNS, ONE_TURN], pad_token_id=99)
    #                                  0  1      2      3    4    5    6    7
    assert batch.input_ids.tolist() == [
        [P, P + 1, A, E, C, C + 1, B, E],
        [P, A, A + 1, E, 99, 99, 99, 99],
    ]
    assert batch.attention_mask.int().tolist() == [[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0]]
    assert batch.turn_ids.tolist() == [[0, 0, 1, 1, 0, 0, 2, 2], [0, 1, 1, 1, 0, 0, 0, 0]]
    expected = torch.tensor([[0, 0, -0.3, -0.1, 0, 0, -0.7, -0.2], [0, -0.4, -0.9, -0.1, 0, 0, 0, 0]])
    assert torch.equal(batch.sampler_logprobs, expected)
    assert batch.lengths.tolist() == [8, 4] == [num_tokens(TWO_TURNS), num_tokens(ONE_TURN)]


def test_rows_are_cut_to_the_longest_of_them():
    batch = pack([TWO_TURNS, ONE_TURN, TWO_TURNS])
    assert torch.equal(batch.rows([1]).input_ids, pack([ONE_TURN]).input_ids)
    assert torch.equal(batch.rows([1, 0]).turn_ids, pack([ONE_TURN, TWO_TURNS]).turn_ids)


def test_missing_log_probabilities_are_nan_on_the_policy_tokens_only():
    batch = pack([trajectory((turn(1, (A, E), context=(C,)),))])
    assert [math.isnan(value) for value in batch.sampler_logprobs[0].tolist()] == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (trajectory((turn(1, (A,)),), prompt=()), "token ids of the prompt"),
        (trajectory((turn(1, ()),)), "token ids that were sampled"),
        (trajectory((turn(1, (A, E), (-0.1,)),)), "one log-probability per token"),
        (trajectory((turn(1, (A, E)), turn(2, (B, E)))), "context tokens between two turns"),
    ],
)
def test_what_cannot_be_packed_is_refused_by_name(bad, message):
    with pytest.raises(DataError, match=message) as error:
        pack([ONE_TURN, bad])
    assert "'t'" in str(error.value)


def test_nothing_to_pack():
    with pytest.raises(DataError, match="at least one trajectory"):
        pack([])
