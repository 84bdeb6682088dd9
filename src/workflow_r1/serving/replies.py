"""What a client gets: OpenAI's chat completion or its chunks, with the trace beside the answer.

The answer is the message's ``content``. Two fields that ordinary clients pass over tell how it came about: the thoughts,
calls and observations as text in ``reasoning_content`` (the name that DeepSeek's API gave it and chat clients show), and
the whole :class:`Trace` in ``workflow_r1``, in a stream with its last choice.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from workflow_r1.prompts import parse_turn
from workflow_r1.rollout.events import RolloutEvent, TurnFinished, TurnSampled
from workflow_r1.trajectory import OperatorCall, StopReason, Trajectory, Turn, Usage
from workflow_r1.trajectory.records import Record


class TraceTurn(Record):
    """One turn of a trace."""

    index: int
    """1, 2, ..."""
    thought: str | None
    """What the policy thought; None where a malformed turn holds no thought."""
    text: str
    """Everything that it wrote."""
    calls: tuple[OperatorCall, ...]
    """The operator calls with their observations, seconds, usage and cost, in the order in which they were written."""
    observation: str
    """What the policy was told; empty after the last turn."""
    tokens: int
    """Tokens that the policy wrote."""
    seconds: float
    """Wall time of writing them; the calls have their own."""


class Trace(Record):
    """How an answer came about."""

    trajectory_id: str
    """Also in the saved file, where the server saves trajectories."""
    policy: str
    """Name of the policy."""
    simulation: bool
    """Whether any part is the embedded world's: the answer then says nothing about the real world."""
    temperature: float
    """That the policy was sampled at; 0 is greedy."""
    seed: int
    """The same request with this ``seed`` samples the same again, where the policy runs in the server."""
    ignored_messages: int
    """Messages of the request that the policy did not see."""
    stop_reason: StopReason
    """Why the trajectory ended; where it is not ``answered``, there is no answer."""
    turns: tuple[TraceTurn, ...]
    """In order."""
    usage: Usage
    """What the operators took; ``cost`` is null where a price is unknown."""
    currency: str
    """Of ``cost`` and ``paid``."""
    policy_usage: Usage
    """What the policy's own server took, where it has one."""
    seconds: float
    """Wall time from prompt to end."""


def make_trace(
    trajectory: Trajectory,
    *,
    seed: int,
    temperature: float,
    simulation: bool,
    currency: str,
    ignored_messages: int,
    sampling_seconds: Mapping[int, float],
) -> Trace:
    """Make the trace of a trajectory.

    Args:
        trajectory: the whole of it.
        seed: of the request, or the one drawn for it.
        temperature: of the policy.
        simulation: whether any part is the embedded world's.
        currency: of the costs.
        ignored_messages: messages of the request that the policy did not see.
        sampling_seconds: by index of the turn.
    """
    return Trace(
        trajectory_id=trajectory.id,
        policy=trajectory.policy,
        simulation=simulation,
        currency=currency,
        temperature=temperature,
        seed=seed,
        ignored_messages=ignored_messages,
        stop_reason=trajectory.stop_reason,
        turns=tuple(
            TraceTurn(
                index=turn.index,
                thought=parse_turn(turn.text).think,
                text=turn.text,
                calls=turn.calls,
                observation=turn.observation,
                tokens=_num_tokens(turn),
                seconds=sampling_seconds.get(turn.index, 0.0),
            )
            for turn in trajectory.turns
        ),
        usage=trajectory.usage,
        policy_usage=trajectory.policy_usage,
        seconds=trajectory.seconds,
    )


def reasoning_text(event: RolloutEvent) -> str:
    """What an event adds to ``reasoning_content``; empty where it adds nothing."""
    match event:
        case TurnSampled():
            parsed = parse_turn(event.sampled.text)
            # Of a malformed turn everything is shown: that is where the fault can be seen.
            thought = event.sampled.text if parsed.malformed else parsed.think or ""
            return "\n".join([thought, *(f"→ {call.operator}: {call.input}" for call in parsed.calls)]) + "\n"
        case TurnFinished():
            told = [call.observation for call in event.turn.calls]
            if not told and event.turn.observation:
                told = [event.turn.observation.removeprefix("<info>").removesuffix("</info>")]
            return "".join(f"← {text}\n" for text in told) + ("\n" if told else "")
        case _:
            return ""


def answer_text(trajectory: Trajectory, stop: Sequence[str]) -> str:
    """The answer, cut at the first of the stop strings; empty where there is none."""
    answer = trajectory.answer or ""
    return answer[: min((at for at in map(answer.find, stop) if at >= 0), default=len(answer))]


def no_answer_text(trajectory: Trajectory) -> str:
    """What ``reasoning_content`` ends with where there is no answer, so that an empty message explains itself."""
    return "" if trajectory.answer is not None else f"No answer: {trajectory.stop_reason}.\n"


def policy_tokens(trajectory: Trajectory) -> dict[str, int]:
    """The policy's own tokens, as OpenAI's ``usage``. What the operators took stands in the trace."""
    read = trajectory.policy_usage.prompt_tokens + len(trajectory.prompt_token_ids)
    read += sum(len(turn.context_token_ids) for turn in trajectory.turns)
    written = sum(_num_tokens(turn) for turn in trajectory.turns)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _num_tokens(turn: Turn) -> int:
    return len(turn.token_ids) or turn.usage.completion_tokens


class Completion:
    """The reply to one request: whole, or in chunks."""

    def __init__(self, *, id: str, model: str) -> None:
        self._head = {"id": id, "created": int(time.time()), "model": model}

    def whole(self, trajectory: Trajectory, trace: Trace, *, reasoning: str, stop: Sequence[str]) -> dict[str, Any]:
        """The reply to a request that does not stream."""
        message = {
            "role": "assistant",
            "content": answer_text(trajectory, stop),
            "refusal": None,
            "reasoning_content": reasoning,
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(trajectory)}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": policy_tokens(trajectory),
            "workflow_r1": trace.model_dump(mode="json"),
        }

    def delta(self, **delta: str) -> dict[str, Any]:
        """A chunk that adds something to the message."""
        return self._chunk({"index": 0, "delta": delta, "logprobs": None, "finish_reason": None})

    def last(self, trajectory: Trajectory, trace: Trace) -> dict[str, Any]:
        """The chunk that ends the message."""
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish_reason(trajectory)}
        return {**self._chunk(choice), "workflow_r1": trace.model_dump(mode="json")}

    def usage(self, trajectory: Trajectory) -> dict[str, Any]:
        """The chunk after the last choice, for clients that ask for the usage."""
        return {**self._chunk(), "usage": policy_tokens(trajectory)}

    def _chunk(self, *choices: dict[str, Any]) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": list(choices)}


def _finish_reason(trajectory: Trajectory) -> str:
    """``length`` where a budget of the environment ended the trajectory before an answer."""
    return "stop" if trajectory.answer is not None else "length"
