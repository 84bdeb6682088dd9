"""The operators of one trajectory: their calls, the budget of calls, and what comes back, safe and short.

The numbers are those of the behaviours in ``environment.questions``.
"""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence

from workflow_r1.accounting import charged_to
from workflow_r1.environment.config import EnvironmentConfig
from workflow_r1.errors import ConfigError, ServiceError
from workflow_r1.nearest import nearest
from workflow_r1.operators import Operator, OperatorServices
from workflow_r1.prompts import ParsedCall, cut_middle, neutralise
from workflow_r1.trajectory import OperatorCall

NOT_RUN = "Not run: no operator calls were left."
"""Observation of a call beyond the budget."""

LEFT_OUT = "{num} more observations were left out: call fewer operators in one turn."
"""Text in place of the observations for which a turn has no room."""

_MAX_QUOTED_CHARS = 64
"""Longest part of an unknown operator's name that is repeated to the policy, in characters."""


class OperatorPool:
    """The operators that one trajectory may call, and its calls that are left."""

    def __init__(
        self,
        config: EnvironmentConfig,
        *,
        operators: Mapping[str, Operator],
        services: OperatorServices,
        special_tokens: Sequence[str] = (),
    ) -> None:
        """Set up the pool of one trajectory.

        Args:
            config: pool and limits.
            operators: operators by the names that the pool uses.
            services: LLM and search that the operators may use.
            special_tokens: special tokens of the policy's tokenizer.

        Raises:
            ConfigError: the pool names an operator that is not in ``operators``.
        """
        unknown = [name for name in config.operators if name not in operators]
        if unknown:
            raise ConfigError(
                f"environment.operators: expected names among {', '.join(operators)}; found {', '.join(unknown)}"
            )
        self.operators: Mapping[str, Operator] = {name: operators[name] for name in config.operators}
        """The operators by name, in the order of the menu."""
        tags = {argument.name for operator in self.operators.values() for argument in operator.arguments}
        self.special_tokens: Sequence[str] = (
            *special_tokens,
            *(f"<{slash}{tag}>" for tag in sorted(tags) for slash in ("", "/")),
        )
        """Neutralised in outside text, besides the common ones: the tokenizer's and the argument tags (10)."""
        self.num_left = config.max_operator_calls
        """Calls that are left."""
        self._config = config
        self._services = services

    async def run(self, calls: Sequence[ParsedCall]) -> tuple[OperatorCall, ...]:
        """Run the calls that the budget allows, concurrently (behaviours 2, 4, 5, 8 to 10).

        Args:
            calls: the calls of one turn, in order.

        Returns:
            All of them, in their order; those beyond the budget say that they were not run.

        Raises:
            ServiceError: a service failed after its retries; the other calls are cancelled.
        """
        num_left = self.num_left
        self.num_left -= min(len(calls), num_left)
        tasks: list[asyncio.Task[OperatorCall]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks.extend(group.create_task(self._call(call)) for call in calls[:num_left])
        except ExceptionGroup as failures:
            raise _most_telling(tasks, failures) from None
        not_run = (
            OperatorCall(operator=call.operator, input=call.input, observation=NOT_RUN, valid=False)
            for call in calls[num_left:]
        )
        return (*(task.result() for task in tasks), *not_run)

    async def _call(self, call: ParsedCall) -> OperatorCall:
        """Run one call and make its observation safe and short."""
        started = time.perf_counter()
        operator = self.operators.get(call.operator)
        if operator is None:
            return OperatorCall(
                operator=call.operator, input=call.input, observation=self._explain_unknown(call), valid=False
            )
        with charged_to(call.operator) as charge:
            result = await operator(call.input, self._services)
        observation = cut_middle(result.observation, self._config.max_observation_chars)
        return OperatorCall(
            operator=call.operator,
            input=call.input,
            observation=neutralise(observation, self.special_tokens) if result.valid else observation,
            valid=result.valid,
            usage=charge.fuller(result.usage),
            seconds=time.perf_counter() - started,
            reward=result.reward,
        )

    def _explain_unknown(self, call: ParsedCall) -> str:
        name = neutralise(cut_middle(call.operator, _MAX_QUOTED_CHARS), self.special_tokens)
        near = nearest(call.operator[:_MAX_QUOTED_CHARS], self.operators)
        hint = f" Did you mean {near}?" if near else ""
        return f"There is no operator {name!r}.{hint} Operators: {', '.join(self.operators) or 'none'}."


def reward_of(calls: Sequence[OperatorCall]) -> float | None:
    """Return the sum of the operators' scores of a turn's calls; None where no call has one."""
    rewards = [call.reward for call in calls if call.reward is not None]
    return sum(rewards) if rewards else None


def within(texts: Sequence[str], max_chars: int) -> list[str]:
    """Keep whole observations from the first on while they fit together, and say how many do not."""
    num_fitting = sum(total <= max_chars for total in itertools.accumulate(len(text) for text in texts))
    if num_fitting == len(texts):
        return list(texts)
    return [*texts[:num_fitting], LEFT_OUT.format(num=len(texts) - num_fitting)]


def _most_telling(tasks: Sequence[asyncio.Task[OperatorCall]], failures: ExceptionGroup[Exception]) -> Exception:
    """Choose the error to raise: a programming error before a failed service, then the order of the calls."""
    errors = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    found = [error for error in errors if isinstance(error, Exception)] or list(failures.exceptions)
    return next((error for error in found if not isinstance(error, ServiceError)), found[0])
