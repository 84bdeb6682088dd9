"""A configuration that the policy cannot follow is refused before the run, with the numbers and the keys."""

import json

import pytest

from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.errors import ConfigError
from workflow_r1.running.policy_fit import (
    context_room,
    misfits,
    note_slow_precision,
    refuse_misfit,
    slow_precision,
    unlearnt,
)


def config(**sections):
    return RunConfig.model_validate(sections)


@pytest.mark.parametrize(
    ("settings", "room"),
    [
        ({"max_position_embeddings": 100}, 100),
        ({"text_config": {"max_position_embeddings": 300}}, 300),
        ({"max_position_embeddings": None}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_room_is_read_from_the_model(tmp_path, settings, room):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert context_room(config(policy={"model": str(tmp_path)})) == room


def test_what_is_not_here_has_no_known_room(tmp_path):
    assert context_room(config(policy={"model": "owner/model"})) is None
    assert context_room(config(policy={"model": "m", "base_url": "http://127.0.0.1:1"})) is None
    (tmp_path / "config.json").write_text("{")
    assert context_room(config(policy={"model": str(tmp_path)})) is None


def test_budgets_that_cannot_fit_are_refused_with_numbers_and_keys(tmp_path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 300}')
    policy = {"model": str(tmp_path)}
    fitting = {"max_prompt_tokens": 100, "max_response_tokens": 200}
    refuse_misfit(config(policy=policy, environment=fitting))
    with pytest.raises(
        ConfigError, match=r"room for 300 tokens, and a trajectory may take 301 .*max_response_tokens = 201"
    ):
        refuse_misfit(config(policy=policy, environment=fitting | {"max_response_tokens": 201}))


def test_the_quickstart_fits_its_policy():
    assert list(misfits(load_run_config("embedded"))) == []


def test_what_the_embedded_policy_has_not_learnt_is_said():
    told = list(unlearnt(load_run_config("embedded", ['environment.operators=["Search", "Mine"]'])))
    assert [finding.subject for finding in told] == ["pool"] and "will not call Mine" in told[0].found
    told = list(unlearnt(load_run_config("embedded", ["environment.prompt_style=full"])))
    assert [finding.subject for finding in told] == ["prompt"]
    assert list(unlearnt(config(policy={"model": "owner/model"}))) == []


@pytest.mark.parametrize(("slowdown", "warned"), [(0.4, False), (1.9, False), (45.0, True)])
def test_bfloat16_on_a_processor_that_is_slow_at_it_is_warned_of(monkeypatch, slowdown, warned):
    monkeypatch.setattr("workflow_r1.policy.precision.bfloat16_slowdown", lambda: slowdown)
    settings = load_run_config("embedded", ["optimiser.precision=bfloat16"])
    assert [finding.subject for finding in slow_precision(settings)] == ["precision"] * warned
    told = []
    note_slow_precision(settings, told.append)
    expected = "a matrix product takes 45 times as long as in float32; begin with -o optimiser.precision=float32"
    assert [event.line.partition("bfloat16: ")[2] for event in told] == [expected] * warned


def test_where_nothing_is_computed_in_bfloat16_nothing_is_measured(monkeypatch):
    monkeypatch.setattr("workflow_r1.policy.precision.bfloat16_slowdown", lambda: pytest.fail("measured"))
    assert list(slow_precision(load_run_config("embedded"))) == []
    served = config(policy={"model": "m", "base_url": "http://127.0.0.1:1"}, optimiser={"precision": "bfloat16"})
    assert list(slow_precision(served)) == []


def test_adapters_over_a_base_in_bfloat16_need_both_keys(monkeypatch):
    monkeypatch.setattr("workflow_r1.policy.precision.bfloat16_slowdown", lambda: 45.0)
    lora = ["optimiser.precision=bfloat16", "optimiser.lora.rank=4", "optimiser.lora.base_precision=bfloat16"]
    (finding,) = slow_precision(load_run_config("embedded", lora))
    assert finding.remedy.endswith("-o optimiser.precision=float32 -o optimiser.lora.base_precision=float32")
