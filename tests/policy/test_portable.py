import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from workflow_r1.embedded import policy_directory
from workflow_r1.policy.portable import make_portable

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def save_model(directory, rope):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.5,
        rope_parameters=rope,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return json.loads((directory / "config.json").read_text())


def test_rotary_parameters_are_said_in_both_words_and_mean_the_same(tmp_path):
    """transformers 4.57 reads ``rope_theta`` and ``rope_scaling`` alone, and takes 10,000 where they are absent."""
    ids = torch.arange(3, 30)[None]
    for number, rope in enumerate(({"rope_theta": 5e4, "rope_type": "default"}, {"rope_theta": 5e4, **LLAMA3})):
        directory = tmp_path / str(number)
        before = save_model(directory, rope)
        expected = AutoModelForCausalLM.from_pretrained(directory)(input_ids=ids).logits
        make_portable(directory)
        after = json.loads((directory / "config.json").read_text())
        assert after["rope_theta"] == 5e4
        assert after.get("rope_scaling") == (LLAMA3 if number else None)
        assert {key: after[key] for key in before} == before
        assert torch.equal(AutoModelForCausalLM.from_pretrained(directory)(input_ids=ids).logits, expected)


def test_a_tokenizer_is_said_in_older_words_and_stays_the_same(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(policy_directory())
    tokenizer.add_special_tokens({"extra_special_tokens": ["<one>", "<two>"]})
    tokenizer.save_pretrained(tmp_path)
    make_portable(tmp_path)
    values = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert values["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert values["additional_special_tokens"] == ["<one>", "<two>"] and "extra_special_tokens" not in values
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "<one>Where was Mira born?<two>"
    assert again.encode(text) == tokenizer.encode(text)
    assert again.all_special_tokens == tokenizer.all_special_tokens
    assert again.chat_template == tokenizer.chat_template


def test_the_policy_that_ships_is_portable(tmp_path):
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((policy_directory() / name).read_bytes())
    make_portable(tmp_path)
    for name in ("config.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((policy_directory() / name).read_text())
