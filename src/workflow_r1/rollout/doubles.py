"""Policies without a model, for tests of all code that is built on rollouts."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from workflow_r1.inference.loopback import Route
from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.trajectory import FinishReason, Message

Script = Sequence[str | Exception] | Callable[[Sequence[Message]], str | Exception]
"""The turns of every session in order, or a function from the messages so far to the next turn.
An exception is raised where a turn would be."""


class ScriptedPolicy:
    """A ``Policy`` that writes the turns of a script.

    With a tokenizer it gives token ids as a model would: the prompt and observations by the chat template, its own
    turns encoded once, and log-probabilities of 0, since a script leaves no choice.
    """

    def __init__(
        self, script: Script, *, tokenizer: Any = None, end_token: bool = True, name: str = "scripted"
    ) -> None:
        """Set up the policy.

        Args:
            script: the turns.
            tokenizer: a Hugging Face tokenizer with a chat template; None gives text only.
            end_token: with a tokenizer, turns end in the end-of-turn token; False ends them where the text ends.
            name: name in records and reports.
        """
        self._script = script
        self._renderer = Renderer(tokenizer) if tokenizer is not None else None
        self._end_token = end_token
        self._name = name
        self.seeds: list[int] = []
        """Seeds of the sessions, in the order in which they were opened."""
        self.temperatures: list[float] = []
        """Temperatures that were asked for; they change nothing."""

    @property
    def name(self) -> str:
        """Name for records and reports."""
        return self._name

    def at_temperature(self, temperature: float) -> "ScriptedPolicy":
        """Note the temperature: a script leaves no choice."""
        self.temperatures.append(temperature)
        return self

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["ScriptedSession"]:
        """Open a session, which begins at the start of the script."""
        self.seeds.append(seed)
        yield ScriptedSession(self._script, self._renderer, end_token=self._end_token)


Draw = Callable[[Mapping[str, Any], Path | None], tuple[Sequence[int], Sequence[float]]]
"""Maps a request of ``/v1/completions`` and the adapter's directory (None: the base model) to tokens and log-probabilities."""


class LoopbackPolicy:
    """The endpoints of a vLLM server that a training run samples on, for ``LoopbackServer(..., routes=policy.routes)``.

    Like the real one it forgets its adapters when it is started anew: :meth:`forget`.

    Args:
        draw: samples the tokens.
        model: the base model's name.
        max_model_len: longest context, as ``/v1/models`` reports it, in tokens.
    """

    def __init__(self, draw: Draw, *, model: str = "policy", max_model_len: int = 2048) -> None:
        self._draw = draw
        self._model = model
        self._max_model_len = max_model_len
        self._adapters: dict[str, Path] = {}
        self.requests: list[Mapping[str, Any]] = []
        """Requests for completions, in the order in which they came."""
        self.loaded: list[Path] = []
        """Adapters that were loaded, in order."""
        self.routes: dict[str, Route] = {
            "/v1/completions": self._complete,
            "/v1/load_lora_adapter": self._load,
            "/v1/models": self._list,
        }
        """Handlers by path."""

    def forget(self) -> None:
        """Lose all adapters, as by a restart."""
        self._adapters.clear()

    async def _list(self, request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"data": [{"id": self._model, "max_model_len": self._max_model_len}]}

    async def _load(self, request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        path = Path(request["lora_path"])
        if not _is_directory(path):
            return 404, {"error": {"message": f"no adapter found at {path}"}}
        self._adapters[request["lora_name"]] = path
        self.loaded.append(path)
        return 200, {}

    async def _complete(self, request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        name = request["model"]
        if name != self._model and name not in self._adapters:
            return 404, {"error": {"message": f"The model `{name}` does not exist."}}
        self.requests.append(request)
        ids, logprobs = self._draw(request, self._adapters.get(name))
        ended = bool(ids) and ids[-1] in request["stop_token_ids"]
        choice = {
            "token_ids": list(ids),
            "prompt_token_ids": request["prompt"],
            "logprobs": {"token_logprobs": list(logprobs)},
            "finish_reason": "stop" if ended else "length",
        }
        return 200, {"model": name, "choices": [choice]}


class ScriptedSession:
    """One run through the script."""

    def __init__(self, script: Script, renderer: Renderer | None, *, end_token: bool) -> None:
        self._script = script
        self._renderer = renderer
        self._end_token = end_token
        self._messages: list[Message] = []
        self._num_turns = 0
        self._ended = False

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Append messages and return their tokens, where there is a tokenizer."""
        first = not self._messages
        self._messages.extend(messages)
        if self._renderer is None:
            return ()
        return self._renderer.prompt(messages) if first else self._renderer.increment(messages, ended=self._ended)

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Return the next turn of the script, cut to ``max_tokens`` where there is a tokenizer.

        Raises:
            ValueError: the script has no further turn.
        """
        turn = self._next()
        if isinstance(turn, Exception):
            raise turn
        self._num_turns += 1
        finish_reason = FinishReason.STOP
        ids: tuple[int, ...] = ()
        if self._renderer is not None:
            ids = (*self._renderer.encode_turn(turn), *([self._renderer.end_of_turn_id] if self._end_token else []))
            if len(ids) > max_tokens:
                ids, finish_reason = ids[:max_tokens], FinishReason.LENGTH
                turn = self._renderer.turn_text(ids)
            self._ended = bool(ids) and ids[-1] == self._renderer.end_of_turn_id
        self._messages.append(Message(role="assistant", content=turn))
        return SampledTurn(text=turn, token_ids=ids, logprobs=(0.0,) * len(ids), finish_reason=finish_reason)

    def _next(self) -> str | Exception:
        if callable(self._script):
            return self._script(tuple(self._messages))
        if self._num_turns >= len(self._script):
            raise ValueError(f"expected a script of more than {len(self._script)} turns: the environment wants another")
        return self._script[self._num_turns]


def _is_directory(path: Path) -> bool:
    return path.is_dir()
