"""Keys that have an effect only with some values of another key: a key that would have no effect is refused.

A key counts as set where its value is not its default: the configuration that a run writes down, which spells out every
default, is read again as it stands.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from workflow_r1.config.training import USUAL_SWITCHES, ObjectiveConfig


@dataclass(frozen=True, slots=True)
class Needs:
    """A value of another key with which a key has an effect."""

    key: str
    """Section and key, with dots."""
    values: tuple[str, ...] = ()
    """Any of these; none stands for any value at all."""
    but: tuple[str, ...] = ()
    """Values without the effect; any other has it."""
    off: tuple[str, ...] = ()
    """Values that switch the whole off and leave the other keys as they are."""

    def is_met(self, config: BaseModel) -> bool:
        """Return True where the configuration has such a value."""
        value = _look_up(config, self.key)
        if self.but:
            return value not in self.but
        return value in (*self.values, *self.off) if self.values else bool(value)

    def describe(self, config: BaseModel) -> str:
        """Describe the value that the configuration has instead."""
        value = _look_up(config, self.key)
        return f"{self.key} = {json.dumps(value, default=str)}" if value not in (None, ()) else f"no {self.key}"

    def remedy(self) -> str:
        """Describe the value to set."""
        if self.but:
            return f"another {self.key}"
        return f"{self.key} = {json.dumps(self.values[0])}" if self.values else self.key


_FILES = Needs("data.source", ("files",))
_QUESTIONS = Needs("task", ("qa",))
_OTHER_TASKS = Needs("task", but=("qa",))
_ENDPOINT = Needs("llm.kind", ("openai",))
_POLICY_SERVER = Needs("policy.base_url")
_STORE = Needs("store.mode", ("use", "record", "replay"))
_RANGE = Needs("objective.clip", ("fixed", "matched", "cispo"))
_SOFT_GATE = Needs("objective.clip", ("sapo",))

_NEEDED: dict[str, tuple[Needs, ...]] = {
    "data.source": (_QUESTIONS,),
    "environment.task_timeout_seconds": (_OTHER_TASKS,),
    "data.train": (_FILES,),
    "data.evaluation": (_FILES,),
    "data.format": (_FILES,),
    "data.columns": (_FILES,),
    **dict.fromkeys(
        (f"embedded.{key}" for key in ("seed", "missing", "recall", "outdated", "namesakes")),
        (
            Needs("data.source", ("embedded",)),
            Needs("llm.kind", ("embedded",)),
            Needs("search.kind", ("embedded",)),
        ),
    ),
    # Questions and demonstrations of the embedded world.
    **dict.fromkeys(
        (f"embedded.{key}" for key in ("classes", "reading", "padding", "restating", "strategy")),
        (Needs("data.source", ("embedded",)),),
    ),
    **dict.fromkeys(("policy.api_key_env", "policy.tokenizer", "policy.exchange"), (_POLICY_SERVER,)),
    **dict.fromkeys(
        (
            *("llm.base_url", "llm.model", "llm.api_key_env", "llm.concurrency", "llm.send_seed", "llm.extra_body"),
            *("llm.length_field", "llm.leave_out", "llm.cool_down_seconds", "llm.endpoints", "llm.roles"),
        ),
        (_ENDPOINT,),
    ),
    # The policy's server is asked with the same patience.
    **dict.fromkeys(
        ("llm.timeout_seconds", "llm.idle_timeout_seconds", "llm.max_retries", "llm.check_model"),
        (_ENDPOINT, _POLICY_SERVER),
    ),
    **{
        f"search.{key}": (Needs("search.kind", (kind,), off=("none",)),)
        for key, kind in {
            "corpus": "bm25",
            "index": "bm25",
            **{kind: kind for kind in ("server", "web", "callable", "mcp")},
        }.items()
    },
    "search.mcp.environment": (Needs("search.mcp.command"),),
    "search.mcp.api_key_env": (Needs("search.mcp.url"),),
    "search.mcp.separator": (Needs("search.mcp.reply", ("text",)),),
    "search.mcp.list_field": (Needs("search.mcp.reply", ("json",)),),
    "reward.cost.kind": (Needs("reward.cost.dial"),),
    "store.path": (_STORE,),
    "store.by_address": (_STORE,),
    "sampling.server": (
        Needs("engine", ("native", "verl")),
    ),  # The engine for verl refuses it with a reason of its own.
    **dict.fromkeys(("objective.clip_low", "objective.clip_high", "objective.clip_reference_length"), (_RANGE,)),
    "objective.clip_share": (Needs("objective.clip", ("matched",)),),
    "objective.dual_clip": (Needs("objective.clip", ("fixed", "matched")),),
    "objective.sapo_temperature_positive": (_SOFT_GATE,),
    "objective.sapo_temperature_negative": (_SOFT_GATE,),
    "objective.weight_length": (Needs("objective.weight", ("constant",)),),
    "objective.correction_cap": (Needs("objective.trust_region", ("current",)),),
    "training.overlap": (Needs("training.staleness"),),
    "training.evaluation_samples": (Needs("engine", ("native",)),),
    "sampling.compiled": (Needs("engine", ("native", "trl")),),  # The engine for verl samples by a server of its own.
    "optimiser.lora.base_precision": (Needs("engine", ("native",)),),  # The others load the model by themselves.
    "trl": (Needs("engine", ("trl",)),),
    "verl": (Needs("engine", ("verl",)),),
    "methods.aflow.temperature": (Needs("methods.aflow.proposer", ("auto", "llm")),),
}
"""Values of other keys with which a key or section has an effect; one of them is enough."""


class KeysError(ValueError):
    """Keys that cannot have their values together with the values of others."""

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {reason}" for key, reason in found))
        self.found = tuple(found)
        """Each key, with the reason and the remedy."""


class KeysWithoutEffectError(KeysError):
    """Keys that are set, and have no effect with the values of others."""


def refuse_keys_without_effect(config: BaseModel) -> None:
    """Refuse keys that are set and have no effect.

    Args:
        config: the whole configuration.

    Raises:
        KeysWithoutEffectError: names all of them.
    """
    found = [
        (key, _explain(key, needed, config))
        for section, needed in _NEEDED.items()
        if not any(each.is_met(config) for each in needed)
        for key in _set_keys(config, section)
    ]
    if found:
        raise KeysWithoutEffectError(found)


def _explain(key: str, needed: Sequence[Needs], config: BaseModel) -> str:
    found = " and ".join(each.describe(config) for each in needed)
    remedies = " or ".join(each.remedy() for each in needed)
    return (
        f"expected no {key} with {found}: set {remedies} to use it, or leave it out, since it has no effect (on the command "
        f"line: -o {key}=)"
    )


def _set_keys(config: BaseModel, key: str) -> Iterator[str]:
    """Return the key, or those of the section, whose value is not the default."""
    *above, name = key.split(".")
    parent: Any = config
    for part in above:
        parent = getattr(parent, part)
        if parent is None:
            return
    value, default = getattr(parent, name), type(parent).model_fields[name].get_default(call_default_factory=True)
    if isinstance(value, BaseModel) and isinstance(default, BaseModel):
        for inner in type(value).model_fields:
            yield from _set_keys(config, f"{key}.{inner}")
    elif value != default:
        yield key


def _look_up(config: BaseModel, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        is_switch = isinstance(value, ObjectiveConfig) and part in USUAL_SWITCHES
        value = value.in_effect(part) if is_switch else getattr(value, part, None)
    return value
