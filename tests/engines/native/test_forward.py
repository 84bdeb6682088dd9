import pytest
import torch

from workflow_r1.errors import UserError
from workflow_r1.policy import forward
from workflow_r1.policy.forward import check_head, token_scores
from workflow_r1.policy.packing import pack


def full_vocabulary(model, batch, temperature=1.0):
    """Log-probabilities of all next tokens, row by row, without padding: (B, T, V), column t describes token t."""
    rows = []
    for ids, length in zip(batch.input_ids, batch.lengths, strict=True):
        logits = model(input_ids=ids[None, :length]).logits[0].double() / temperature
        shifted = torch.cat([torch.zeros(1, logits.shape[1]), torch.log_softmax(logits, -1)[:-1]])
        rows.append(torch.cat([shifted, torch.zeros(batch.input_ids.shape[1] - length, logits.shape[1])]))
    return torch.stack(rows)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_equals_the_full_vocabulary_without_padding(model, trajectories, temperature):
    batch = pack(trajectories, pad_token_id=0)
    assert batch.lengths.min() < batch.lengths.max()
    scores = token_scores(model, batch, temperature=temperature, statistics=True)
    table = full_vocabulary(model, batch, temperature)
    policy = batch.turn_ids > 0
    expected = table.gather(-1, batch.input_ids[..., None]).squeeze(-1) * policy
    torch.testing.assert_close(scores.logprobs.double(), expected, atol=2e-6, rtol=0)
    entropy = -(table.exp() * table).sum(-1) * policy
    torch.testing.assert_close(scores.entropy.double(), entropy, atol=1e-5, rtol=0)
    assert torch.equal(scores.is_argmax, (table.argmax(-1) == batch.input_ids) & policy)


def test_all_tokens_may_be_scored(model, trajectories):
    batch = pack(trajectories, pad_token_id=0)
    scores = token_scores(model, batch, positions=batch.attention_mask)
    expected = full_vocabulary(model, batch).gather(-1, batch.input_ids[..., None]).squeeze(-1)
    expected = expected * batch.attention_mask
    expected[:, 0] = 0
    torch.testing.assert_close(scores.logprobs.double(), expected, atol=2e-6, rtol=0)


def test_chunks_change_neither_values_nor_gradients(model, trajectories, monkeypatch):
    batch = pack(trajectories, pad_token_id=0)

    def scores_and_gradient():
        model.zero_grad()
        scores = token_scores(model, batch, statistics=True)
        (scores.logprobs * torch.linspace(0, 1, scores.logprobs.shape[1])).sum().backward()
        return scores, [p.grad.clone() for p in model.parameters()]

    whole, whole_gradient = scores_and_gradient()
    monkeypatch.setattr(forward, "LOGIT_CHUNK_ELEMENTS", 259 * 5)
    chunked, chunked_gradient = scores_and_gradient()
    torch.testing.assert_close(chunked.logprobs, whole.logprobs, atol=1e-6, rtol=0)
    torch.testing.assert_close(chunked.entropy, whole.entropy, atol=5e-6, rtol=0)
    assert torch.equal(chunked.is_argmax, whole.is_argmax)
    for ours, theirs in zip(chunked_gradient, whole_gradient, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_autocast_keeps_float32_results(model, trajectories):
    batch = pack(trajectories, pad_token_id=0)
    exact = token_scores(model, batch)
    rounded = token_scores(model, batch, precision="bfloat16")
    assert rounded.logprobs.dtype == torch.float32
    assert 0 < (rounded.logprobs - exact.logprobs).abs().max() < 0.2


def test_nothing_to_score(model, trajectories):
    batch = pack(trajectories, pad_token_id=0)
    scores = token_scores(model, batch, positions=torch.zeros_like(batch.attention_mask))
    assert not scores.logprobs.any()


def test_a_model_that_changes_its_logits_is_refused(model):
    check_head(model)

    def scaled(module, inputs, output):
        output.logits = output.logits * 0.5
        return output

    model.register_forward_hook(scaled)
    with pytest.raises(UserError, match="logit cap or scale"):
        check_head(model)
