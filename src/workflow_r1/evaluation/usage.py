"""Usage of services by trajectories, operator by operator."""

from collections.abc import Iterable

from workflow_r1.accounting import POLICY
from workflow_r1.trajectory import Trajectory, Usage
from workflow_r1.trajectory.outcome import operator_of
from workflow_r1.trajectory.records import Record


class OperatorUsage(Record):
    """Usage of all calls of one operator."""

    calls: int = 0
    """Calls by the policy."""
    usage: Usage = Usage()
    """LLM calls, tokens, searches and money."""
    seconds: float = 0.0
    """Wall time, summed over calls that may have run side by side."""

    def __add__(self, other: "OperatorUsage") -> "OperatorUsage":
        return OperatorUsage(
            calls=self.calls + other.calls, usage=self.usage + other.usage, seconds=self.seconds + other.seconds
        )


def usage_by_operator(trajectories: Iterable[Trajectory]) -> dict[str, OperatorUsage]:
    """Sum up the usage of each operator, in alphabetical order of their names.

    A policy behind a server stands among them as ``(policy)``, with its turns as calls.
    """
    operators: dict[str, OperatorUsage] = {}
    for trajectory in trajectories:
        for call in (call for turn in trajectory.turns for call in turn.calls):
            name = operator_of(call)
            this = OperatorUsage(calls=1, usage=call.usage, seconds=call.seconds)
            operators[name] = operators.get(name, OperatorUsage()) + this
        if trajectory.policy_usage.llm_calls:
            this = OperatorUsage(calls=len(trajectory.turns), usage=trajectory.policy_usage)
            operators[POLICY] = operators.get(POLICY, OperatorUsage()) + this
    return dict(sorted(operators.items()))
