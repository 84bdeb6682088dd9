"""The environment of one trajectory: it reads the policy's turns, runs the operators, and keeps the budgets.

Numbered behaviours of :meth:`Environment.step`; the tests use the same numbers.

 1. An answer ends the trajectory (``answered``).
 2. The calls of one turn run concurrently; their observations come back in the order in which they were written.
 3. A malformed turn, or several calls where ``parallel_calls`` is off, runs nothing: the observation says how to act.
 4. An unknown operator or wrong arguments are the policy's mistake: the observation says what to write instead. Such a
    call counts against the budget like any other.
 5. A turn that asks for more calls than are left gets as many as are left, from the first on; the observation of each
    of the others says that it was not run.
 6. With the last call the observation says that no call is left. The policy may still answer; a turn that nevertheless
    asks for a call ends the trajectory (``max_operator_calls``).
 7. The last turn that ``max_turns`` allows can only answer: anything else ends the trajectory (``max_turns``) and runs
    nothing, since the policy would never read the result.
 8. An operator's text is cut in the middle to ``max_observation_chars`` and neutralised. The text of an invalid
    result is our own, says with our tags how to call, and is only cut.
 9. A service that fails raises its ``ServiceError``, not an exception group; the turn's other calls are cancelled and
    the environment is over. Any other exception of an operator is a programming error and is raised as it is.
10. The argument tags of the pool's own operators are neutralised in an operator's text, like those of the package's:
    a policy that copies a passage into an argument must not let the passage end it.
11. The observations of a turn come back whole, from the first on, until the next would pass ``max_turn_observation_chars``;
    one line says how many are left out. Their calls were run, or not run, as if there were no such limit.

The token budgets (``max_prompt_tokens``, ``max_response_tokens``) are kept by the rollout, which sees the tokens.
"""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflow_r1.accounting import charged_to
from workflow_r1.environment.config import EnvironmentConfig
from workflow_r1.errors import ConfigError, ServiceError
from workflow_r1.nearest import nearest
from workflow_r1.operators import Operator, OperatorServices
from workflow_r1.prompts import (
    MALFORMED_INSTRUCTION,
    ParsedCall,
    cut_middle,
    format_observation,
    neutralise,
    parse_turn,
    render_prompt,
)
from workflow_r1.trajectory import Message, OperatorCall, Question, StopReason

ONE_CALL_INSTRUCTION = (
    "Nothing was run: write exactly one <tool>OperatorName: input</tool> after the <think>...</think> of a turn."
)
"""Observation of a turn with several calls where only one is allowed."""

NOT_RUN = "Not run: no operator calls were left."
"""Observation of a call beyond the budget."""

NO_CALLS_LEFT = "No operator calls are left. Give your answer."
"""Added to the observation with which the budget is used up."""

LEFT_OUT = "{num} more observations were left out: call fewer operators in one turn."
"""Text in place of the observations for which a turn has no room."""

_MAX_QUOTED_CHARS = 64
"""Longest part of an unknown operator's name that is repeated to the policy, in characters."""


@dataclass(frozen=True, slots=True)
class Step:
    """Outcome of one turn."""

    calls: tuple[OperatorCall, ...]
    """The calls that the turn asked for, in order; empty where nothing was run."""
    well_formed: bool
    """The turn follows the grammar to the letter."""
    answer: str | None
    """The answer, where the turn ended the trajectory with one."""
    observation: str
    """Content of the message that answers the turn; empty where the trajectory is over."""
    messages: tuple[Message, ...]
    """The messages to append to the policy's context; empty where the trajectory is over."""
    stop_reason: StopReason | None
    """Reason for the trajectory's end; None while it continues."""


class Environment:
    """One question, one trajectory. Single-use: make a new one for the next trajectory."""

    def __init__(
        self,
        question: Question,
        *,
        config: EnvironmentConfig,
        operators: Mapping[str, Operator],
        services: OperatorServices,
        special_tokens: Sequence[str] = (),
    ) -> None:
        """Set up the environment of one trajectory.

        Args:
            question: the question of the trajectory.
            config: pool and limits.
            operators: operators by the names that the pool uses.
            services: LLM and search that the operators may use.
            special_tokens: special tokens of the policy's tokenizer, neutralised in outside text besides the common
                ones.

        Raises:
            ConfigError: the pool names an operator that is not in ``operators``.
        """
        unknown = [name for name in config.operators if name not in operators]
        if unknown:
            raise ConfigError(
                f"environment.operators: expected names among {', '.join(operators)}; found {', '.join(unknown)}"
            )
        self._question = question
        self._config = config
        self._pool = {name: operators[name] for name in config.operators}
        self._services = services
        tags = {argument.name for operator in self._pool.values() for argument in operator.arguments}
        self._special_tokens = (*special_tokens, *(f"<{slash}{tag}>" for tag in sorted(tags) for slash in ("", "/")))
        self._num_turns = 0
        self._num_calls = 0
        self._over = False

    @property
    def config(self) -> EnvironmentConfig:
        """Pool and limits; the rollout keeps the token budgets among them."""
        return self._config

    def initial_messages(self) -> tuple[Message, ...]:
        """Return the prompt."""
        return render_prompt(
            self._question,
            tuple(self._pool.values()),
            self._config.prompt_style,
            max_operator_calls=self._config.max_operator_calls,
            special_tokens=self._special_tokens,
        )

    async def step(self, text: str) -> Step:
        """Act on one turn of the policy.

        Args:
            text: everything that the policy wrote in the turn.

        Returns:
            The calls that were run and the text for the policy, or the reason for the trajectory's end.

        Raises:
            ServiceError: an operator's service failed after its retries; the environment is over.
            RuntimeError: the environment is over, or another step is still running.
        """
        if self._over:
            raise RuntimeError("expected a turn of a live trajectory, but this environment is over: make a new one")
        self._over = True  # Until this step returns a live one: a failure, too, ends the environment.
        self._num_turns += 1
        turn = parse_turn(text)
        too_many = len(turn.calls) > 1 and not self._config.parallel_calls
        malformed = turn.malformed or too_many

        if turn.answer is not None and not malformed:
            return _last_step(StopReason.ANSWERED, well_formed=turn.well_formed, answer=turn.answer)
        if not malformed and self._num_calls >= self._config.max_operator_calls:
            return _last_step(StopReason.MAX_OPERATOR_CALLS, well_formed=turn.well_formed)
        if self._num_turns >= self._config.max_turns:
            return _last_step(StopReason.MAX_TURNS, well_formed=turn.well_formed)

        calls: tuple[OperatorCall, ...] = ()
        if malformed:
            observation = format_observation([ONE_CALL_INSTRUCTION if too_many else MALFORMED_INSTRUCTION])
        else:
            calls = await self._run(turn.calls)
            texts = _within([call.observation for call in calls], self._config.turn_observation_chars)
            if self._num_calls >= self._config.max_operator_calls:
                texts.append(NO_CALLS_LEFT)
            observation = format_observation(texts)
        self._over = False
        return Step(
            calls=calls,
            well_formed=turn.well_formed,
            answer=None,
            observation=observation,
            messages=(Message(role="user", content=observation),),
            stop_reason=None,
        )

    async def _run(self, calls: Sequence[ParsedCall]) -> tuple[OperatorCall, ...]:
        """Run the calls that the budget allows, concurrently."""
        num_left = self._config.max_operator_calls - self._num_calls
        self._num_calls += min(len(calls), num_left)
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
        operator = self._pool.get(call.operator)
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
            observation=neutralise(observation, self._special_tokens) if result.valid else observation,
            valid=result.valid,
            usage=charge.fuller(result.usage),
            seconds=time.perf_counter() - started,
        )

    def _explain_unknown(self, call: ParsedCall) -> str:
        name = neutralise(cut_middle(call.operator, _MAX_QUOTED_CHARS), self._special_tokens)
        near = nearest(call.operator[:_MAX_QUOTED_CHARS], self._pool)
        hint = f" Did you mean {near}?" if near else ""
        return f"There is no operator {name!r}.{hint} Operators: {', '.join(self._pool) or 'none'}."


def _last_step(stop_reason: StopReason, *, well_formed: bool, answer: str | None = None) -> Step:
    return Step(calls=(), well_formed=well_formed, answer=answer, observation="", messages=(), stop_reason=stop_reason)


def _within(texts: Sequence[str], max_chars: int) -> list[str]:
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
