"""Trajectories in the Agent Trajectory Interchange Format (ATIF), built and checked by the models of its own package.

| here | there |
|---|---|
| prompt | steps of the system and the user |
| turn | a step of the agent: think as reasoning, operator calls as tool calls, the answer as its message |
| observation | result of the tool call; of a turn that breaks the grammar, a result without a call |
| the LLM behind a call | a sub-trajectory: what it was asked, what it returned, what that took |
| reward, outcome, golden answers | ``extra`` of the document |

Source: the package ``atif`` (format 1.8), and the RFC that it names.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workflow_r1.prompts import ParsedCall, parse_turn
from workflow_r1.trajectory import OperatorCall, ScoredTrajectory, Trajectory, Turn, Usage
from workflow_r1.trajectory.outcome import outcome_of
from workflow_r1.version import __version__
from workflow_r1.workflows.values import read_values

if TYPE_CHECKING:
    import atif

SCHEMA = "ATIF-v1.8"
"""Version of the format."""

USD = "USD"
"""The one currency that the format knows; amounts in another stand in ``extra``."""

_NOTE = "The record of a call holds its input and its observation, not the messages of the LLM between them."


def make_document(
    trajectory: Trajectory, *, llm: str | None = None, currency: str | None = None, with_tokens: bool = False
) -> "atif.Trajectory":
    """Return a trajectory as a document, which the models of ``atif`` have checked.

    Args:
        trajectory: any trajectory; a file of an earlier version lacks its step.
        llm: name of the LLM behind the operators; None where it is unknown.
        currency: currency of the costs; None where it is unknown.
        with_tokens: give each turn the ids and log-probabilities of its tokens, and the ids of all tokens before it, as far
            as the policy ran in this process. The document then grows with the square of the turns.
    """
    import atif

    steps: list[atif.Step] = []
    for message in trajectory.prompt:
        source = {"system": "system", "assistant": "agent"}.get(message.role, "user")
        copied = True if source == "agent" else None
        steps.append(
            atif.Step(step_id=len(steps) + 1, source=source, message=message.content, is_copied_context=copied)
        )
    if not trajectory.prompt:
        steps.append(atif.Step(step_id=1, source="user", message=trajectory.question.text))
    before = list(trajectory.prompt_token_ids)
    subtrajectories: list[atif.Trajectory] = []
    for turn in trajectory.turns:
        made = [_subtrajectory(trajectory.id, turn, number, llm, currency) for number in range(1, len(turn.calls) + 1)]
        subtrajectories += [each for each in made if each is not None]
        steps.append(_step(len(steps) + 1, turn, made, _metrics(turn, before, currency, with_tokens=with_tokens)))
        before += [*turn.token_ids, *turn.context_token_ids]
    usage = trajectory.usage + trajectory.policy_usage
    return atif.Trajectory(
        schema_version=SCHEMA,
        session_id=trajectory.group_id,
        trajectory_id=trajectory.id,
        agent=atif.Agent(name="workflow-r1", version=__version__, model_name=trajectory.policy or None),
        steps=steps,
        subagent_trajectories=subtrajectories or None,
        final_metrics=atif.FinalMetrics(
            total_prompt_tokens=_total(steps, "prompt_tokens"),
            total_completion_tokens=_total(steps, "completion_tokens"),
            total_cost_usd=usage.cost if currency == USD else None,
            total_steps=len(steps),
            extra=_taken(trajectory.usage, None),
        ),
        extra=_extra(trajectory, usage, currency),
    )


def _step(
    number: int, turn: Turn, subtrajectories: "list[atif.Trajectory | None]", metrics: "atif.Metrics"
) -> "atif.Step":
    import atif

    parsed = parse_turn(turn.text)
    is_read = not parsed.malformed or bool(turn.calls)
    # A fixed workflow or a script writes its turns without an LLM.
    by_llm = bool(turn.token_ids) or turn.usage.llm_calls > 0
    results = [
        atif.ObservationResult(
            source_call_id=_call_id(turn, at),
            content=call.observation,
            subagent_trajectory_ref=None
            if sub is None
            else [atif.SubagentTrajectoryRef(trajectory_id=sub.trajectory_id)],
            extra={"valid": call.valid, "seconds": call.seconds},
        )
        for at, (call, sub) in enumerate(zip(turn.calls, subtrajectories, strict=True), start=1)
    ]
    if not turn.calls and turn.observation:
        results = [atif.ObservationResult(content=turn.observation)]
    acted: Sequence[OperatorCall | ParsedCall] = turn.calls or (parsed.calls if is_read else ())
    calls = [
        atif.ToolCall(tool_call_id=_call_id(turn, at), function_name=call.operator, arguments=_arguments(call.input))
        for at, call in enumerate(acted, start=1)
    ]
    return atif.Step(
        step_id=number,
        source="agent",
        message=(parsed.answer or "") if is_read else turn.text,
        reasoning_content=parsed.think if is_read and by_llm else None,
        tool_calls=calls or None,
        observation=atif.Observation(results=results) if results else None,
        metrics=metrics if by_llm else None,
        llm_call_count=(turn.usage.llm_calls or 1) if by_llm else 0,
        extra={
            "turn": turn.index,
            "well_formed": turn.well_formed,
            "text": turn.text,
            **({} if turn.policy_version is None else {"policy_version": turn.policy_version}),
            **({} if turn.reward is None else {"reward": turn.reward}),
        },
    )


def _metrics(turn: Turn, before: list[int], currency: str | None, *, with_tokens: bool) -> "atif.Metrics":
    import atif

    served = turn.usage.llm_calls > 0
    own = {"prompt_tokens": len(before), "completion_tokens": len(turn.token_ids)}
    return atif.Metrics(
        **(_tokens(turn.usage) if served else own),
        cost_usd=turn.usage.cost if served and currency == USD else None,
        prompt_token_ids=list(before) if with_tokens and turn.token_ids else None,
        completion_token_ids=list(turn.token_ids) if with_tokens and turn.token_ids else None,
        logprobs=list(turn.logprobs) if with_tokens and turn.logprobs else None,
    )


def _subtrajectory(id: str, turn: Turn, number: int, llm: str | None, currency: str | None) -> "atif.Trajectory | None":
    """Return the LLM's work on one call; None where no LLM took part."""
    import atif

    call: OperatorCall = turn.calls[number - 1]
    if not call.usage.llm_calls:
        return None
    return atif.Trajectory(
        schema_version=SCHEMA,
        trajectory_id=f"{id}/{_call_id(turn, number)}",
        agent=atif.Agent(name=call.operator, version=__version__, model_name=llm),
        steps=[
            atif.Step(step_id=1, source="user", message=call.input),
            atif.Step(
                step_id=2,
                source="agent",
                message=call.observation,
                llm_call_count=call.usage.llm_calls,
                metrics=atif.Metrics(
                    **_tokens(call.usage),
                    cost_usd=call.usage.cost if currency == USD else None,
                ),
            ),
        ],
        notes=_NOTE,
        extra=_taken(call.usage, currency),
    )


def _call_id(turn: Turn, number: int) -> str:
    """Id of a call: that of its node in the flow of data."""
    return f"call-{turn.index}-{number}"


def _arguments(text: str) -> dict[str, Any]:
    """Return the tagged arguments by name, a list where a name occurs more than once; an input without tags as ``input``."""
    values: dict[str, list[str]] = {}
    for name, value in read_values(text):
        values.setdefault(name or "input", []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _taken(usage: Usage, currency: str | None) -> dict[str, Any]:
    money = {} if currency in (None, USD) else {"cost": usage.cost, "currency": currency}
    taken = {name: value for name, value in usage.without_zeros().items() if name not in ("cost", "paid")}
    return {**taken, **money}


def _tokens(usage: Usage) -> dict[str, int]:
    """Return the figures of a service; nothing where it did not count tokens."""
    if usage.tokens is None:
        return {}
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}


def _total(steps: "list[atif.Step]", name: str) -> int | None:
    """Return the sum over the steps; None where a step's figure is unknown, or no step has metrics."""
    found = [getattr(step.metrics, name) for step in steps if step.metrics is not None]
    return sum(found) if found and None not in found else None


def _extra(trajectory: Trajectory, usage: Usage, currency: str | None) -> dict[str, Any]:
    outcome = outcome_of(trajectory)
    reward = trajectory.reward if isinstance(trajectory, ScoredTrajectory) else None
    return {
        "question": trajectory.question.model_dump(mode="json"),
        "stop_reason": trajectory.stop_reason.value,
        "outcome": None if outcome is None else outcome.value,
        "reward": None if reward is None else reward.model_dump(mode="json"),
        "step": trajectory.step,
        "policy_version": trajectory.policy_version,
        "seed": trajectory.seed,
        "seconds": trajectory.seconds,
        "error": trajectory.error,
        "cost": usage.cost,
        "currency": currency,
    }
