"""The LLM that carries out the operators: one endpoint, or several with roles."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from workflow_r1.errors import ConfigError
from workflow_r1.inference.openai_chat import OpenAIChatConfig
from workflow_r1.trajectory.records import Record

OWN_ENDPOINT = "llm"
"""Name of the endpoint that the section ``[llm]`` itself describes."""

DEFAULT_ROLE = "default"
"""Role of every operator without a role of its own."""

METHOD_ROLES = ("AFlow",)
"""Roles without an operator: of methods that ask an LLM for something else than a question's answer."""


def _without_null(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    """Refuse a null: a run directory keeps its configuration in TOML, which has no null, and a resume would send the field."""
    null = next((name for name, value in (fields or {}).items() if value is None), None)
    if null is not None:
        raise ValueError(f"fields with values; to send no {null}, set leave_out = [{null!r}]")
    return fields


class EndpointConfig(Record):
    """One of several endpoints. A missing key is taken from ``[llm]``."""

    base_url: str | None = None
    """Endpoint, e.g. ``http://127.0.0.1:8000/v1``."""
    model: str | None = None
    """Model name at the endpoint."""
    api_key_env: str | None = None
    """Environment variable that holds the key."""
    concurrency: int | None = Field(default=None, ge=1)
    """Requests in flight at once."""
    timeout_seconds: float | None = Field(default=None, gt=0.0)
    """Longest time of one attempt."""
    idle_timeout_seconds: float | None = Field(default=None, gt=0.0)
    """Longest time in an attempt without a byte."""
    max_retries: int | None = Field(default=None, ge=0)
    """Further attempts after a failed one."""
    check_model: bool | None = None
    """Refuse the reply of another model."""
    send_seed: bool | None = None
    """Send the number of the sample as ``seed``."""
    length_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """Field of the request that bounds the reply."""
    leave_out: tuple[str, ...] | None = None
    """Fields of the request that are never sent."""
    extra_body: dict[str, Any] | None = None
    """Further fields of the request, in place of those of ``[llm]``."""
    weight: float = Field(default=1.0, ge=0.0)
    """Share of the requests, relative to the role's other endpoints. 0: only where all others failed."""

    @field_validator("extra_body")
    @classmethod
    def _check_extra_body(cls, fields: dict[str, Any] | None) -> dict[str, Any] | None:
        return _without_null(fields)


class LLMConfig(Record):
    """The LLM that carries out the operators; several endpoints and their roles: ``docs/how-to/services.md``."""

    kind: Literal["embedded", "openai"] = "embedded"
    """``embedded``: the simulated expert. ``openai``: any OpenAI-compatible endpoint."""
    base_url: str | None = None
    """Endpoint, e.g. ``http://127.0.0.1:8000/v1``; None is OpenAI's own, or the one in ``OPENAI_BASE_URL``."""
    model: str = ""
    """Model name at the endpoint."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a key itself never stands in a configuration."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest reply."""
    temperature: float = Field(default=0.7, gt=0.0)
    """Temperature of independent samples (MultiAnswerGenerate); everything else is asked at 0."""
    max_attempts: int = Field(default=3, ge=1)
    """Most replies that an operator asks for, where a reply lacks a requested part or was cut off."""
    concurrency: int = Field(default=32, ge=1)
    """Requests in flight at once, per endpoint."""
    timeout_seconds: float = Field(default=120.0, gt=0.0)
    """Longest time of one attempt, from sending to the last byte."""
    idle_timeout_seconds: float = Field(default=60.0, gt=0.0)
    """Longest time in an attempt without a byte. A server sends none before its reply is written: allow for that."""
    max_retries: int = Field(default=4, ge=0)
    """Further attempts after a failed one."""
    check_model: bool = True
    """Refuse the reply of another model: one whose name neither contains ``model`` nor stands in it."""
    send_seed: bool = False
    """Send the number of the sample as ``seed``: a server that draws by it repeats its replies; some servers refuse it."""
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Field of the request that bounds the reply. An endpoint that refuses the first is asked with the second from then on."""
    leave_out: tuple[str, ...] = ()
    """Fields of the request that are never sent, e.g. ``["temperature"]`` for a model that takes none; one that the endpoint
    refuses as such is left out from then on."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request, for an endpoint's own parameters, e.g. ``top_k``."""
    cool_down_seconds: float = Field(default=30.0, ge=0.0)
    """Pause of an endpoint that is down, in seconds, where its role has another one."""
    endpoints: dict[str, EndpointConfig] = Field(default_factory=dict)
    """Further endpoints by name, each a section of its own."""
    roles: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Endpoints by name that carry out an operator, by operator name, or ``default`` for all others. ``llm`` is the
    endpoint of this section."""

    @field_validator("extra_body")
    @classmethod
    def _check_extra_body(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return _without_null(fields) or {}

    @field_validator("endpoints")
    @classmethod
    def _check_names(cls, endpoints: dict[str, EndpointConfig]) -> dict[str, EndpointConfig]:
        for name in endpoints:
            if name == OWN_ENDPOINT or not re.fullmatch(r"[\w-]+", name, flags=re.ASCII):
                raise ValueError(f"names of letters, digits, _ and -, other than {OWN_ENDPOINT!r}")
        return endpoints

    @model_validator(mode="after")
    def _check_roles(self) -> Self:
        known = (OWN_ENDPOINT, *self.endpoints)
        for role, names in self.roles.items():
            if not names or len(set(names)) < len(names) or not set(names) <= set(known):
                raise ValueError(f"one or more different endpoints among {', '.join(known)} for llm.roles.{role}")
        if self.endpoints and not self.roles:
            first = next(iter(self.endpoints))
            raise ValueError(f"llm.roles to say what llm.endpoints are for, e.g. {DEFAULT_ROLE} = [{first!r}]")
        return self

    def endpoints_of(self, role: str) -> tuple[str, ...]:
        """Names of the endpoints of a role: an operator's name, or ``default``."""
        return self.roles.get(role, self.roles.get(DEFAULT_ROLE, (OWN_ENDPOINT,)))


def endpoint_chat_config(config: LLMConfig, name: str) -> OpenAIChatConfig:
    """Return the settings for a client of one endpoint.

    Raises:
        ConfigError: the endpoint names no model.
    """
    shared = {key: getattr(config, key) for key in OpenAIChatConfig.model_fields if hasattr(config, key)}
    own: Mapping[str, Any] = {}
    if name != OWN_ENDPOINT:
        own = config.endpoints[name].model_dump(exclude_none=True, exclude={"weight"})
    settings = {**shared, **own}
    if not settings["model"]:
        key = "llm.model" if name == OWN_ENDPOINT else f"llm.endpoints.{name}.model"
        raise ConfigError(f'{key}: expected the model\'s name at the endpoint, since llm.kind = "openai"; set {key}')
    return OpenAIChatConfig(**settings)
