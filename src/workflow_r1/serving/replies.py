"""Parts of every reply, whatever the protocol: the answer, the reasoning as text, the trace, the warnings."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workflow_r1.prompts import parse_turn
from workflow_r1.rollout.events import RolloutEvent, TurnFinished, TurnSampled
from workflow_r1.serving.requests import AnswerRequest, RequestError
from workflow_r1.trajectory import OperatorCall, StopReason, Trajectory, Turn, Usage
from workflow_r1.trajectory.records import Record


class TraceTurn(Record):
    """One turn of a trace."""

    index: int
    """1, 2, ..."""
    thought: str | None
    """Thought of the policy; None where a malformed turn holds no thought."""
    text: str
    """Everything that it wrote."""
    calls: tuple[OperatorCall, ...]
    """The operator calls with their observations, seconds, usage and cost, in the order in which they were written."""
    observation: str
    """Observation after the turn; empty after the last turn."""
    tokens: int
    """Tokens that the policy wrote."""
    seconds: float
    """Wall time of writing them; the calls have their own."""


class Trace(Record):
    """The way to an answer."""

    trajectory_id: str
    """Id of the trajectory, also in the saved file, where the server saves trajectories."""
    policy: str
    """Name of the policy."""
    simulation: bool
    """True where any part is the embedded world's: the answer then says nothing about the real world."""
    temperature: float
    """Sampling temperature of the policy; 0 is greedy."""
    seed: int
    """Seed of the sampling: the same request with it samples the same again, where the policy runs in the server."""
    asked: str
    """The question as the policy got it, with the added part of the conversation."""
    ignored_messages: int
    """Messages of the request that the policy did not see."""
    stop_reason: StopReason
    """Reason for the trajectory's end; where it is not ``answered``, there is no answer."""
    turns: tuple[TraceTurn, ...]
    """Turns in order."""
    usage: Usage
    """Usage of the operators; ``cost`` is null where a price is unknown."""
    currency: str
    """Currency of ``cost`` and ``paid``."""
    policy_usage: Usage
    """Usage of the policy's own server, where it has one."""
    seconds: float
    """Wall time from prompt to end."""


def make_trace(
    trajectory: Trajectory,
    *,
    seed: int,
    temperature: float,
    simulation: bool,
    currency: str,
    asked: str,
    ignored_messages: int,
    sampling_seconds: Mapping[int, float],
) -> Trace:
    """Make the trace of a trajectory.

    Args:
        trajectory: the whole of it.
        seed: seed of the request, or the one drawn for it.
        temperature: temperature of the policy.
        simulation: True where any part is the embedded world's.
        currency: currency of the costs.
        asked: the question as the policy was asked.
        ignored_messages: messages of the request that the policy did not see.
        sampling_seconds: seconds of sampling by index of the turn.
    """
    return Trace(
        trajectory_id=trajectory.id,
        policy=trajectory.policy,
        simulation=simulation,
        currency=currency,
        temperature=temperature,
        seed=seed,
        asked=asked,
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
    """Return the text that an event adds to ``reasoning_content``; empty where it adds nothing."""
    match event:
        case TurnSampled():
            parsed = parse_turn(event.sampled.text)
            # Everything of a malformed turn is shown: its fault stands there.
            thought = event.sampled.text if parsed.malformed else parsed.think or ""
            return "\n".join([thought, *(f"→ {call.operator}: {call.input}" for call in parsed.calls)]) + "\n"
        case TurnFinished():
            told = [call.observation for call in event.turn.calls]
            if not told and event.turn.observation:
                told = [event.turn.observation.removeprefix("<info>").removesuffix("</info>")]
            return "".join(f"← {text}\n" for text in told) + ("\n" if told else "")
        case _:
            return ""


def final_text(trajectory: Trajectory) -> str | None:
    """Return the answer; the last observation of an episode that came to its end otherwise; None where there is neither."""
    if trajectory.answer is not None or trajectory.stop_reason is not StopReason.DONE:
        return trajectory.answer
    return trajectory.turns[-1].calls[-1].observation


def answer_text(trajectory: Trajectory, stop: Sequence[str]) -> str:
    """The answer, cut at the first of the stop strings; empty where there is no answer."""
    answer = final_text(trajectory) or ""
    return answer[: min((at for at in map(answer.find, stop) if at >= 0), default=len(answer))]


def no_answer_text(trajectory: Trajectory) -> str:
    """Return the end of ``reasoning_content`` where there is no answer: it explains the empty message."""
    return "" if final_text(trajectory) is not None else f"No answer: {trajectory.stop_reason}.\n"


def policy_tokens(trajectory: Trajectory) -> dict[str, int]:
    """The policy's own tokens, as OpenAI's ``usage``. The operators' usage stands in the trace."""
    read, written = trajectory.policy_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _num_tokens(turn: Turn) -> int:
    return len(turn.token_ids) or turn.usage.completion_tokens


@dataclass(frozen=True, slots=True)
class Outcome:
    """Parts of a reply."""

    trajectory: Trajectory
    """The whole of it."""
    trace: Trace
    """The way to the answer."""
    answer: str
    """Text of the reply for the client."""
    reasoning: str
    """Thoughts, calls and observations as text."""
    warnings: tuple[str, ...]
    """Warnings about ignored fields of the request, and against false readings of the answer."""

    @property
    def beside(self) -> dict[str, Any]:
        """Fields of our replies besides those of the protocol."""
        return {"workflow_r1": self.trace.model_dump(mode="json"), "warnings": list(self.warnings)}


class Reply(Protocol):
    """Wording of one reply in a protocol, whole or as events. Each event is a line of server-sent events."""

    def whole(self, outcome: Outcome) -> dict[str, Any]:
        """The reply to a request that does not stream."""
        ...

    def begin(self) -> Iterable[str]:
        """Events at the beginning of a stream."""
        ...

    def reason(self, text: str) -> Iterable[str]:
        """More of the reasoning."""
        ...

    def end(self, outcome: Outcome) -> Iterable[str]:
        """The answer, and the events at the end of a stream."""
        ...

    def fail(self, error: RequestError) -> Iterable[str]:
        """Events at the end of a stream without an answer."""
        ...


def write_answer(trajectory: Trajectory, request: AnswerRequest) -> str:
    """Return the answer as the client wants it: cut at the first of its stop strings, or as JSON; empty where there is
    no answer.
    """
    if final_text(trajectory) is None:
        return ""
    answer = answer_text(trajectory, request.stop)
    return answer if request.json_key is None else json.dumps({request.json_key: answer})


def event(body: Mapping[str, Any], *, name: str | None = None) -> str:
    """One server-sent event."""
    head = "" if name is None else f"event: {name}\n"
    # ASCII alone: a chat server's reply may hold a lone surrogate, which JSON can escape and UTF-8 cannot hold.
    return f"{head}data: {json.dumps(body)}\n\n"
