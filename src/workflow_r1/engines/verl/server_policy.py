"""The policy behind verl's inference servers: tokens in, tokens out.

A session keeps its context as tokens. Messages are rendered by the same renderer as in the native sampler, and a sampled turn
is appended as it came, so that no token is ever made twice from text.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from workflow_r1.errors import ServiceUnavailableError, TooLongError
from workflow_r1.prompts import action_end
from workflow_r1.rollout.policy import SampledTurn, log_probabilities
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.rollout.seeding import derive_seed
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.refusals import read_refusal
from workflow_r1.trajectory import FinishReason, Message


class TokenReply(Protocol):
    """Reply of a server of verl's (its ``TokenOutput``), as far as we read it."""

    token_ids: list[int]
    log_probs: list[float] | None
    stop_reason: str | None
    extra_fields: dict[str, Any]


Generate = Callable[..., Awaitable[TokenReply]]
"""``generate(request_id, prompt_ids=..., sampling_params=...)`` of verl's server client."""


class ServerPolicy:
    """A policy that verl serves.

    Args:
        renderer: chat template and tokenizer of the policy.
        generate: asks a server for one turn.
        sampling: settings of the turns' sampling and of their end.
        parameters: verl's own sampling parameters, which the request starts from.
        end_ids: tokens that end a turn, the template's among them.
        seeded: send a seed with each turn.
        name: name in records and reports.
        failures: exceptions of ``generate`` that are the infrastructure's.
    """

    def __init__(
        self,
        renderer: Renderer,
        generate: Generate,
        *,
        sampling: SamplingConfig,
        parameters: dict[str, Any],
        end_ids: frozenset[int],
        seeded: bool,
        name: str,
        failures: tuple[type[Exception], ...] = (),
    ) -> None:
        self.renderer = renderer
        self.generate = generate
        self.sampling = sampling
        self.parameters = parameters
        self.end_ids = end_ids
        self.seeded = seeded
        self.name = name
        self.failures = failures
        self.versions: list[int] = []
        """Versions of the weights that turns were sampled from, as the servers say."""

    @asynccontextmanager
    async def session(self, *, seed: int) -> "AsyncIterator[ServerSession]":
        """Open a session; the servers keep nothing of it but their prefix cache."""
        yield ServerSession(self, seed)


class ServerSession:
    """The policy's side of one trajectory."""

    def __init__(self, policy: ServerPolicy, seed: int) -> None:
        self._policy = policy
        self._seed = seed
        self._context: list[int] = []
        self._turns = 0

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Append messages to the context and return their tokens."""
        ids = self._policy.renderer.continuation(self._context, messages)
        self._context.extend(ids)
        return ids

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Sample one turn.

        Raises:
            TooLongError: the server takes no longer context.
            ServiceUnavailableError: the server failed, broke off, or answered with nothing.
        """
        policy = self._policy
        limit = min(max_tokens, policy.sampling.max_turn_tokens)
        parameters = {
            **policy.parameters,
            "max_tokens": limit,
            "logprobs": True,
            "stop_token_ids": sorted(policy.end_ids),
        }
        if policy.seeded:
            parameters["seed"] = derive_seed(self._seed, self._turns)
        try:
            # verl sends the turns of one id to one server, whose prefix cache then holds the trajectory so far.
            reply = await policy.generate(f"{self._seed:x}", prompt_ids=list(self._context), sampling_params=parameters)
        except policy.failures as failure:
            # Ray wraps the server's error; the last line is its message.
            last = str(failure).strip().rpartition("\n")[2]
            if read_refusal(400, last.encode(), max_tokens=limit).kind is FailureKind.TOO_LONG:
                raise TooLongError(f"the policy's server takes no longer context: {last}") from failure
            raise ServiceUnavailableError(
                f"the policy's server failed: {type(failure).__name__}: {failure}"
            ) from failure
        if reply.stop_reason == "aborted" or not reply.token_ids:
            raise ServiceUnavailableError(
                f"expected a turn from the policy's server, received {len(reply.token_ids)} tokens "
                f"(stop reason: {reply.stop_reason})"
            )
        if reply.log_probs is None or len(reply.log_probs) != len(reply.token_ids):
            raise ValueError(
                "expected one log-probability per token from the policy's server; set "
                "actor_rollout_ref.rollout.calculate_log_probs to true"
            )
        try:
            logprobs = log_probabilities(reply.log_probs)
        except ValueError as error:
            raise ServiceUnavailableError(f"the policy's server: {error}") from None
        if (version := reply.extra_fields.get("global_steps")) is not None:
            policy.versions.append(int(version))
        return self._take([int(token) for token in reply.token_ids], list(logprobs), limit)

    def _take(self, ids: list[int], logprobs: list[float], limit: int) -> SampledTurn:
        """Cut the turn where it ends, and append it to the context."""
        ids = ids[:limit]
        num = self._length_of_turn(ids)
        ids, logprobs = ids[:num], logprobs[:num]
        ended = ids[-1] in self._policy.end_ids
        self._context.extend(ids)
        self._turns += 1
        return SampledTurn(
            text=self._policy.renderer.turn_text(ids[:-1] if ended else ids),
            token_ids=tuple(ids),
            logprobs=tuple(logprobs),
            finish_reason=FinishReason.STOP if ended or self._closes_action(ids) else FinishReason.LENGTH,
        )

    def _length_of_turn(self, ids: list[int]) -> int:
        """Tokens up to the one that ends the turn: an end-of-turn token, or where configured, the end of an action.

        Tokens beyond an action are dropped. That changes no probability of the kept ones.
        """
        length = next((place + 1 for place, token in enumerate(ids) if token in self._policy.end_ids), len(ids))
        if not self._closes_action(ids[:length]):
            return length
        low, high = 1, length  # The shortest beginning that holds a closing tag.
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._closes_action(ids[:middle]) else (middle + 1, high)
        return low

    def _closes_action(self, ids: list[int]) -> bool:
        if self._policy.sampling.turn_end != "action":
            return False
        return action_end(self._policy.renderer.turn_text(ids)) is not None
