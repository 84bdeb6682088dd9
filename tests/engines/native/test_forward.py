import copy
import math

import pytest
import torch

from workflow_r1.errors import UserError
from workflow_r1.policy import forward
from workflow_r1.policy.forward import check_head, shares_prefixes, token_scores
from workflow_r1.policy.packing import pack
from workflow_r1.policy.prefix_trees import prefix_trees, tree_batch


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


def alike(trajectories):
    """Rows of which some are equal, and some begin alike: each trajectory, its first turn alone, and the first again."""
    short = [each.model_copy(update={"turns": each.turns[:1], "id": f"{each.id}-short"}) for each in trajectories]
    return [*trajectories, *short, trajectories[0]]


def as_trees(batch, hidden_size=2**20):
    rows = [ids[:length] for ids, length in zip(batch.input_ids.tolist(), batch.lengths.tolist(), strict=True)]
    trees = tree_batch(prefix_trees(rows, hidden_size=hidden_size), batch, pad_token_id=0)
    return batch.rows(trees.rows), trees


@pytest.mark.parametrize("hidden_size", [None, 2**20])
def test_trees_change_neither_scores_nor_the_gradient_of_a_function_of_the_rows(model, trajectories, hidden_size):
    model = model.double()
    rows, trees = as_trees(pack(alike(trajectories), pad_token_id=0), hidden_size)
    assert trees.input_ids.numel() < rows.input_ids.numel()
    weights = torch.randn(rows.input_ids.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def scores_and_gradient(**layout):
        model.zero_grad()
        scores = token_scores(model, rows, statistics=True, temperature=0.9, **layout)
        (scores.logprobs.exp() * weights).sum().backward()
        return scores, [p.grad.clone() for p in model.parameters()]

    expected, expected_gradient = scores_and_gradient()
    scores, gradient = scores_and_gradient(trees=trees)
    torch.testing.assert_close(scores.logprobs, expected.logprobs, atol=1e-12, rtol=0)
    torch.testing.assert_close(scores.entropy, expected.entropy, atol=1e-12, rtol=0)
    assert torch.equal(scores.is_argmax, expected.is_argmax)
    for ours, theirs in zip(gradient, expected_gradient, strict=True):
        # The norms of a Llama compute in float32 whatever their input is.
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)


def test_rows_that_share_nothing_are_scored_to_the_bit_as_without_trees(model, trajectories):
    rows, trees = as_trees(pack(trajectories, pad_token_id=0))
    assert trees.attends is None and trees.rows == list(range(len(trajectories)))
    assert torch.equal(token_scores(model, rows, trees=trees).logprobs, token_scores(model, rows).logprobs)


def test_a_model_that_keeps_its_own_mask_shares_nothing(model):
    assert shares_prefixes(model)
    for setting in ({"sliding_window": 4096}, {"layer_types": ["full_attention", "linear_attention"]}):
        other = copy.deepcopy(model)
        for name, value in setting.items():
            setattr(other.config, name, value)
        assert not shares_prefixes(other)
    other = copy.deepcopy(model)
    other.set_attn_implementation("eager")
    assert not shares_prefixes(other)


@pytest.mark.parametrize("ignored", ["position_ids", "attention_mask"])
def test_a_model_that_ignores_positions_or_mask_shares_nothing(model, ignored):
    decoder = model.model.forward
    model.model.forward = lambda **given: decoder(**{key: value for key, value in given.items() if key != ignored})
    assert not shares_prefixes(model)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_of_tokens_have_their_derivative(temperature):
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    targets = torch.tensor([0, 6, 2, 2, 5])

    weights = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0], dtype=torch.float64)
    values, _, _ = forward._TokenLogprobs.apply(logits, targets, temperature, True)
    expected = torch.log_softmax(logits / temperature, -1)[range(5), targets]
    torch.testing.assert_close(values, expected, atol=1e-14, rtol=0)
    (gradient,) = torch.autograd.grad(values, logits, weights)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits, weights)[0], atol=1e-14, rtol=0)


def test_the_entropy_leaves_out_impossible_tokens():
    """Half, a quarter, a quarter, and one that cannot be: 1.5 bits."""
    logits = torch.tensor([[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]]).log()
    values, entropies, hits = forward._TokenLogprobs.apply(logits, torch.tensor([1, 0]), 1.0, True)
    torch.testing.assert_close(entropies, torch.tensor([1.5 * math.log(2), 0.0]))
    torch.testing.assert_close(values, torch.tensor([-2 * math.log(2), 0.0]))
    assert hits.tolist() == [False, True]


def test_the_head_keeps_one_table_for_the_backward_pass():
    """Logits and probabilities are the only tables of the vocabulary that live through a forward pass."""
    logits = torch.randn(8, 1000, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value) or value, lambda value: value):
        forward._TokenLogprobs.apply(logits, torch.arange(8), 1.0, True)
    assert [value.shape for value in kept if value.numel() > 1000] == [(8, 1000)]
