"""Weights that are cast beforehand against autocast's own, to the last bit."""

from types import SimpleNamespace

import pytest
import torch

from workflow_r1.config.loading import load_run_config
from workflow_r1.policy.precision import CastWeights, bfloat16_slowdown, cast_for_good
from workflow_r1.running.policies import open_policy

KINDS = ["llama", "qwen3", "gemma2", "gpt2", "mixtral", "adapters", "adapters of experts"]


@pytest.fixture
def make(model_of):
    def make(kind):
        if not kind.startswith("adapters"):
            return model_of(kind).eval()
        peft = pytest.importorskip("peft")
        base = model_of("mixtral" if kind.endswith("experts") else "llama")
        return peft.get_peft_model(
            base, peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        ).eval()

    return make


def logits_of(model, num_kept=0):
    ids = torch.arange(3, 37).view(2, -1) * 7 % 261
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return model(input_ids=ids, use_cache=False, logits_to_keep=num_kept).logits


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft reads transformers' old name.
@pytest.mark.filterwarnings("ignore:The following .* keys did not match:RuntimeWarning")  # Patterns of peft's own.
@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_autocast_and_the_model_is_left_as_it_was(monkeypatch, make, kind, packs):
    if not packs:
        monkeypatch.setattr("workflow_r1.policy.precision._has_packed_products", lambda: False)
    model = make(kind)
    before = {name: (id(value), value.clone()) for name, value in model.named_parameters()}
    expected = logits_of(model)
    cast = CastWeights(model, torch.bfloat16)
    cast.refresh()
    with cast.in_place():
        assert torch.equal(logits_of(model), expected)
        assert logits_of(model, torch.zeros(0, dtype=torch.long)).shape[1] == 0
    assert torch.equal(logits_of(model), expected)
    after = {name: (id(value), value) for name, value in model.named_parameters()}
    assert before.keys() == after.keys()
    for name, (identity, value) in before.items():
        assert identity == after[name][0] and torch.equal(value, after[name][1])


@pytest.mark.parametrize("packs", [True, False])
def test_only_weights_that_changed_are_cast_again(monkeypatch, make, packs):
    if not packs:
        monkeypatch.setattr("workflow_r1.policy.precision._has_packed_products", lambda: False)
    model = make("llama")
    changed = model.model.layers[1].mlp.up_proj
    cast = CastWeights(model, torch.bfloat16)
    cast.refresh()
    with torch.no_grad():
        changed.weight.mul_(1.5)
    kept = {id(place): held_by(place) for place in cast._places}
    cast.refresh()
    assert [held_by(place) is not kept[id(place)] for place in cast._places].count(True) == 1
    with cast.in_place():
        assert torch.equal(logits_of(model), logits_of(make_same(make, changed)))


def held_by(place):
    return place._packed if hasattr(place, "_packed") else place._copy


def make_same(make, changed):
    model = make("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.copy_(changed.weight)
    return model


def test_nothing_is_cast_while_no_type_is_given(make):
    model = make("llama")
    cast = CastWeights(model, None)
    cast.refresh()
    assert cast._places == []


def test_a_policy_that_is_only_sampled_from_keeps_its_matrices_in_one_type(make):
    model = make("llama")
    expected = logits_of(model)
    cast_for_good(model, torch.bfloat16)
    assert torch.equal(logits_of(model), expected)
    assert model.get_output_embeddings().weight.dtype == torch.bfloat16
    assert model.get_input_embeddings().weight.dtype == torch.float32
    assert model.model.norm.weight.dtype == torch.float32


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_an_evaluated_policy_is_held_in_the_precision_of_the_configuration(precision, dtype):
    config = load_run_config("embedded", [f"optimiser.precision={precision}", "policy.threads=1"])
    policy, _ = open_policy(config, temperature=0.0, accounts=None)
    assert policy._model.get_output_embeddings().weight.dtype == dtype


def test_the_slowdown_is_that_of_the_shortest_tries(monkeypatch):
    # Starts and ends of three products in bfloat16 (9, 4 and 7 s), then of three in float32 (3, 2 and 2.5 s).
    clock = iter([0, 9, 10, 14, 20, 27, 30, 33, 40, 42, 50, 52.5])
    monkeypatch.setattr("workflow_r1.policy.precision.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert bfloat16_slowdown.__wrapped__() == 2.0


def test_the_slowdown_of_this_processor_is_measured_once():
    assert bfloat16_slowdown() == bfloat16_slowdown()
    assert bfloat16_slowdown.cache_info().misses == 1
