"""One trajectory as a page shows it: the turns with their figures, and the golden answers beside the policy's own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from workflow_r1.data.normalise import comparable_answer
from workflow_r1.prompts import parse_turn
from workflow_r1.trajectory import ScoredTrajectory, Trajectory, Turn, Usage
from workflow_r1.trajectory.outcome import outcome_of, question_class
from workflow_r1.viewing.source import Json
from workflow_r1.workflows import Effect, trace_effects, trace_flow

STD_EPSILON = 1e-6
"""As in ``algorithms.advantage``, which needs torch."""


def describe(trajectory: Trajectory, *, group_rewards: Sequence[float] = (), advantage: str = "") -> Json:
    """Return a trajectory as JSON, without its tokens.

    Args:
        trajectory: the trajectory.
        group_rewards: rewards of its group, its own among them; infrastructure failures left out.
        advantage: kind of advantage that the run was trained with; empty for none.
    """
    question = trajectory.question
    reward = trajectory.reward if isinstance(trajectory, ScoredTrajectory) else None
    effects = {effect.call: effect for effect in trace_effects(trajectory)}
    usage = trajectory.usage + trajectory.policy_usage
    return {
        "id": trajectory.id,
        "group_id": trajectory.group_id,
        "step": trajectory.step,
        "policy": trajectory.policy,
        "policy_version": trajectory.policy_version,
        "seed": str(trajectory.seed),  # A number in JavaScript holds 53 bits.
        "question": {
            "id": question.id,
            "text": question.text,
            "golden": [
                {"text": answer, "normalised": comparable_answer(answer)} for answer in question.golden_answers[:50]
            ],
            "class": question_class(question),
            "dataset": question.dataset,
            "split": question.split,
            "metadata": {name: _short(value) for name, value in list(question.metadata.items())[:30]},
        },
        "answer": trajectory.answer,
        "normalised": None if trajectory.answer is None else comparable_answer(trajectory.answer),
        "outcome": outcome_of(trajectory),
        "stop_reason": trajectory.stop_reason,
        "error": trajectory.error,
        "seconds": round(trajectory.seconds, 4),
        "reward": None if reward is None else {"total": reward.total, "parts": reward.parts},
        "advantage": None if reward is None else _advantage(reward.total, group_rewards, advantage),
        "prompt": [{"role": message.role, "content": message.content} for message in trajectory.prompt],
        "prompt_tokens": len(trajectory.prompt_token_ids),
        "turns": [_describe_turn(turn, effects) for turn in trajectory.turns],
        "usage": _describe_usage(usage),
        "flow": asdict(trace_flow(trajectory)),
    }


def _describe_turn(turn: Turn, effects: Mapping[str, Effect]) -> Json:
    parsed = parse_turn(turn.text)
    calls = []
    for number, call in enumerate(turn.calls, start=1):
        node = f"call-{turn.index}-{number}"
        effect = effects.get(node)
        calls.append(
            {
                "operator": call.operator,
                "input": call.input,
                "observation": call.observation,
                "valid": call.valid,
                "seconds": round(call.seconds, 4),
                "usage": _describe_usage(call.usage),
                "reward": call.reward,
                "effect": None if effect is None else effect.kind,
                "right_after": None if effect is None else effect.after,
                "node": node,
            }
        )
    logprobs = [round(value, 3) for value in turn.logprobs if math.isfinite(value)]
    return {
        "index": turn.index,
        "text": turn.text,
        "think": parsed.think,
        "answer": parsed.answer,
        "well_formed": turn.well_formed,
        "calls": calls,
        # Text that came back beyond the calls' own words: how to act, after a malformed turn.
        "observation": turn.observation if not calls else "",
        "tokens": len(turn.token_ids) or turn.usage.completion_tokens,
        "context_tokens": len(turn.context_token_ids),
        "logprob": sum(turn.logprobs) / len(logprobs) if logprobs else None,
        "logprobs": logprobs,
        "finish_reason": turn.finish_reason,
        "policy_version": turn.policy_version,
        "reward": turn.reward,
        "seconds": round(sum(call.seconds for call in turn.calls), 4),
        "usage": _describe_usage(sum((call.usage for call in turn.calls), start=turn.usage)),
    }


def _describe_usage(usage: Usage) -> Json:
    return {name: value for name, value in usage.model_dump().items() if value}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _advantage(reward: float, rewards: Sequence[float], kind: str) -> float | None:
    """The advantage of a reward in its group, as ``algorithms.advantages`` computes it; None for an unknown kind."""
    num = len(rewards)
    if not kind or not num:
        return None
    if kind == "reward":
        return reward
    centred = reward - sum(rewards) / num
    if num == 1 or min(rewards) == max(rewards):
        return 0.0
    if kind == "group_centred":
        return centred
    if kind == "leave_one_out":
        return centred * num / (num - 1)
    if kind == "group_normalised":
        mean = sum(rewards) / num
        std = math.sqrt(sum((other - mean) ** 2 for other in rewards) / (num - 1))
        return centred / (std + STD_EPSILON)
    return None
