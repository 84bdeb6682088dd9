"""Compares a configuration with the abilities of the policy in this process, and of the processor beneath it.

The policy's are read from the model's ``config.json`` alone, in milliseconds: a run that cannot fit is refused before it
begins, not reported as a failed service in the middle of it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_r1.errors import ConfigError
from workflow_r1.recording.events import Noted, OnEvent
from workflow_r1.running.findings import Finding, problem, warning

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.environment import EnvironmentConfig

SLOW = 2.0
"""Multiple of float32's time from which on bfloat16 is called slow."""


def refuse_misfit(config: "RunConfig") -> None:
    """Refuse a configuration whose trajectories cannot fit into the context of its policy.

    Raises:
        ConfigError: gives the numbers and the keys.
    """
    for finding in _budgets(config.environment, context_room(config)):
        raise ConfigError(f"{finding.found}: {finding.remedy}")


def misfits(config: "RunConfig") -> Iterator[Finding]:
    """Return what the policy in this process cannot follow: budgets, pool, form of prompt and turns, precision."""
    yield from _budgets(config.environment, context_room(config))
    yield from unlearnt(config)
    yield from slow_precision(config)


def unlearnt(config: "RunConfig") -> Iterator[Finding]:
    """Return what the embedded policy has not learnt; nothing for another policy, which reads its prompt."""
    from workflow_r1.operators import OPERATORS

    if config.policy.base_url is not None or config.policy.model != "embedded":
        return
    environment = config.environment
    if environment.prompt_style != "brief" or config.sampling.turn_end != "action":
        yield problem(
            "prompt",
            "the embedded policy knows the bare question and turns that end with their action",
            'set environment.prompt_style = "brief" and sampling.turn_end = "action", as the preset `embedded` does',
        )
    if own := [name for name in environment.operators if name not in OPERATORS]:
        yield warning(
            "pool",
            f"the embedded policy has learnt the built-in operators alone and will not call {', '.join(own)}",
            "for a policy that reads its menu set policy.model; `-m random` calls them without any policy",
        )
    if not set(environment.operators) & set(OPERATORS):
        yield warning("pool", "the pool holds none of the operators that the embedded policy has learnt", "add some")


def slow_precision(config: "RunConfig") -> Iterator[Finding]:
    """Warn where the policy in this process computes in bfloat16 on a CPU that is slow at it."""
    if config.policy.base_url is not None or config.optimiser.precision != "bfloat16":
        return
    from workflow_r1.policy.model import resolve_device
    from workflow_r1.policy.precision import bfloat16_slowdown

    if resolve_device(config.policy.device).type != "cpu" or (slowdown := bfloat16_slowdown()) < SLOW:
        return
    yield warning(
        "precision",
        f"this processor has no fast bfloat16: a matrix product takes {slowdown:.0f} times as long as in float32",
        f"begin with {' '.join(f'-o {override}' for override in float32_overrides(config))}",
    )


def float32_overrides(config: "RunConfig") -> list[str]:
    """Return the overrides, ``KEY=VALUE``, by which a configuration in bfloat16 computes in float32."""
    lora = config.optimiser.lora
    base = ["optimiser.lora.base_precision=float32"] if lora is not None and lora.base_precision == "bfloat16" else []
    return ["optimiser.precision=float32", *base]


def note_slow_precision(config: "RunConfig", on_event: OnEvent) -> None:
    """Say so before answers are sampled where :func:`slow_precision` finds something."""
    for finding in slow_precision(config):
        on_event(Noted(f"warning: {finding.found}; {finding.remedy}"))


def context_room(config: "RunConfig") -> int | None:
    """Return the room of the policy's context in tokens; None where it is not known here (a server, a hub's name)."""
    if config.policy.base_url is not None:
        return None
    if config.policy.model == "embedded":
        from workflow_r1.embedded import policy_directory

        directory = policy_directory()
    else:
        directory = Path(config.policy.model).expanduser()
    try:
        settings: Any = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # Whoever opens the model says what is wrong with it.
        return None
    for table in (settings, settings.get("text_config")) if isinstance(settings, Mapping) else ():
        room = table.get("max_position_embeddings") if isinstance(table, Mapping) else None
        if isinstance(room, int) and room > 0:
            return room
    return None


def _budgets(environment: "EnvironmentConfig", room: int | None) -> Iterator[Finding]:
    budget = environment.max_prompt_tokens + environment.max_response_tokens
    if room is not None and budget > room:
        yield problem(
            "budgets",
            f"the policy's context has room for {room:,} tokens, and a trajectory may take {budget:,} "
            f"(environment.max_prompt_tokens = {environment.max_prompt_tokens:,} and environment.max_response_tokens = "
            f"{environment.max_response_tokens:,})",
            "lower them, so that together they fit it",
        )
