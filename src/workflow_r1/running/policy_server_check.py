"""Check of the server on which a training run samples (``sampling.server``), for ``workflow-r1 doctor``."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from workflow_r1.errors import ServiceError
from workflow_r1.running.findings import Finding, ok, problem, warning

if TYPE_CHECKING:
    from workflow_r1.environment import EnvironmentConfig
    from workflow_r1.rollout.policy_server import PolicyServerConfig
    from workflow_r1.rollout.sampling import SamplingConfig

SUBJECT = "sampling.server"


def check_policy_server(
    sampling: "SamplingConfig", environment: "EnvironmentConfig", *, trains_adapters: bool
) -> Iterator[Finding]:
    """Check that the server answers in tokens, takes weights, and has room for a trajectory."""
    settings = sampling.server
    if settings is None:
        return
    once = {"max_retries": 0, "wait_seconds": 0.0, "timeout_seconds": 60.0, "idle_timeout_seconds": 60.0}
    try:
        yield from asyncio.run(_ask(settings.model_copy(update=once), environment, trains_adapters))
    except ServiceError as error:
        yield problem(SUBJECT, error)
    if sampling.temperature != 1.0:
        yield warning(
            SUBJECT,
            f"temperature {sampling.temperature:g}: vLLM reports log-probabilities before temperature",
            "start it with --logprobs-mode processed_logprobs",
        )


async def _ask(
    settings: "PolicyServerConfig", environment: "EnvironmentConfig", trains_adapters: bool
) -> list[Finding]:
    from workflow_r1.rollout.completions import max_length
    from workflow_r1.rollout.policy_server import PolicyServer

    server = PolicyServer(settings)
    try:
        models = await server.models()
        names = [str(model.get("id")) for model in models]
        if settings.model not in names:
            found = f"{settings.base_url} serves {', '.join(names)}, not {settings.model!r}"
            return [problem(SUBJECT, found, "set sampling.server.model")]
        await server.complete([1], max_tokens=1, temperature=1.0, top_p=1.0, seed=0, stop_token_ids=(), stop=())
        findings = [ok(SUBJECT, f"{settings.model} at {settings.base_url} samples token-in, token-out")]
        longest = max_length(models)
        wanted = environment.max_prompt_tokens + environment.max_response_tokens
        if longest is not None and longest < wanted:
            findings.append(
                warning(
                    SUBJECT,
                    f"it takes {longest} tokens, the environment's budgets allow {wanted}",
                    "raise --max-model-len, or lower environment.max_prompt_tokens and environment.max_response_tokens",
                )
            )
        if trains_adapters and not await server.takes_adapters():
            findings.append(
                problem(
                    SUBJECT,
                    "it has no endpoint that loads adapters",
                    "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
                )
            )
        return findings
    finally:
        await server.aclose()
