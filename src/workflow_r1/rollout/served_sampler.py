"""The policy behind a server of tokens (vLLM, llama.cpp): a session keeps its context as tokens and sends it whole. The
server's prefix cache knows it.

Messages are rendered by the same renderer as in the sampler of this process, and a sampled turn is appended as it came:
no token is ever made twice from text.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from workflow_r1.prompts import CLOSING_TAGS, action_end
from workflow_r1.rollout.completions import Completion
from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.rollout.seeding import derive_seed
from workflow_r1.trajectory import FinishReason, Message, Usage


class TokenServer(Protocol):
    """Continues token ids: a :class:`~workflow_r1.rollout.policy_server.PolicyServer`, metered or not."""

    async def complete(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
        stop_token_ids: Sequence[int],
        stop: Sequence[str],
    ) -> Completion:
        """Sample a continuation of a context."""
        ...


class ServedSampler:
    """Samples turns on a server.

    Args:
        server: the server with its weights.
        renderer: chat template and tokenizer of the policy.
        sampling: settings of the turns' sampling and of their end.
        end_ids: tokens that end a turn, the template's among them.
        name: name in records and reports.
    """

    def __init__(
        self, server: TokenServer, renderer: Renderer, *, sampling: SamplingConfig, end_ids: Sequence[int], name: str
    ) -> None:
        self.server = server
        self.renderer = renderer
        self.sampling = sampling
        self.end_ids = tuple(sorted({renderer.end_of_turn_id, *end_ids}))
        self._name = name

    @property
    def name(self) -> str:
        """Name for records and reports."""
        return self._name

    def at_temperature(self, temperature: float) -> "ServedSampler":
        """Return the same policy at another temperature."""
        sampling = self.sampling.model_copy(update={"temperature": temperature})
        return ServedSampler(self.server, self.renderer, sampling=sampling, end_ids=self.end_ids, name=self._name)

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["ServedSession"]:
        """Open a session; the server keeps nothing of it but its prefix cache.

        Args:
            seed: each turn's seed derives from it and from the turn's number. The server adds the rounding of its
                batches: equal seeds give equal turns, except for tokens that were almost equally likely.
        """
        yield ServedSession(self, seed)


class ServedSession:
    """The policy's side of one trajectory."""

    def __init__(self, sampler: ServedSampler, seed: int) -> None:
        self._sampler = sampler
        self._seed = seed
        self._context: list[int] = []
        self._num_turns = 0

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Append messages to the context and return their tokens."""
        ids = self._sampler.renderer.continuation(self._context, messages)
        self._context.extend(ids)
        return ids

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Sample one turn.

        Raises:
            TooLongError: the model has no room for another token.
            ServiceError: the server is gone and does not come back, or refuses.
        """
        sampler, sampling = self._sampler, self._sampler.sampling
        limit = min(max_tokens, sampling.max_turn_tokens)
        at_action = sampling.turn_end == "action"
        ids: list[int] = []
        logprobs: list[float] = []
        version: int | None = None
        usage, num_parts, is_going_on = Usage(), 0, True
        while is_going_on:
            completion = await sampler.server.complete(
                [*self._context, *ids],
                max_tokens=limit - len(ids),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=derive_seed(self._seed, self._num_turns, *([num_parts] if num_parts else [])),
                stop_token_ids=sampler.end_ids,
                stop=CLOSING_TAGS if at_action else (),
            )
            num_parts += 1
            usage += completion.usage
            if ids and completion.version != version:
                # The weights were swapped within the turn: it is sampled anew, since a turn is of one policy.
                ids, logprobs = [], []
                continue
            version = completion.version
            ids += completion.token_ids
            logprobs += completion.logprobs
            ended = ids[-1] in sampler.end_ids
            is_complete = ended or (at_action and action_end(sampler.renderer.turn_text(ids)) is not None)
            # A server stops at a closing tag wherever it stands; a thought that only names the tag continues.
            is_going_on = at_action and completion.is_stopped and not is_complete and len(ids) < limit
        self._num_turns += 1
        self._context.extend(ids)
        return SampledTurn(
            text=sampler.renderer.turn_text(ids[:-1] if ended else ids),
            token_ids=tuple(ids),
            logprobs=tuple(logprobs),
            finish_reason=FinishReason.STOP
            if completion.is_stopped and (is_complete or not at_action)
            else FinishReason.LENGTH,
            usage=usage,
            policy_version=version,
        )
