"""The seam to the policy: messages are appended to a session's context, turns are sampled from it."""

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from workflow_r1.trajectory import FinishReason, Message, Usage


@dataclass(frozen=True, slots=True)
class SampledTurn:
    """One turn of a policy, as sampled."""

    text: str
    """Decoded text, without the end-of-turn token."""
    token_ids: tuple[int, ...]
    """The sampled tokens, the end-of-turn token included; empty where the policy is a chat server."""
    logprobs: tuple[float, ...]
    """Log-probability of each token under the distribution that it was sampled from, in nats."""
    finish_reason: FinishReason
    """Reason for the turn's end."""
    usage: Usage = field(default_factory=Usage)
    """Usage of a policy behind a chat server, by the server's figures; zeros for a policy in this process."""
    policy_version: int | None = None
    """Optimiser steps of the weights that sampled it, where they may differ from turn to turn."""


ROUNDING = 1e-3
"""Amount above 0 by which rounding may lift a log-probability."""


def log_probabilities(values: Iterable[Any]) -> tuple[float, ...]:
    """Read a server's list of log-probabilities, in nats.

    Raises:
        ValueError: a value is NaN, infinite, or above 0: nothing could be learnt from such a turn.
        TypeError: a value is not a number at all.
    """
    read = tuple(float(value) for value in values)
    for value in read:
        if not math.isfinite(value) or value > ROUNDING:
            raise ValueError(f"expected finite log-probabilities of at most 0, received {value}")
    return read


class PolicySession(Protocol):
    """The policy's side of one trajectory. Its context only grows: nothing is tokenised twice."""

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Append messages to the context and return the tokens that were added (empty for a chat server).

        The first call renders the prompt, every later one an observation, template tokens and the opening of the
        policy's next turn included.
        """
        ...

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Sample one turn of at most ``max_tokens`` tokens and append it to the context.

        Raises:
            ContentRejectedError: the context is too long for the model, or its server does not allow its content.
            ServiceError: the sampler or its server failed.
        """
        ...


class Policy(Protocol):
    """A policy that can hold many sessions at once."""

    @property
    def name(self) -> str:
        """Name for records and reports."""
        ...

    def session(self, *, seed: int) -> AbstractAsyncContextManager[PolicySession]:
        """Open a session; leaving the context frees its cache slot or connection.

        Args:
            seed: all sampling of the session derives from it and from the token's position, never from the order in
                which sessions run.
        """
        ...


@runtime_checkable
class SampledPolicy(Policy, Protocol):
    """A policy whose turns are drawn from a distribution; a script or a fixed workflow draws nothing."""

    def at_temperature(self, temperature: float) -> Policy:
        """Return the same policy at another temperature; 0 is greedy. Both share weights, batch and server."""
        ...
