"""The environment of one question: it reads the policy's turns, runs the operators, and keeps the budgets.

Numbered behaviours of :meth:`QuestionEnvironment.step`; the tests use the same numbers.

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
12. The scores that operators give their calls add up to the turn's reward.

The token budgets (``max_prompt_tokens``, ``max_response_tokens``) are kept by the rollout, which sees the tokens.
"""

from collections.abc import Mapping, Sequence

from workflow_r1.environment.config import EnvironmentConfig
from workflow_r1.environment.environment import Reading, Step
from workflow_r1.environment.pool import OperatorPool, reward_of, within
from workflow_r1.operators import Operator, OperatorServices
from workflow_r1.prompts import MALFORMED_INSTRUCTION, format_observation, parse_turn, render_prompt
from workflow_r1.trajectory import Message, OperatorCall, Question, StopReason

ONE_CALL_INSTRUCTION = (
    "Nothing was run: write exactly one <tool>OperatorName: input</tool> after the <think>...</think> of a turn."
)
"""Observation of a turn with several calls where only one is allowed."""

NO_CALLS_LEFT = "No operator calls are left. Give your answer."
"""Added to the observation with which the budget is used up."""


class QuestionEnvironment:
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
        self._question = question
        self._config = config
        self._pool = OperatorPool(config, operators=operators, services=services, special_tokens=special_tokens)
        self._num_turns = 0
        self._over = False

    @property
    def config(self) -> EnvironmentConfig:
        """Pool and limits; the rollout keeps the token budgets among them."""
        return self._config

    def initial_messages(self) -> tuple[Message, ...]:
        """Return the prompt."""
        return render_prompt(
            self._question,
            tuple(self._pool.operators.values()),
            self._config.prompt_style,
            max_operator_calls=self._config.max_operator_calls,
            special_tokens=self._pool.special_tokens,
        )

    async def start(self) -> tuple[Message, ...]:
        """Return the prompt."""
        return self.initial_messages()

    def read(self, text: str) -> Reading:
        """Read a turn without acting on it: an answer ends the trajectory."""
        turn = parse_turn(text)
        return Reading(well_formed=turn.well_formed, is_final=turn.answer is not None)

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
        if not malformed and self._pool.num_left <= 0:
            return _last_step(StopReason.MAX_OPERATOR_CALLS, well_formed=turn.well_formed)
        if self._num_turns >= self._config.max_turns:
            return _last_step(StopReason.MAX_TURNS, well_formed=turn.well_formed)

        calls: tuple[OperatorCall, ...] = ()
        if malformed:
            observation = format_observation([ONE_CALL_INSTRUCTION if too_many else MALFORMED_INSTRUCTION])
        else:
            calls = await self._pool.run(turn.calls)
            texts = within([call.observation for call in calls], self._config.turn_observation_chars)
            if self._pool.num_left <= 0:
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
            reward=reward_of(calls),
        )

    async def close(self) -> None:
        """Do nothing: the services are shared, and their owner closes them."""


def _last_step(stop_reason: StopReason, *, well_formed: bool, answer: str | None = None) -> Step:
    return Step(calls=(), well_formed=well_formed, answer=answer, observation="", messages=(), stop_reason=stop_reason)
