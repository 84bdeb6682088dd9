"""verl's own configuration: composed, checked key by key, completed with ours.

Hydra would refuse an unknown key, but not one that verl reads no longer; and it would add one that is written with a
plus. So a key must be in verl's own files, or a field of the dataclass behind them, or lie where verl passes on all
keys.
"""

import dataclasses
import importlib
import importlib.resources
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from workflow_r1.engines.verl.options import Option
from workflow_r1.errors import ConfigError
from workflow_r1.nearest import nearest

PASSED_ON = (
    "ray_kwargs.ray_init",
    "actor_rollout_ref.model.override_config",
    "actor_rollout_ref.rollout.engine_kwargs",
    "actor_rollout_ref.actor.fsdp_config.mixed_precision",
    "actor_rollout_ref.ref.fsdp_config.mixed_precision",
    "data.apply_chat_template_kwargs",
)
"""Sections whose contents verl hands to Ray, transformers, the inference engine, or FSDP."""

READ_NO_MORE = {
    "actor_rollout_ref.actor.grad_clip": "actor_rollout_ref.actor.optim.clip_grad",
    "actor_rollout_ref.actor.clip_ratio": "actor_rollout_ref.actor.clip_ratio_low",
}
"""Keys in verl's files that no code behind our loss reads, and the keys that it reads instead."""


def compose_defaults() -> DictConfig:
    """Verl's configuration of its trainer as it ships."""
    GlobalHydra.instance().clear()
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        return compose(config_name="ppo_trainer")


def complete(options: Iterable[Option], own: Mapping[str, Any]) -> DictConfig:
    """Set our options and the user's in verl's configuration.

    Args:
        options: result of ``translate``.
        own: options of ``verl.options``, by their dotted names.

    Returns:
        verl's whole configuration, interpolations unresolved.

    Raises:
        ConfigError: verl does not know a key or reads it no more, or a user's option is set by a key of ours.
    """
    config = compose_defaults()
    legacy = _legacy_keys()
    sources = {option.key: option.source for option in options}
    for key in own:
        if key in sources:
            raise ConfigError(f"verl.options: {key} is set from {sources[key]}: set that instead")
    for key, value in {**{option.key: option.value for option in options}, **own}.items():
        _check(config, key, legacy)
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    return config


def _check(config: DictConfig, key: str, legacy: frozenset[str]) -> None:
    """Refuse a key that verl would not read.

    Raises:
        ConfigError: names the nearest key that it reads.
    """
    if any(key == place or key.startswith(f"{place}.") for place in PASSED_ON):
        return
    if key in READ_NO_MORE:
        raise ConfigError(f"verl no longer reads {key}: set {READ_NO_MORE[key]}")
    if any(key == old or key.startswith(f"{old}.") for old in legacy):
        raise ConfigError(f"verl no longer reads {key}: its place is below reward, e.g. reward.{key}")
    parent, _, name = key.rpartition(".")
    section = OmegaConf.select(config, parent) if parent else config
    known = sorted(_names(section)) if isinstance(section, DictConfig) else []
    if name not in known:
        near = nearest(name, known)
        elsewhere = [path for path in _paths(config) if path.rpartition(".")[2] == name]
        meant = f"{parent}.{near}" if near else next(iter(elsewhere), None)
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise ConfigError(f"verl has no option {key}{hint}")


def _names(section: DictConfig) -> set[str]:
    """Return the names in a section, by verl's files and by the dataclass that they are read into."""
    names = {str(name) for name in section}
    target = section.get("_target_") if "_target_" in section else None
    if isinstance(target, str):
        module, _, name = target.rpartition(".")
        declared = getattr(importlib.import_module(module), name, None)
        if dataclasses.is_dataclass(declared):
            names |= {field.name for field in dataclasses.fields(declared)}
    return names - {"_target_"}


def _paths(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in config:
        value = config._get_node(name)
        yield f"{prefix}{name}"
        if isinstance(value, DictConfig) and not isinstance(value, ListConfig) and not value._is_none():
            yield from _paths(value, f"{prefix}{name}.")


def _legacy_keys() -> frozenset[str]:
    """Sections that verl keeps for old configurations and moves elsewhere or forgets."""
    text = importlib.resources.files("verl.trainer.config").joinpath("legacy_reward_impl.yaml").read_text("utf-8")
    return frozenset(str(key) for key in OmegaConf.create(text))
