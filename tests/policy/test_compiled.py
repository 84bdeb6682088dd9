"""The compiled functions against torch's own, and where they are kept."""

import pytest
import torch
from torch import nn

from workflow_r1.policy import compiled as module
from workflow_r1.policy.compiled import compiled_functions
from workflow_r1.policy.decoder import FAMILY, compiled_decoder
from workflow_r1.policy.precision import cast_for_good

compiled = compiled_functions()
needs_compiler = pytest.mark.skipif(compiled is None, reason="there is no C compiler")


@needs_compiler
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(6, 6, 32), (9, 3, 64), (4, 1, 20)])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (5, None), (None, 2.0)])
def test_attention_equals_that_of_a_masked_rectangle(dtype, tolerance, heads, kv_heads, dim, window, softcap):
    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(4, kv_heads, 70, size, generator=generator).to(dtype) for size in (dim, dim + 4))
    slots, positions = torch.tensor([2, 0, 3, 3]), torch.tensor([69, 0, 11, 4])
    query = torch.randn(heads, 4, dim, generator=generator).to(dtype).transpose(0, 1)
    found = compiled.attend(query, keys, values, slots, positions, scaling=0.3, window=window, softcap=softcap)
    assert found.shape == (4, heads, dim + 4)
    at = torch.arange(70)
    hidden = at > positions[:, None]
    if window is not None:
        hidden |= at <= positions[:, None] - window
    seen_keys, seen_values = (
        held[slots].double().repeat_interleave(heads // kv_heads, dim=1) for held in (keys, values)
    )
    scores = torch.einsum("rhd,rhkd->rhk", query.double() * 0.3, seen_keys)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    weights = scores.masked_fill(hidden[:, None], float("-inf")).softmax(-1)
    expected = torch.einsum("rhk,rhkd->rhd", weights, seen_values)
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@needs_compiler
def test_what_is_not_a_number_stays_so():
    keys = torch.zeros(1, 1, 4, 8)
    query = torch.zeros(1, 1, 8)
    query[0, 0, 3] = float("nan")
    zeros = torch.zeros(1, dtype=torch.long)
    found = compiled.attend(query, keys, keys, zeros, zeros + 3, scaling=None, window=None, softcap=None)
    assert found.isnan().all()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_tokens_come_into_their_slots(dtype):
    cache, added = torch.zeros(3, 2, 5, 4, dtype=dtype), torch.randn(2, 3, 4).to(dtype).transpose(0, 1)
    slots, positions = torch.tensor([2, 0, 2]), torch.tensor([4, 1, 0])
    expected = cache.clone()
    expected[slots, :, positions] = added
    compiled.store(cache, added, slots, positions)
    assert torch.equal(cache, expected)


@needs_compiler
def test_norm_rotation_and_gate_equal_those_of_transformers():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

    torch.manual_seed(0)
    x, norm = torch.randn(7, 3, 20) * 3, LlamaRMSNorm(20, eps=1e-3)
    nn.init.normal_(norm.weight)
    with torch.no_grad():
        torch.testing.assert_close(compiled.rms_norm(x, norm.weight, 1e-3), norm(x), atol=1e-6, rtol=1e-6)
    cosines, sines = torch.randn(2, 7, 20)
    expected = apply_rotary_pos_emb(x.transpose(0, 1)[None], x.transpose(0, 1)[None], cosines[None], sines[None])[0]
    rotated = x.clone()
    compiled.rotate(rotated, cosines, sines)
    torch.testing.assert_close(rotated, expected[0].transpose(0, 1), atol=1e-6, rtol=1e-6)
    gate, up = torch.linspace(-200, 200, 999), torch.randn(999)
    found = gate.clone()
    compiled.gated(found, up)
    torch.testing.assert_close(found, nn.functional.silu(gate) * up, atol=1e-6, rtol=1e-6)


@needs_compiler
def test_in_bfloat16_they_round_as_transformers_does_under_autocast():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

    torch.manual_seed(0)
    x, norm = torch.randn(7, 32) * 3, LlamaRMSNorm(32, eps=1e-3)
    nn.init.normal_(norm.weight)
    with torch.no_grad():
        _equal_but_for_a_tie(compiled.rms_norm(x, norm.weight, 1e-3, torch.bfloat16), norm(x).bfloat16())
    heads = torch.randn(7, 3, 20).bfloat16()
    cosines, sines = torch.randn(2, 7, 20)
    each = heads.transpose(0, 1)[None]
    expected = apply_rotary_pos_emb(each, each, cosines[None], sines[None])[0][0].transpose(0, 1).bfloat16()
    compiled.rotate(heads, cosines, sines)
    _equal_but_for_a_tie(heads, expected)
    gate, up = torch.linspace(-30, 30, 999).bfloat16(), torch.randn(999).bfloat16()
    expected = nn.functional.silu(gate) * up
    compiled.gated(gate, up)
    _equal_but_for_a_tie(gate, expected)


def _equal_but_for_a_tie(found, expected):
    """Nearly all numbers are the same bfloat16; where float32 stood next to the middle of two, either will do."""
    assert found.dtype == expected.dtype == torch.bfloat16
    assert (found == expected).float().mean() > 0.98
    torch.testing.assert_close(found, expected, atol=1e-30, rtol=2**-7)


@needs_compiler
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_every_architecture_of_the_family_is_computed(model_of, kind, autocast):
    model = model_of(kind)
    assert type(model).__name__ in FAMILY
    assert compiled_decoder(model, compiled, autocast) is not None
    cast_for_good(model, torch.bfloat16)
    assert (compiled_decoder(model, compiled, autocast) is None) == (autocast is None)


@needs_compiler
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_a_model_that_computes_otherwise_is_left_to_transformers(model_of, autocast):
    model = model_of()
    assert compiled_decoder(model_of("gemma2"), compiled, autocast) is None
    assert compiled_decoder(model.bfloat16(), compiled, autocast) is None
    model = model_of()
    model.model.layers[1].mlp.act_fn = nn.GELU()
    assert compiled_decoder(model, compiled, autocast) is None
    assert not model.training
    assert compiled_decoder(model_of(), compiled, torch.float16) is None


@needs_compiler
def test_the_library_is_made_once_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiled_functions.__wrapped__() is not None
    (library,) = (tmp_path / "workflow-r1").iterdir()
    made = library.stat().st_mtime_ns
    assert compiled_functions.__wrapped__() is not None
    assert [path.stat().st_mtime_ns for path in (tmp_path / "workflow-r1").iterdir()] == [made]


@needs_compiler
def test_a_home_that_cannot_be_written_still_compiles(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    (tmp_path / "file").write_text("")
    assert compiled_functions.__wrapped__() is not None


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_that_works_torch_does_everything(monkeypatch, tmp_path, compiler):
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert module.compiled_functions.__wrapped__() is None
