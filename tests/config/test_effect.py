"""Keys that belong to a source or kind that is not chosen."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from workflow_r1.config import RunConfig, dump_toml, load_run_config
from workflow_r1.config.effect import _NEEDED
from workflow_r1.config.loading import PRESETS
from workflow_r1.config.run import DataConfig
from workflow_r1.errors import ConfigError

EXAMPLES = sorted(
    path for folder in ("examples", "configs") for path in (Path(__file__).parents[2] / folder).glob("*.toml")
)

WITHOUT_EFFECT = {
    "data.source": (["task=textarena", "data.source=files"], "task=qa"),
    "environment.task_timeout_seconds": (["environment.task_timeout_seconds=3"], "task=textarena"),
    "data.train": (["data.train=q.jsonl"], "data.source=files"),
    "data.evaluation": (["data.evaluation=q.jsonl"], "data.source=files"),
    "data.format": (["data.format=csv"], "data.source=files"),
    "data.columns": (["data.columns.question=q"], "data.source=files"),
    "embedded.classes": (["data.source=files", "embedded.classes.four-hop=1.0"], "data.source=embedded"),
    "embedded.reading": (["data.source=files", "embedded.reading=0.5"], "data.source=embedded"),
    "embedded.padding": (["data.source=files", "embedded.padding=[1, 2]"], "data.source=embedded"),
    "embedded.restating": (["data.source=files", "embedded.restating=true"], "data.source=embedded"),
    "embedded.strategy": (["data.source=files", "embedded.strategy.check=0.5"], "data.source=embedded"),
    "policy.tokenizer": (["policy.tokenizer=t"], "policy.base_url=http://127.0.0.1:9/v1"),
    "policy.exchange": (["policy.exchange=chat"], "policy.base_url=http://127.0.0.1:9/v1"),
    "policy.api_key_env": (["policy.api_key_env=KEY"], "policy.base_url=http://127.0.0.1:9/v1"),
    "llm.base_url": (["llm.base_url=http://127.0.0.1:9/v1"], "llm.kind=openai"),
    "llm.model": (["llm.model=m"], "llm.kind=openai"),
    "llm.api_key_env": (["llm.api_key_env=KEY"], "llm.kind=openai"),
    "llm.concurrency": (["llm.concurrency=3"], "llm.kind=openai"),
    "llm.send_seed": (["llm.send_seed=true"], "llm.kind=openai"),
    "llm.extra_body": (["llm.extra_body.top_k=3"], "llm.kind=openai"),
    "llm.length_field": (["llm.length_field=max_completion_tokens"], "llm.kind=openai"),
    "llm.leave_out": (["llm.leave_out=['stop']"], "llm.kind=openai"),
    "llm.cool_down_seconds": (["llm.cool_down_seconds=3"], "llm.kind=openai"),
    "llm.roles": (["llm.roles.default=['llm']"], "llm.kind=openai"),
    "llm.endpoints": (["llm.endpoints.x.model=m", "llm.roles.default=['x']"], "llm.kind=openai"),
    "llm.timeout_seconds": (["llm.timeout_seconds=3"], "policy.base_url=http://127.0.0.1:9/v1"),
    "llm.idle_timeout_seconds": (["llm.idle_timeout_seconds=3"], "llm.kind=openai"),
    "llm.max_retries": (["llm.max_retries=0"], "llm.kind=openai"),
    "llm.check_model": (["llm.check_model=false"], "llm.kind=openai"),
    "search.corpus": (["search.corpus=c.jsonl"], "search.kind=bm25"),
    "search.index": (["search.index=i"], "search.kind=bm25"),
    "search.server": (["search.server.concurrency=2"], "search.kind=server"),
    "search.web": (["search.web.url=http://127.0.0.1:9"], "search.kind=web"),
    "search.callable": (["search.callable.function=json:dumps"], "search.kind=callable"),
    "search.mcp": (["search.mcp.tool=t"], "search.kind=mcp"),
    "search.mcp.environment": (["search.kind=mcp", "search.mcp.tool=t", "search.mcp.environment=['K']"], "search.mcp.command=['x']"),
    "search.mcp.api_key_env": (["search.kind=mcp", "search.mcp.tool=t", "search.mcp.api_key_env=K"], "search.mcp.url=http://127.0.0.1:9"),
    "search.mcp.separator": (["search.kind=mcp", "search.mcp.tool=t", "search.mcp.reply=json", "search.mcp.separator=x"], "search.mcp.reply=text"),
    "search.mcp.list_field": (["search.kind=mcp", "search.mcp.tool=t", "search.mcp.list_field=x"], "search.mcp.reply=json"),
    "reward.cost.kind": (["objective.advantage=group_centred", "reward.cost.kind=turns"], "reward.cost.dial=0.5"),
    "store.path": (["store.path=s.sqlite3"], "store.mode=use"),
    "store.by_address": (["store.by_address=false"], "store.mode=record"),
    "sampling.server": (["engine=trl", "sampling.server.max_lag=1"], "engine=native"),
    "objective.clip_low": (["objective.clip=none", "objective.clip_low=0.1"], "objective.clip=fixed"),
    "objective.clip_high": (["objective.preset=sapo", "objective.clip_high=0.1"], "objective.clip=cispo"),
    "objective.clip_reference_length": (["objective.clip=sapo", "objective.clip_reference_length=1"], "objective.clip=matched"),
    "objective.clip_share": (["objective.clip_share=0.1"], "objective.clip=matched"),
    "objective.dual_clip": (["objective.clip=cispo", "objective.dual_clip=3"], "objective.clip=fixed"),
    "objective.sapo_temperature_positive": (["objective.sapo_temperature_positive=2"], "objective.clip=sapo"),
    "objective.sapo_temperature_negative": (["objective.sapo_temperature_negative=2"], "objective.preset=sapo"),
    "objective.weight_length": (["objective.weight_length=9"], "objective.preset=luspo"),
    "objective.correction_cap": (["objective.trust_region=sampler", "objective.correction_cap=2"], "objective.trust_region=current"),
    "training.overlap": (["training.overlap=false"], "training.staleness=1"),
    "training.evaluation_samples": (["engine=trl", "training.evaluation_samples=2"], "engine=native"),
    "sampling.compiled": (["engine=verl", "sampling.compiled=false"], "engine=native"),
    "optimiser.lora.base_precision": (
        ["engine=trl", "optimiser.precision=bfloat16", "optimiser.lora.base_precision=bfloat16"], "engine=native"
    ),
    "trl.micro_batch_rows": (["trl.micro_batch_rows=3"], "engine=trl"),
    "verl.options": (["verl.options.trainer.device=cpu"], "engine=verl"),
    "methods.aflow.temperature": (["methods.aflow.proposer=random", "methods.aflow.temperature=1"], "methods.aflow.proposer=llm"),
}  # fmt: skip
"""Key -> overrides of the embedded preset that set it in vain, and one that gives it an effect."""


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_a_key_without_effect_is_refused_with_what_to_set(key: str) -> None:
    overrides, remedy = WITHOUT_EFFECT[key]
    with pytest.raises(ConfigError) as raised:
        load_run_config(None, overrides)
    (line,) = [line for line in str(raised.value).splitlines() if f": {key}: expected no {key} with " in line]
    assert line.startswith("override ")
    assert f"(on the command line: -o {key}=)" in line
    # A preset sets the switch that the remedy names.
    assert remedy.partition("=")[0] in (*line.partition(": set ")[2].split(), "objective.preset")
    load_run_config(None, [*overrides, remedy])


def test_every_key_of_the_table_is_tried() -> None:
    nothing_is_embedded = {f"embedded.{key}" for key in ("seed", "missing", "recall", "outdated", "namesakes")}
    assert {key for key in _NEEDED if key not in ("trl", "verl")} - set(WITHOUT_EFFECT) == nothing_is_embedded


@pytest.mark.parametrize(
    "dial", ["seed=4", "missing.spouse=0.5", "recall.spouse=0.5", "outdated.spouse=0.5", "namesakes=0.5"]
)
def test_what_search_and_expert_know_needs_a_part_of_the_embedded_world(dial: str) -> None:
    real = ["data.source=files", "llm.kind=openai", "search.kind=none", f"embedded.{dial}"]
    key = dial.partition("=")[0].partition(".")[0]
    with pytest.raises(ConfigError, match=rf"no embedded\.{key} with data\.source = .files. and llm\.kind = .openai."):
        load_run_config("embedded", real)
    for part in ("data.source", "llm.kind", "search.kind"):
        assert load_run_config("embedded", [*real, f"{part}=embedded"]).embedded != load_run_config().embedded


def test_all_of_them_are_named_together_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[data]\nevaluation = "q.jsonl"\n\n[llm]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n')
    with pytest.raises(ConfigError) as raised:
        load_run_config(path, ["trl.micro_batch_rows=2"])
    places = [line.partition(": ")[0] for line in str(raised.value).splitlines()]
    assert places == [f"{path}:2", f"{path}:5", f"{path}:6", "override 'trl.micro_batch_rows=2'"]


def test_python_is_refused_too() -> None:
    with pytest.raises(ValidationError, match=r"expected no data\.evaluation with data\.source"):
        RunConfig(data=DataConfig(evaluation=Path("q.jsonl")))


@pytest.mark.parametrize("source", [*sorted(PRESETS.glob("*.toml")), *EXAMPLES], ids=lambda path: path.stem)
def test_what_ships_loads_and_its_resolved_form_loads_again(source: Path, tmp_path: Path) -> None:
    config = load_run_config(source)
    (tmp_path / "config.toml").write_text(dump_toml(config))
    assert load_run_config(tmp_path / "config.toml") == config


def test_a_default_that_is_spelt_out_is_no_mistake(tmp_path: Path) -> None:
    assert load_run_config(None, ["llm.concurrency=32", "trl.micro_batch_rows=8"]) == load_run_config()
