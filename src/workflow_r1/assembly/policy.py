"""How the policy's server is reached. A policy in this process is the engine's to build."""

from workflow_r1.config.llm import LLMConfig
from workflow_r1.config.run import PolicyConfig
from workflow_r1.errors import ConfigError
from workflow_r1.inference import OpenAIChatConfig


def policy_chat_config(policy: PolicyConfig, llm: LLMConfig, *, concurrency: int) -> OpenAIChatConfig:
    """Return the settings of a client of the policy's server; its limits are the LLM's.

    Args:
        policy: the server, the model's name there, and the key.
        llm: its timeouts, retries and ``check_model``.
        concurrency: most requests at once.

    Raises:
        ConfigError: no server is configured, or no name of the model there.
    """
    if policy.base_url is None or policy.model == "embedded":
        raise ConfigError(
            "expected policy.base_url with the model's name there as policy.model, received "
            f"base_url = {policy.base_url!r} and model = {policy.model!r}"
        )
    return OpenAIChatConfig(
        model=policy.model,
        base_url=policy.base_url,
        api_key_env=policy.api_key_env,
        timeout_seconds=llm.timeout_seconds,
        idle_timeout_seconds=llm.idle_timeout_seconds,
        check_model=llm.check_model,
        max_retries=llm.max_retries,
        concurrency=concurrency,
        extra_body={"chat_template_kwargs": policy.template.kwargs} if policy.template.kwargs else {},
    )
