"""Trajectories as traces of Trackio: the conversation in OpenAI's form, a span for each turn and call."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from workflow_r1.prompts import parse_turn
from workflow_r1.trajectory import ScoredTrajectory, Trajectory, Turn, Usage
from workflow_r1.trajectory.outcome import Outcome, outcome_of

if TYPE_CHECKING:
    import trackio


def make_trace(trajectory: Trajectory, *, llm: str | None = None) -> "trackio.Trace":
    """Return a trajectory as a trace.

    Args:
        trajectory: any trajectory.
        llm: name of the LLM behind the operators; None where it is unknown.
    """
    import trackio

    return trackio.Trace(
        messages=list(_messages(trajectory)), metadata=_metadata(trajectory), spans=list(_spans(trajectory, llm))
    )


def _messages(trajectory: Trajectory) -> Iterator[dict[str, Any]]:
    for message in trajectory.prompt:
        yield {"role": message.role, "content": message.content}
    if not trajectory.prompt:
        yield {"role": "user", "content": trajectory.question.text}
    for turn in trajectory.turns:
        yield from _messages_of(turn)


def _messages_of(turn: Turn) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text}
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": f"call-{turn.index}-{number}",
                "type": "function",
                "function": {"name": call.operator, "arguments": json.dumps({"input": call.input})},
            }
            for number, call in enumerate(turn.calls, start=1)
        ]
    yield message
    for number, call in enumerate(turn.calls, start=1):
        yield {
            "role": "tool",
            "tool_call_id": f"call-{turn.index}-{number}",
            "name": call.operator,
            "content": call.observation,
        }
    if turn.observation and not turn.calls:
        yield {"role": "user", "content": turn.observation}


def _metadata(trajectory: Trajectory) -> dict[str, Any]:
    outcome = outcome_of(trajectory)
    usage = trajectory.usage + trajectory.policy_usage
    reward = trajectory.reward if isinstance(trajectory, ScoredTrajectory) else None
    return {
        "session_id": trajectory.group_id,
        "trajectory": trajectory.id,
        "status": "error" if outcome is Outcome.FAILED else "ok",
        "outcome": None if outcome is None else outcome.value,
        "duration_ms": round(1000 * trajectory.seconds),
        "cost": usage.cost,
        "question": trajectory.question.id,
        "golden_answers": list(trajectory.question.golden_answers),
        "answer": trajectory.answer,
        "stop_reason": trajectory.stop_reason.value,
        "error": trajectory.error,
        "step": trajectory.step,
        "policy_version": trajectory.policy_version,
        "reward": None if reward is None else reward.total,
        "reward_parts": None if reward is None else dict(reward.parts),
    }


def _spans(trajectory: Trajectory, llm: str | None) -> Iterator[dict[str, Any]]:
    """Yield a generation for each turn, and below it a tool for each call. The records hold durations, but no times."""
    for turn in trajectory.turns:
        parsed = parse_turn(turn.text)
        id = f"turn-{turn.index}"
        tokens = Usage(prompt_tokens=0, completion_tokens=len(turn.token_ids)) if turn.token_ids else turn.usage
        yield {
            "id": id, "name": f"turn {turn.index}", "kind": "generation", "model": trajectory.policy or None,
            "status": "ok", "output": turn.text, "usage": _tokens(tokens),
            "metadata": {"well_formed": turn.well_formed, "malformed": parsed.malformed},
        }  # fmt: skip
        for number, call in enumerate(turn.calls, start=1):
            yield {
                "id": f"call-{turn.index}-{number}", "parent_id": id, "name": call.operator, "kind": "tool",
                "status": "ok" if call.valid else "error", "error": None if call.valid else call.observation,
                "duration_ms": round(1000 * call.seconds), "input": call.input, "output": call.observation,
                "model": llm if call.usage.llm_calls else None, "usage": _tokens(call.usage),
                "metadata": call.usage.without_zeros(),
            }  # fmt: skip


def _tokens(usage: Usage) -> dict[str, int]:
    if usage.tokens is None:
        return {}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.tokens,
    }
