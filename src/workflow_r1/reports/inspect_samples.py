"""Answers of an evaluation as samples of Inspect AI: the conversation, the scores, the usage.

| here | there |
|---|---|
| think | reasoning of an assistant message |
| operator call, observation | tool call, tool message; an error where the operator refused its arguments |
| a turn that breaks the grammar | its text as it was written; the environment's reply is a user message |
| exact match | score ``C`` or ``I``; ``N`` where there is no answer |
| an infrastructure failure | an error of the sample, and no score |
| a budget that was used up | the sample's limit |
"""

from collections.abc import Iterator, Sequence
from typing import Any

from inspect_ai.log import EvalError, EvalSample, EvalSampleLimit
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, Score
from inspect_ai.tool import ToolCall, ToolCallError

from workflow_r1.data import comparable_answer
from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus
from workflow_r1.prompts import ParsedCall, parse_turn
from workflow_r1.trajectory import (
    FinishReason,
    OperatorCall,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
    Usage,
)

OPERATORS = "operators"
POLICY = "policy"
"""Roles of the two LLMs whose tokens are counted."""


def make_sample(row: EvaluationRow, trajectory: Trajectory, *, epoch: int, llm: str, uuid: str) -> EvalSample:
    """Return an answer as a sample.

    Args:
        row: the answer in the log.
        trajectory: trajectory of the answer.
        epoch: number of the answer to its question, from 1.
        llm: name of the LLM behind the operators.
        uuid: unique among all samples of all logs.
    """
    messages = list(_messages(trajectory))
    usage = {llm: _usage(trajectory.usage)} if trajectory.usage.llm_calls else {}
    roles = {OPERATORS: usage[llm]} if usage else {}
    if any(own := trajectory.policy_tokens):
        policy = ModelUsage(input_tokens=own[0], output_tokens=own[1], total_tokens=sum(own))
        name = trajectory.policy or POLICY
        usage[name] = usage[name] + policy if name in usage else policy
        roles[POLICY] = policy
    failed = row.status is EvaluationStatus.FAILED
    return EvalSample(
        id=row.question_id,
        epoch=epoch,
        uuid=uuid,
        input=trajectory.question.text,
        target=list(trajectory.question.golden_answers),
        messages=messages,
        output=_output(trajectory, messages),
        scores=None if failed else _scores(row, trajectory),
        metadata=_metadata(row, trajectory),
        model_usage=usage,
        role_usage=roles,
        total_time=row.seconds,
        working_time=row.seconds,
        turn_count=len(trajectory.turns),
        error=_error(trajectory) if failed else None,
        limit=_limit(trajectory),
    )


def _messages(trajectory: Trajectory) -> Iterator[ChatMessage]:
    """Messages in order. Ids are numbers within the trajectory, so that two exports are the same."""
    for number, message in enumerate(trajectory.prompt):
        kind = {"system": ChatMessageSystem, "assistant": ChatMessageAssistant}.get(message.role, ChatMessageUser)
        yield kind(id=f"{trajectory.id}-p{number}", content=message.content, source="input")
    for turn in trajectory.turns:
        yield from _messages_of(turn, id=f"{trajectory.id}-t{turn.index}", model=trajectory.policy)


def _messages_of(turn: Turn, *, id: str, model: str) -> Iterator[ChatMessage]:
    parsed = parse_turn(turn.text)
    content: str | list[Any] = turn.text
    if turn.well_formed and parsed.think is not None:
        content = [ContentReasoning(reasoning=parsed.think)]
        content += [ContentText(text=parsed.answer)] if parsed.answer is not None else []
    # Calls that the infrastructure or the budget ended have no observation, and stand in the text alone.
    acted: Sequence[OperatorCall | ParsedCall] = turn.calls or (() if parsed.malformed else parsed.calls)
    calls = [
        ToolCall(id=f"{id}-c{number}", function=call.operator, arguments={"input": call.input})
        for number, call in enumerate(acted)
    ]
    cut_off = {"cut off": "the turn's tokens were used up"} if turn.finish_reason is FinishReason.LENGTH else None
    yield ChatMessageAssistant(
        id=id, content=content, tool_calls=calls or None, model=model or None, source="generate", metadata=cut_off
    )
    for number, (call, made) in enumerate(zip(turn.calls, calls, strict=False)):
        yield ChatMessageTool(
            id=f"{id}-o{number}",
            content=call.observation,
            tool_call_id=made.id,
            function=call.operator,
            error=None if call.valid else ToolCallError("parsing", call.observation),
            metadata={"seconds": call.seconds, **call.usage.without_zeros()},
        )
    if turn.observation and not turn.calls:
        yield ChatMessageUser(id=f"{id}-o", content=turn.observation)


def _output(trajectory: Trajectory, messages: Sequence[ChatMessage]) -> ModelOutput:
    last = next((each for each in reversed(messages) if isinstance(each, ChatMessageAssistant)), None)
    if last is None or not trajectory.turns:
        return ModelOutput(model=trajectory.policy)
    return ModelOutput(
        model=trajectory.policy,
        choices=[ChatCompletionChoice(message=last, stop_reason="stop")],
        completion=trajectory.answer or "",
        time=trajectory.seconds,
    )


def _scores(row: EvaluationRow, trajectory: Trajectory) -> dict[str, Score]:
    match: str | float | None = {1.0: CORRECT, 0.0: INCORRECT}.get(row.exact_match or 0.0, row.exact_match)
    if row.status is not EvaluationStatus.ANSWERED:
        match = NOANSWER
    if row.reward is not None:
        return _scores_of_task(row, trajectory)
    explanation = _explain(row, trajectory)
    reward = trajectory.reward.model_dump() if isinstance(trajectory, ScoredTrajectory) else None
    return {
        "exact_match": Score(value=match, answer=trajectory.answer, explanation=explanation, metadata=reward),
        "f1": Score(value=row.f1, answer=trajectory.answer, explanation=explanation),
    }


def _scores_of_task(row: EvaluationRow, trajectory: Trajectory) -> dict[str, Score]:
    """Return success, where the task says it, and the reward with its parts."""
    parts = trajectory.reward.parts if isinstance(trajectory, ScoredTrajectory) else None
    explanation = f"The episode ended: {trajectory.stop_reason.value}"
    scores = {"reward": Score(value=row.reward, explanation=explanation, metadata=parts)}
    if row.success is None:
        return scores
    verdict = CORRECT if row.success == 1.0 else INCORRECT
    return {"success": Score(value=verdict, answer=trajectory.answer, explanation=explanation), **scores}


def _explain(row: EvaluationRow, trajectory: Trajectory) -> str:
    golden = "; ".join(trajectory.question.golden_answers)
    if row.status is not EvaluationStatus.ANSWERED or trajectory.answer is None:
        return f"No answer: {row.status.value.replace('_', ' ')} ({trajectory.stop_reason.value}). Expected: {golden}"
    read = f"Read as {comparable_answer(trajectory.answer)!r}"
    if row.exact_match == 1.0:
        return f"{read}, which is a golden answer: {golden}"
    return f"{read}; expected: {golden}"


def _metadata(row: EvaluationRow, trajectory: Trajectory) -> dict[str, Any]:
    question = trajectory.question
    took = trajectory.usage + trajectory.policy_usage
    return {
        "status": row.status.value,
        "stop_reason": trajectory.stop_reason.value,
        "seed": row.seed,
        "repeat": row.repeat,
        "llm_calls": row.llm_calls,
        "operator_calls": sum(len(turn.calls) for turn in trajectory.turns),
        "searches": took.searches,
        "tokens": row.tokens,
        "cost": row.cost,
        "paid": took.paid,
        "policy": trajectory.policy,
        "policy_version": trajectory.policy_version,
        "trajectory": trajectory.id,
        "dataset": question.dataset,
        "split": question.split,
        "question": question.metadata,
    }


def _usage(usage: Usage) -> ModelUsage:
    return ModelUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def _error(trajectory: Trajectory) -> EvalError:
    message = f"{trajectory.stop_reason.value}: {trajectory.error or 'the infrastructure failed'}"
    return EvalError(message=message, traceback=message, traceback_ansi=message)


def _limit(trajectory: Trajectory) -> EvalSampleLimit | None:
    reached: dict[StopReason, tuple[Any, int]] = {
        StopReason.MAX_TURNS: ("turn", len(trajectory.turns)),
        StopReason.MAX_OPERATOR_CALLS: ("custom", sum(len(turn.calls) for turn in trajectory.turns)),
        StopReason.MAX_RESPONSE_TOKENS: ("token", sum(trajectory.policy_tokens)),
        StopReason.CONTEXT_FULL: ("context", sum(trajectory.policy_tokens)),
    }
    if trajectory.stop_reason not in reached:
        return None
    kind, number = reached[trajectory.stop_reason]
    return EvalSampleLimit(type=kind, limit=number, reason=f"{trajectory.stop_reason.value}, reached at {number}")
