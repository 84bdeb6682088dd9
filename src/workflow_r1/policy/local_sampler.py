"""A model in this process as the policy: all live sessions share one batch, and each keeps its past in a cache slot.

Everything runs in the event loop's thread. While a session waits for a turn, a scheduler task alternates between one
forward pass over all of them and a fixed number of turns of the event loop, in which operators and other sessions
continue. There are no threads and no timers: with operators that do not wait for the world outside, a run repeats
exactly; with others it does in rounds (``SamplingConfig.schedule``), where the batch never depends on who was answered
first.

* A step takes one token of every session that is decoding, and the new tokens of those that were just extended: a
  prompt or observation never stops the others, and only new tokens are ever fed (``policy.ragged_attention``).
* Each token is drawn by the inverse of the cumulative distribution from a uniform number that is a function of the
  session's seed and the token's position. Neither the order nor the company of sessions matters (beyond the rounding of
  matrix products of other shapes).
* Sessions whose prompts begin alike (the members of a group, the operator menu) compute that beginning once.
* More sessions than ``max_sessions`` wait, first come first served. Slots of closed sessions are filled by the last
  one, so that the batch stays dense.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workflow_r1.errors import TooLongError, UserError
from workflow_r1.policy.compiled import TYPES, compiled_functions
from workflow_r1.policy.decoder import compiled_decoder
from workflow_r1.policy.drawing import draw, uniform_numbers
from workflow_r1.policy.precision import CastWeights
from workflow_r1.policy.ragged_attention import (
    ATTENTION_NAME,
    FEW_TOKENS,
    RaggedBatch,
    SlotCache,
    attention_groups,
    cut_filling,
    put,
)
from workflow_r1.policy.slots import Slots
from workflow_r1.prompts import CLOSING_TAGS, action_end
from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.rollout.renderer import Renderer, TemplateConfig
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.trajectory import FinishReason, Message

LOOP_TURNS = 12
"""Turns of the event loop between two model steps while an operator or another session may be at work: enough for an
operator that does not really wait to answer before the next step.
"""

MIN_SHARED_TOKENS = 16
"""A shorter beginning that two prompts share is computed again: the copy may cost a step."""

TAIL_TOKENS = 12
"""Tokens that are decoded to look for a closing tag: the longest, ``</answer>``, has 9 characters."""


class LocalSampler:
    """Samples turns of many sessions from a Hugging Face causal language model, with continuous batching."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        sampling: SamplingConfig | None = None,
        template: TemplateConfig | None = None,
        name: str = "policy",
        autocast: torch.dtype | None = None,
        max_prefill_tokens: int = 8192,
    ) -> None:
        """Set up the sampler. Nothing is allocated until the first turn.

        The model may be trained on between rollouts, while no session is open; it is put into eval mode for each step.

        Args:
            model: any causal language model of transformers that takes its attention from the attention interface
                (the mainstream ones do), peft-wrapped or not; its device is used.
            tokenizer: its tokenizer, with a chat template.
            sampling: settings of the turns' sampling.
            template: arguments of its chat template besides the messages.
            name: name in records and reports.
            autocast: run the forward passes, and keep the cache, in this type (``torch.bfloat16``). Log-probabilities
                are always computed in float32. The sampler holds the matrices in this type from its first session on,
                2 bytes a weight, and casts those anew that were trained between rollouts.
            max_prefill_tokens: most prompt and observation tokens in one step; bounds the memory of activations.

        Raises:
            UserError: the model's attention cannot be replaced, or the tokenizer lacks a chat template or end of turn.
        """
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        if not getattr(inner, "_supports_attention_backend", False):
            raise UserError(
                f"expected a model whose attention comes from transformers' attention interface, but "
                f"{type(inner).__name__} brings its own: sample from it through a server instead (`policy.base_url`)"
            )
        self.sampling = sampling or SamplingConfig()
        self._model = model
        self._name = name
        self._autocast = autocast
        self._max_prefill_tokens = max_prefill_tokens
        self.renderer = Renderer(tokenizer, template)
        """Chat template and tokenizer."""
        config = inner.config.get_text_config()
        self.max_context: int = int(getattr(config, "max_position_embeddings", None) or 2**31)
        """Most tokens that a session can hold: the model's own limit."""
        self._configs = _attention_configs(model)
        self._parameters = list(model.parameters())
        self._cast = CastWeights(model, autocast)
        self._device = self._parameters[0].device
        kind = autocast or self._parameters[0].dtype
        use = self.sampling.compiled and self._device.type == "cpu" and kind in TYPES
        self._compiled = compiled_functions() if use else None
        self._decoder = None
        if self._compiled is not None:
            self._decoder = compiled_decoder(inner, self._compiled, autocast)
        vocabulary = max(inner.get_output_embeddings().weight.shape[0], len(tokenizer))
        self._is_end = np.zeros(vocabulary, dtype=bool)
        self._is_end[end_ids(inner, tokenizer, self.renderer)] = True
        self._closes = np.zeros(vocabulary, dtype=bool)
        if self.sampling.turn_end == "action":
            self._closes[_ids_with_closing_bracket(tokenizer)] = True

        self._cache = SlotCache()
        self._sessions: list[LocalSession] = []
        self._slots = Slots.empty(self.sampling.max_sessions)
        self._to_fill: list[LocalSession] = []
        self._prompts: dict[tuple[int, ...], list[LocalSession]] = {}
        self._num_taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._in_rounds = self.sampling.schedule == "rounds"
        self._next_round: list[LocalSession] = []
        self._leaving: list[LocalSession] = []
        self._changed = asyncio.Event()
        self._scheduler: asyncio.Task[None] | None = None
        self._stirred = True
        self._is_held = False
        self._weights_version = 0
        self.policy_version: int | None = None
        """Optimiser steps of the weights, for the record of each turn; None where they stay while sessions are open."""

    @property
    def name(self) -> str:
        """Name for records and reports."""
        return self._name

    @property
    def num_open_sessions(self) -> int:
        """Sessions that hold a slot."""
        return len(self._sessions)

    @asynccontextmanager
    async def session(self, *, seed: int, temperature: float | None = None) -> AsyncIterator["LocalSession"]:
        """Open a session as soon as a slot is free; leaving the context frees it.

        Args:
            seed: all sampling of the session derives from it and from the token's position.
            temperature: temperature of this session alone; None is the sampler's.
        """
        await self._acquire()
        session = LocalSession(self, slot=len(self._sessions))
        if not self._sessions:
            self._read_weights()
        self._sessions.append(session)
        self._slots.open(
            session.slot, seed=seed, temperature=self.sampling.temperature if temperature is None else temperature
        )
        self._stirred = True
        try:
            yield session
        finally:
            self._leave(session)

    def at_temperature(self, temperature: float) -> "SamplerAtTemperature":
        """Return the same policy at another temperature. Its sessions share the sampler's batch with all others."""
        return SamplerAtTemperature(self, temperature)

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Let the turns under way end and begin no other, so that the weights may change inside the context.

        A turn is therefore of one policy, and so is its reading of everything before it: afterwards the open sessions
        are fed their contexts anew. Operators continue meanwhile.
        """
        self._is_held = True
        try:
            while self._scheduler is not None:
                await asyncio.wait([self._scheduler])
            for _ in range(
                LOOP_TURNS
            ):  # Sessions that waited for these turns continue first, however long the context takes.
                await asyncio.sleep(0)
            try:
                yield
            finally:
                self._read_weights()
                self._feed_anew()
        finally:
            self._is_held = False
            if self._to_fill and self._scheduler is None:
                self._scheduler = asyncio.get_running_loop().create_task(self._run())

    def _feed_anew(self) -> None:
        """Keep nothing of the open sessions that was computed with other weights."""
        self._prompts = {}
        for session in self._sessions:
            session.pending = list(session.context)
            self._slots.length[session.slot] = 0

    # ---------------------------------------------------------------------------------------------------------- sessions

    async def _acquire(self) -> None:
        if self._num_taken < self.sampling.max_sessions:
            self._num_taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._num_taken -= 1

    def _leave(self, session: "LocalSession") -> None:
        """Close a session: at once, or in rounds between two of them, so that the slots do not show who left first."""
        if not self._in_rounds:
            self._close(session)
            return
        self._withdraw(session)
        self._leaving.append(session)
        self._changed.set()
        if self._scheduler is None or len(self._leaving) == len(self._sessions):
            self._close_leaving()

    def _close_leaving(self) -> None:
        leaving, self._leaving = self._leaving, []
        for session in sorted(leaving, key=lambda session: session.slot, reverse=True):
            self._close(session)

    def _close(self, session: "LocalSession") -> None:
        """Take a session out of the batch; the last one moves into its slot."""
        self._withdraw(session)
        holders = self._prompts.get(session.prompt, [])
        if session in holders:
            holders.remove(session)
            if not holders:
                del self._prompts[session.prompt]
        last = self._sessions.pop()
        if last is not session:
            slot, length = session.slot, int(self._slots.length[last.slot])
            if length:  # Before its first token a session has no slot in the cache, which grows as tokens come.
                with torch.inference_mode():
                    self._cache.copy(last.slot, [slot], length)
            self._slots.move(last.slot, slot)
            last.slot = slot
            self._sessions[slot] = last
        self._slots.decoding[len(self._sessions)] = False
        if not self._sessions:
            # A scheduler that sleeps may keep the sampler for longer than anyone needs it, and an update wants the memory.
            self._cache = SlotCache()
        self._stirred = True
        self._release()

    def _withdraw(self, session: "LocalSession") -> None:
        """Stop sampling a session whose turn is no longer wanted."""
        self._slots.decoding[session.slot] = False
        session.turn = None
        for waiting in (self._to_fill, self._next_round):
            if session in waiting:
                waiting.remove(session)

    async def _sample(self, session: "LocalSession", max_tokens: int) -> SampledTurn:
        held = int(self._slots.length[session.slot]) + len(session.pending)
        num_tokens = min(max_tokens, self.sampling.max_turn_tokens, self.max_context - held)
        if num_tokens < 1:
            raise TooLongError(
                f"expected room for another token, but the context holds {held} tokens, the model takes "
                f"{self.max_context}, and {max_tokens} were asked for: lower `environment.max_prompt_tokens` and "
                "`environment.max_response_tokens`, so that together they fit the model"
            )
        loop = asyncio.get_running_loop()
        session.turn = loop.create_future()
        self._slots.begin_turn(session.slot, num_tokens)
        (self._next_round if self._in_rounds else self._to_fill).append(session)
        self._stirred = True
        self._changed.set()
        if self._scheduler is None and not self._is_held:
            self._scheduler = loop.create_task(self._run())
        try:
            return await session.turn
        except asyncio.CancelledError:
            self._withdraw(session)
            raise

    # --------------------------------------------------------------------------------------------------------- scheduler

    async def _run(self) -> None:
        """Step while a session waits for a turn."""
        try:
            while True:
                away = len(self._sessions) > len(self._to_fill) + int(self._slots.decoding.sum())
                for _ in range(LOOP_TURNS if away or self._stirred else 1):
                    await asyncio.sleep(0)
                if self._in_rounds and not self._to_fill and not self._slots.decoding.any():
                    await self._begin_round()
                if (self._is_held or not self._to_fill) and not self._slots.decoding.any():
                    return
                self._stirred = False
                self._step()
        except Exception as error:
            for session in self._sessions:
                if session.turn is not None and not session.turn.done():
                    session.turn.set_exception(error)
                self._withdraw(session)
        finally:
            self._scheduler = None

    async def _begin_round(self) -> None:
        """Wait until every open session asks for a turn, and let them all in, in the order of their slots."""
        while True:
            self._changed.clear()
            for _ in range(LOOP_TURNS):  # Those who waited for a slot come in.
                await asyncio.sleep(0)
            if len(self._next_round) + len(self._leaving) < len(self._sessions):
                await self._changed.wait()
            elif self._leaving:
                self._close_leaving()
            elif not self._changed.is_set():
                break
        self._to_fill = sorted(self._next_round, key=lambda session: session.slot)
        self._next_round = []

    def _step(self) -> None:
        """Feed the new tokens of every busy session, and draw a token for each that has no more to be fed."""
        if self._read_weights_version() != self._weights_version:
            raise RuntimeError(
                "expected the policy's weights to stay while sessions are open, but they changed: the cache would be "
                "stale. Update the weights between rollouts"
            )
        decoding = np.flatnonzero(self._slots.decoding)
        filling, copies = self._take_filling()
        parts = cut_filling(
            np.asarray([len(fed) for _, fed in filling], dtype=np.int64),
            np.asarray([self._slots.length[session.slot] for session, _ in filling], dtype=np.int64),
            few=0 if self._compiled is None else FEW_TOKENS,
        )
        filling = [filling[index] for part in parts for index in part]
        bounds = np.cumsum([len(part) for part in parts])[:-1]
        num_direct = 0
        if self._compiled is not None:
            num_direct = len(decoding) + sum(len(fed) for _, fed in filling[: len(parts[0])])
        whole = [session.slot for session, _ in filling if not session.pending]
        rows = np.concatenate([decoding, np.asarray(whole, dtype=np.int64)])

        packed_ids = [self._slots.last[decoding]]
        packed_slots = [decoding]
        packed_positions = [self._slots.length[decoding]]
        for session, fed in filling:
            start = self._slots.length[session.slot]
            packed_ids.append(np.asarray(fed, dtype=np.int64))
            packed_slots.append(np.full(len(fed), session.slot, dtype=np.int64))
            packed_positions.append(np.arange(start, start + len(fed)))
        ids, slots, positions = (np.concatenate(parts) for parts in (packed_ids, packed_slots, packed_positions))
        ends = np.cumsum([len(part) for part in packed_ids[1:]], dtype=np.int64) + len(decoding) - 1
        sampled_ends = ends[[not session.pending for session, _ in filling]] if filling else ends
        outputs = np.concatenate([np.arange(len(decoding)), sampled_ends])

        self._slots.length[decoding] += 1
        for session, fed in filling:
            before, after = self._slots.length[session.slot], self._slots.length[session.slot] + len(fed)
            self._slots.length[session.slot] = after
            if before < len(session.prompt) <= after:
                self._prompts.setdefault(session.prompt, []).append(session)
        with torch.inference_mode():
            self._reserve()
            for (source, length), targets in copies.items():
                self._cache.copy(source, targets, length)
            batch = RaggedBatch(
                self._cache,
                self._put(slots),
                self._put(positions),
                attention_groups(
                    decoding=decoding if self._compiled is None else decoding[:0],
                    filling=np.split(np.asarray([session.slot for session, _ in filling], dtype=np.int64), bounds)[1:],
                    sizes=np.split(np.asarray([len(fed) for _, fed in filling], dtype=np.int64), bounds)[1:],
                    positions=positions,
                    num_direct=num_direct,
                    device=self._device,
                ),
                self._compiled,
                num_direct,
            )
            if not len(rows):
                self._forward(ids, positions, outputs[:0], batch)
                return
            logits = self._forward(ids, positions, outputs, batch)
            self._draw(rows, logits)

    def _take_filling(self) -> tuple[list[tuple["LocalSession", list[int]]], dict[tuple[int, int], list[int]]]:
        """Take tokens to be fed off the waiting sessions, first come first served, as many as one step may feed.

        A prompt that another open session holds, or begins like, is copied from there instead of computed again. Where
        that session is about to be fed in this very step, the copy waits for the next.

        Returns:
            Sessions with the tokens to feed, and copies to make before: (source slot, tokens) to target slots.
        """
        filling: list[tuple[LocalSession, list[int]]] = []
        copies: dict[tuple[int, int], list[int]] = {}
        leaders: dict[tuple[int, ...], None] = {}
        waiting: list[LocalSession] = []
        room = 0 if self._is_held else self._max_prefill_tokens
        for position, session in enumerate(self._to_fill):
            if room <= 0:
                waiting += self._to_fill[position:]
                break
            if self._slots.length[session.slot] == 0:
                held, shared = _longest_shared(session.prompt, self._prompts)
                if _longest_shared(session.prompt, leaders)[1] > shared:
                    waiting.append(session)
                    continue
                if held is not None:
                    copies.setdefault((self._prompts[held][0].slot, shared), []).append(session.slot)
                    self._slots.length[session.slot] = shared
                    del session.pending[:shared]
            if self._slots.length[session.slot] < len(session.prompt):
                leaders[session.prompt] = None
            ids, session.pending = session.pending[:room], session.pending[room:]
            filling.append((session, ids))
            room -= len(ids)
            if session.pending:
                waiting.append(session)
        self._to_fill = waiting
        return filling, copies

    def _forward(
        self, ids: NDArray[np.int64], positions: NDArray[np.int64], outputs: NDArray[np.int64], batch: RaggedBatch
    ) -> Tensor:
        """Return the logits ``(outputs, vocabulary)``."""
        with (
            self._own_attention(),
            self._cast.in_place(),
            torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None),
        ):
            if self._decoder is not None:
                return self._decoder(self._put(ids), self._put(positions), self._put(outputs), batch)
            result = self._model(
                input_ids=self._put(ids[None]),
                position_ids=self._put(positions[None]),
                logits_to_keep=self._put(outputs),
                use_cache=False,
                ragged=batch,
            )
        return result.logits[0]

    def _draw(self, rows: NDArray[np.int64], logits: Tensor) -> None:
        """Draw a token for each row, at the temperature of its session."""
        uniforms = uniform_numbers(self._slots.seed[rows], self._slots.length[rows])
        temperatures = self._slots.temperature[rows]
        for temperature in np.unique(temperatures).tolist():
            at = np.flatnonzero(temperatures == temperature)
            chosen = logits if len(at) == len(rows) else logits[self._put(at)]
            drawn, logprobs = draw(chosen, self._put(uniforms[at]), temperature=temperature, top_p=self.sampling.top_p)
            self._record(rows[at], drawn.cpu().numpy(), logprobs.cpu().numpy())

    def _record(self, rows: NDArray[np.int64], drawn: NDArray[np.int64], logprobs: NDArray[np.float32]) -> None:
        """Append a token to each row's turn, and end the turns that it completes."""
        if not np.isfinite(logprobs).all():
            raise UserError(
                "expected finite log-probabilities from the policy, found NaN or infinity: its weights have diverged. "
                "Resume from an earlier checkpoint with a lower learning rate"
            )
        self._slots.append(rows, drawn, logprobs)
        ended = self._is_end[drawn]
        for index in np.flatnonzero(ended | (self._slots.left[rows] <= 0) | self._closes[drawn]).tolist():
            slot = int(rows[index])
            if ended[index]:
                self._finish(slot, FinishReason.STOP, ended=True)
            elif self._closes[drawn[index]] and self._closes_action(slot):
                self._finish(slot, FinishReason.STOP)
            elif self._slots.left[slot] <= 0:
                self._finish(slot, FinishReason.LENGTH)

    def _closes_action(self, slot: int) -> bool:
        count = int(self._slots.count[slot])
        text = self.renderer.decode(self._slots.tokens[slot, max(0, count - TAIL_TOKENS) : count].tolist())
        if not any(tag in text for tag in CLOSING_TAGS):
            return False
        # Where the thought names a tag it closes nothing: that takes the whole turn to see.
        return action_end(self.renderer.turn_text(self._slots.turn(slot)[0])) is not None

    def _finish(self, slot: int, reason: FinishReason, *, ended: bool = False) -> None:
        session = self._sessions[slot]
        ids, logprobs = self._slots.turn(slot)
        self._slots.decoding[slot] = False
        self._stirred = True
        session.pending = [ids[-1]]
        session.context += ids
        session.ended = ids[-1] == self.renderer.end_of_turn_id
        if session.turn is not None and not session.turn.done():
            session.turn.set_result(
                SampledTurn(
                    text=self.renderer.turn_text(ids[:-1] if ended else ids),
                    token_ids=tuple(ids),
                    logprobs=tuple(logprobs),
                    finish_reason=reason,
                    policy_version=self.policy_version,
                )
            )
        session.turn = None

    # ------------------------------------------------------------------------------------------------------------- model

    def _reserve(self) -> None:
        num = len(self._sessions)
        try:
            self._cache.reserve(num, int(self._slots.length[:num].max()))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"not enough memory for the keys and values of {num} sessions: lower `sampling.max_sessions` or "
                "`environment.max_response_tokens`"
            ) from error

    @contextmanager
    def _own_attention(self) -> Iterator[None]:
        """Let the model attend within slots, for one forward pass; others that share the model never see it."""
        before = [(config, config._attn_implementation) for config in self._configs]
        training = self._model.training
        if training:
            self._model.eval()
        for config in self._configs:
            config._attn_implementation_internal = ATTENTION_NAME
        try:
            yield
        finally:
            for config, implementation in before:
                config._attn_implementation_internal = implementation
            if training:
                self._model.train()

    def _read_weights(self) -> None:
        """Sample from the weights as they are now."""
        self._weights_version = self._read_weights_version()
        self._cast.refresh()

    def _read_weights_version(self) -> int:
        """Return a number that changes whenever a trainable weight is changed in place.

        Frozen ones stay: peft's adapters of experts put them back in each forward pass, which counts as a change.
        """
        return sum(
            parameter._version
            for parameter in self._parameters
            if parameter.requires_grad and not parameter.is_inference()
        )

    def _put(self, array: NDArray[Any]) -> Tensor:
        return put(array, self._device)


@dataclass(frozen=True, slots=True)
class SamplerAtTemperature:
    """A sampler as a policy of another temperature."""

    sampler: LocalSampler
    """Sampler of the sessions."""
    temperature: float
    """Temperature of every session that is opened here."""

    @property
    def name(self) -> str:
        """Name for records and reports."""
        return self.sampler.name

    def session(self, *, seed: int) -> AbstractAsyncContextManager["LocalSession"]:
        """Open a session; see :meth:`LocalSampler.session`."""
        return self.sampler.session(seed=seed, temperature=self.temperature)


class LocalSession:
    """The policy's side of one trajectory: a slot of the sampler, and tokens that are still to be fed."""

    def __init__(self, sampler: LocalSampler, *, slot: int) -> None:
        self._sampler = sampler
        self.prompt: tuple[int, ...] = ()
        """Tokens of the prompt."""
        self.slot = slot
        """Row of the cache; it changes when another session closes."""
        self.pending: list[int] = []
        """Tokens of the context that are not in the cache yet."""
        self.context: list[int] = []
        """All tokens of the context; the turn that is being sampled joins it at its end."""
        self.ended = False
        """True where the last turn ended in the end-of-turn token."""
        self.turn: asyncio.Future[SampledTurn] | None = None
        """The turn that is being sampled."""

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Append messages to the context and return their tokens."""
        renderer = self._sampler.renderer
        if self.prompt:
            ids = renderer.increment(messages, ended=self.ended)
        else:
            ids = self.prompt = renderer.prompt(messages)
        self.pending.extend(ids)
        self.context.extend(ids)
        return ids

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Sample one turn.

        Raises:
            TooLongError: the context has no room for another token.
            ValueError: a turn is being sampled already, or the session was never extended.
        """
        if self.turn is not None or not self.pending:
            raise ValueError("expected a session that was extended and is not being sampled")
        return await self._sampler._sample(self, max_tokens)


def _longest_shared(prompt: tuple[int, ...], others: dict[tuple[int, ...], Any]) -> tuple[tuple[int, ...] | None, int]:
    """Return the prompt to copy from, and how many of its tokens; None and 0 where it is not worth a copy.

    Looked at are the same prompt and the latest: the prompts of a run share their instructions, or nothing.
    """
    if not others:
        return None, 0
    other = prompt if prompt in others else next(reversed(others))
    shared = 0
    longest = min(len(other), len(prompt) - 1)  # The last token must be fed: its logits are wanted.
    if other[:longest] == prompt[:longest]:
        shared = longest
    else:
        shared = next(index for index in range(longest) if other[index] != prompt[index])
    return (other, shared) if shared >= MIN_SHARED_TOKENS else (None, 0)


def _attention_configs(model: nn.Module) -> list[Any]:
    """Return every configuration that says how the model attends, each once."""
    found = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "_attn_implementation_internal"):
            found[id(config)] = config
    return list(found.values())


def end_ids(model: Any, tokenizer: Any, renderer: Renderer) -> list[int]:
    """Return every token that ends a turn: the template's, the tokenizer's, and those the model was released with."""
    ends = {renderer.end_of_turn_id, tokenizer.eos_token_id}
    released = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends |= set(released if isinstance(released, list | tuple) else [released])
    return sorted(end for end in ends if end is not None)


def _ids_with_closing_bracket(tokenizer: Any) -> list[int]:
    """Return the tokens whose text can complete a closing tag."""
    return [index for token, index in tokenizer.get_vocab().items() if ">" in token or token == "<0x3E>"]
