import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig, MixtralForCausalLM

from workflow_r1.config.training import LoraSettings, OptimiserConfig
from workflow_r1.errors import ConfigError, UserError
from workflow_r1.policy.forward import token_scores
from workflow_r1.policy.model import describe, load_policy_model, save_policy
from workflow_r1.policy.packing import pack


def with_policy(config, **values):
    return config.model_copy(update={"policy": config.policy.model_copy(update=values)})


def with_optimiser(config, **values):
    return config.model_copy(update={"optimiser": config.optimiser.model_copy(update=values)})


def load(config):
    optimiser = config.optimiser
    return load_policy_model(
        config.policy, lora=optimiser.lora, gradient_checkpointing=optimiser.gradient_checkpointing, seed=config.seed
    )


def edited_copy(source, target, **tokenizer_config):
    shutil.copytree(source, target)
    (target / "chat_template.jinja").unlink(missing_ok=True)
    path = target / "tokenizer_config.json"
    values = json.loads(path.read_text())
    values.pop("chat_template", None)
    path.write_text(json.dumps({k: v for k, v in {**values, **tokenizer_config}.items() if v is not None}))
    return target


def test_float32_masters_without_dropout(run_config):
    model, tokenizer = load(run_config)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training
    assert tokenizer.pad_token_id is not None
    figures = describe(model)
    assert figures["num_parameters"] == figures["num_trainable_parameters"] > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("./nowhere", "there is no directory"), ("/nowhere/at/all", "there is no directory"), ("word", "hub name")],
)
def test_a_missing_model(run_config, name, message):
    with pytest.raises(UserError, match=message):
        load(with_policy(run_config, model=name))


def test_a_directory_without_a_model(run_config, tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        load(with_policy(run_config, model=str(tmp_path)))


def test_an_unreadable_model(run_config, model_directory, tmp_path):
    target = tmp_path / "m"
    shutil.copytree(model_directory, target)
    (target / "model.safetensors").unlink()
    with pytest.raises(UserError, match="expected a Hugging Face causal language model"):
        load(with_policy(run_config, model=str(target)))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_was_cut_off_is_one_line(run_config, model_directory, tmp_path, name):
    target = tmp_path / "m"
    shutil.copytree(model_directory, target)
    whole = (target / name).read_bytes()
    (target / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as caught:
        load(with_policy(run_config, model=str(target)))
    assert str(target) in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_that_lacks_weights_is_not_filled_with_random_ones(run_config, model_directory, tmp_path):
    target = tmp_path / "m"
    shutil.copytree(model_directory, target)
    weights = load_file(target / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 are missing, model\.layers\.1\.mlp\.up_proj\.weight"):
        load(with_policy(run_config, model=str(target)))


def test_a_missing_device(run_config):
    with pytest.raises(ConfigError, match=r"policy\.device"):
        load(with_policy(run_config, device="warp9"))


def test_a_tokenizer_without_chat_template(run_config, model_directory, tmp_path):
    target = edited_copy(model_directory, tmp_path / "m")
    with pytest.raises(UserError, match="chat template"):
        load(with_policy(run_config, model=str(target)))


def test_a_tokenizer_without_end_of_turn(run_config, model_directory, tmp_path):
    target = edited_copy(model_directory, tmp_path / "m", chat_template="{{ messages }}", eos_token=None)
    with pytest.raises(UserError, match="end-of-turn"):
        load(with_policy(run_config, model=str(target)))


def test_a_missing_pad_token_is_no_fault(run_config, model_directory, tmp_path):
    target = edited_copy(model_directory, tmp_path / "m", chat_template="{{ messages }}", pad_token=None)
    _, tokenizer = load(with_policy(run_config, model=str(target)))
    assert tokenizer.pad_token == "<|im_end|>"


def test_a_tokenizer_of_another_model(run_config, model_directory, tmp_path):
    target = tmp_path / "m"
    shutil.copytree(model_directory, target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(target)
    with pytest.raises(UserError, match="do not belong together"):
        load(with_policy(run_config, model=str(target)))


def test_adapters_change_nothing_at_first_and_are_the_only_thing_trained(run_config, trajectories):
    batch = pack(trajectories)
    base, _ = load(run_config)
    adapted, _ = load(with_optimiser(run_config, lora=LoraSettings(rank=4)))
    with torch.no_grad():
        assert torch.equal(token_scores(base, batch).logprobs, token_scores(adapted, batch).logprobs)
    assert {name.split(".")[-3] for name, p in adapted.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}


def randomise_adapters(model, scale=0.2):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def test_with_adapters_disabled_the_model_is_the_reference(run_config, trajectories):
    batch = pack(trajectories)
    base, _ = load(run_config)
    adapted, _ = load(with_optimiser(run_config, lora=LoraSettings(rank=4)))
    randomise_adapters(adapted)
    with torch.no_grad():
        expected = token_scores(base, batch).logprobs
        assert not torch.allclose(token_scores(adapted, batch).logprobs, expected, atol=1e-2)
        with adapted.disable_adapter():
            assert torch.equal(token_scores(adapted, batch).logprobs, expected)


def test_adapters_are_saved_merged_and_kept(run_config, trajectories, tmp_path):
    batch = pack(trajectories)
    adapted, tokenizer = load(with_optimiser(run_config, lora=LoraSettings(rank=4)))
    randomise_adapters(adapted)
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    save_policy(adapted, tokenizer, tmp_path / "policy")
    assert all(torch.equal(value, before[name]) for name, value in adapted.state_dict().items())
    assert (tmp_path / "policy" / "adapters" / "adapter_config.json").is_file()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    again = load(with_policy(run_config, model=str(tmp_path / "policy")))[0]
    assert type(merged) is type(again)
    with torch.no_grad():
        expected = token_scores(adapted, batch).logprobs
        for model in (merged.eval(), again):
            torch.testing.assert_close(token_scores(model, batch).logprobs, expected, atol=1e-4, rtol=0)


def largest_difference(model, other):
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        return (model(input_ids=ids).logits - other(input_ids=ids).logits).abs().max().item()


@pytest.mark.parametrize("targets", [("lm_head",), ("embed_tokens",), ("q_proj", "lm_head", "embed_tokens")])
def test_adapters_on_a_tied_head_are_saved_as_they_act(run_config, tmp_path, targets):
    """Merged and tied again, the head would be the start's, or its change would be the embedding's as well."""
    start, _ = load(run_config)
    adapted, tokenizer = load(with_optimiser(run_config, lora=LoraSettings(rank=4, target_modules=targets)))
    randomise_adapters(adapted)
    save_policy(adapted, tokenizer, tmp_path / "policy")
    saved, _ = load(with_policy(run_config, model=str(tmp_path / "policy")))
    assert start.config.tie_word_embeddings and not saved.config.tie_word_embeddings
    assert largest_difference(adapted, start) > 0.1
    assert largest_difference(adapted, saved) < 1e-4
    assert adapted.get_base_model().config.tie_word_embeddings  # The live model stays as it is.


def test_adapters_elsewhere_leave_the_head_tied(run_config, tmp_path):
    adapted, tokenizer = load(with_optimiser(run_config, lora=LoraSettings(rank=4)))
    randomise_adapters(adapted)
    save_policy(adapted, tokenizer, tmp_path / "policy")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "policy").config.tie_word_embeddings


def test_a_merge_that_lost_the_training_is_not_saved(run_config, tmp_path, monkeypatch):
    adapted, tokenizer = load(with_optimiser(run_config, lora=LoraSettings(rank=4, target_modules=("lm_head",))))
    save_policy(adapted, tokenizer, tmp_path / "policy")
    before = (tmp_path / "policy" / "model.safetensors").read_bytes()
    randomise_adapters(adapted)
    monkeypatch.setattr("workflow_r1.policy.model.adapts_tied_head", lambda model: False)
    with pytest.raises(RuntimeError, match="the policy was not saved"):
        save_policy(adapted, tokenizer, tmp_path / "policy")
    assert (tmp_path / "policy" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("targets", ["all-linear", ("lm_head", "o_proj")])
@pytest.mark.parametrize("tied", [True, False])
def test_adapters_on_experts_are_saved_as_they_act(run_config, model_directory, tmp_path, targets, tied):
    """Experts are stacked parameters without modules of their own: two adapters stand around one module there."""
    torch.manual_seed(0)
    start = MixtralForCausalLM(
        MixtralConfig(
            vocab_size=259,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=128,
            num_local_experts=3,
            tie_word_embeddings=tied,
            initializer_range=0.1,
        )
    )
    start.save_pretrained(tmp_path / "start")
    for path in model_directory.glob("*token*"):
        shutil.copy(path, tmp_path / "start")
    shutil.copy(model_directory / "chat_template.jinja", tmp_path / "start")
    config = with_policy(run_config, model=str(tmp_path / "start"))
    adapted, tokenizer = load(with_optimiser(config, lora=LoraSettings(rank=2, target_modules=targets)))
    randomise_adapters(adapted)
    save_policy(adapted, tokenizer, tmp_path / "policy")
    saved, _ = load(with_policy(run_config, model=str(tmp_path / "policy")))
    assert largest_difference(adapted, start.eval()) > 0.1
    assert largest_difference(adapted, saved) < 2e-3  # Rounding; a forgotten adapter moves them by more than 0.1.


@pytest.mark.parametrize("targets", [("nothing",), ("q_proj", "nothing"), ("proj",)])
def test_adapters_for_modules_that_are_not_there(run_config, targets):
    with pytest.raises(ConfigError, match="target_modules"):
        load(with_optimiser(run_config, lora=LoraSettings(target_modules=targets)))


def adapted_in(run_config, base_precision, **policy):
    settings = LoraSettings(rank=4, base_precision=base_precision)
    model, tokenizer = load(with_policy(with_optimiser(run_config, lora=settings, precision="bfloat16"), **policy))
    randomise_adapters(model, scale=0.02)
    return model, tokenizer


def gradients_of(model, batch):
    token_scores(model, batch, precision="bfloat16").logprobs.sum().backward()
    return {name: each.grad for name, each in model.named_parameters() if each.requires_grad}


def num_bytes(model):
    return sum(each.numel() * each.element_size() for each in model.parameters() if not each.requires_grad)


@pytest.fixture
def rounded(run_config, tmp_path):
    """A model whose weights are numbers of bfloat16, as those of most saved models are."""
    model, tokenizer = load(run_config)
    with torch.no_grad():
        for each in model.parameters():
            each.copy_(each.bfloat16())
    save_policy(model, tokenizer, tmp_path / "rounded")
    return str(tmp_path / "rounded")


def test_a_base_in_bfloat16_takes_half_and_gives_the_same_gradients(run_config, trajectories, rounded):
    """To the last bit where the weights are numbers of bfloat16; to its rounding where they are not."""
    batch = pack(trajectories)
    for policy, tolerance in ({"model": rounded}, 0.0), ({}, 0.03):
        whole, half = (adapted_in(run_config, kind, **policy)[0] for kind in ("float32", "bfloat16"))
        assert 0.5 <= num_bytes(half) / num_bytes(whole) < 0.51
        assert {each.dtype for each in half.parameters() if each.requires_grad} == {torch.float32}
        base = half.get_base_model()
        assert base.get_output_embeddings().weight is base.get_input_embeddings().weight
        expected, found = gradients_of(whole, batch), gradients_of(half, batch)
        assert expected.keys() == found.keys() and len(found) > 0
        error = sum(float((found[name] - each).square().sum()) for name, each in expected.items())
        size = sum(float(each.square().sum()) for each in expected.values())
        assert (error / size) ** 0.5 <= tolerance


def test_a_base_in_bfloat16_is_saved_whole_and_comes_back(run_config, trajectories, rounded, tmp_path):
    """The saved policy is float32 with the adapters' change unrounded; that of a float32 base has the same weights."""
    saved = {}
    for kind in ("float32", "bfloat16"):
        adapted, tokenizer = adapted_in(run_config, kind, model=rounded)
        save_policy(adapted, tokenizer, tmp_path / kind)
        saved[kind] = load_file(tmp_path / kind / "model.safetensors")
    assert saved["float32"].keys() == saved["bfloat16"].keys()
    assert all(torch.equal(each, saved["bfloat16"][name]) for name, each in saved["float32"].items())


@pytest.mark.parametrize(
    ("values", "message"), [({}, "precision"), ({"precision": "bfloat16", "sharding": "full"}, "sharding")]
)
def test_a_base_in_bfloat16_needs_what_computes_with_it(values, message):
    with pytest.raises(ValueError, match=rf"base_precision.* to come with.*{message}"):
        OptimiserConfig(lora=LoraSettings(base_precision="bfloat16"), **values)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_gradient_checkpointing_changes_no_gradient(run_config, trajectories, lora):
    batch = pack(trajectories)
    gradients = []
    for checkpointing in (False, True):
        model, _ = load(with_optimiser(run_config, lora=lora, gradient_checkpointing=checkpointing))
        if lora:
            randomise_adapters(model)
        model.train()
        token_scores(model, batch).logprobs.sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain, atol=1e-4, rtol=1e-5)
