"""The estimates of memory and work, against counts that are known, and as the recipes show them."""

from pathlib import Path

import pytest

from workflow_r1.config import load_run_config
from workflow_r1.embedded import policy_directory
from workflow_r1.engines.verl.estimate import QWEN25_7B, ModelShape, count_parameters, estimate

RECIPES = sorted((Path(__file__).parents[3] / "configs").glob("*.toml"))


def test_parameters_are_those_of_the_model() -> None:
    assert QWEN25_7B.parameters == 7_615_616_512  # By its model card: 7.61B.
    shape = ModelShape.read(policy_directory() / "config.json")
    assert shape.parameters == count_parameters(policy_directory())


def test_cache_of_a_token_is_two_numbers_for_each_layer_and_key() -> None:
    assert QWEN25_7B.cache_bytes_per_token == 2 * 28 * 512 * 2


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_show_what_is_computed_today(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = estimate(load_run_config(path), QWEN25_7B)
    assert [line for line in lines if f"#   * {line}\n" not in text] == []
    [update] = [line for line in lines if line.startswith("update, in all")]
    needed, available = update.rpartition("= ")[2].split(" GiB of ")
    assert float(needed) < 0.92 * float(available)


def test_offload_and_sharding_change_what_a_gpu_holds() -> None:
    config = load_run_config(RECIPES[0])
    offloaded = config.model_copy(update={"verl": config.verl.model_copy(update={"offload": True})})
    kept = config.model_copy(update={"verl": config.verl.model_copy(update={"offload": False})})
    assert any(line.startswith("host memory") for line in estimate(offloaded, QWEN25_7B))
    assert any(line.startswith("rollout, beside") for line in estimate(kept, QWEN25_7B))
