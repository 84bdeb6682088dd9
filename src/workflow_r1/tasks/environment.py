"""The environment of one instance of a task: it reads the policy's turns, lets the episode act, and keeps the budgets.

Numbered behaviours of :meth:`TaskEnvironment.step`; the tests use the same numbers.

 1. An action goes to the episode; its observation comes back neutralised and cut in the middle to
    ``max_observation_chars``, in the format ``tags`` inside ``<info>``.
 2. A reply that is ``done`` ends the trajectory (``done``); its observation is kept in the record, and the policy never
    reads it.
 3. A turn without an action, or with several calls where ``parallel_calls`` is off, runs nothing: the observation says
    how to act. A name that is neither an action nor an operator is recorded as a call that was not valid.
 4. A reply that is not ``valid`` is the policy's mistake: the observation says so, and the trajectory continues.
 5. Operators of the pool may be called in turns of their own, in the formats ``tags`` and ``json``; they keep the
    behaviours 2, 4, 5, 8, 9, 10 and 11 of a question's environment. Only their calls count against
    ``max_operator_calls``; with none left they are not run, and the task's own actions still are.
 6. The last turn that ``max_turns`` allows still acts, since an action may end the episode; whatever does not, ends the
    trajectory (``max_turns``).
 7. A task whose service fails, or that does not reply in ``task_timeout_seconds``, ends the trajectory (``task_failed``).
    A service that refuses what the policy wrote is the policy's mistake (4).
 8. A task that raises, or gives something else than the seam asks for, is a programming error: a ``TaskError`` with the
    file and the line. So is an end without any reward, or without success where the task says success.
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from workflow_r1.accounting import charged_to
from workflow_r1.environment import ONE_CALL_INSTRUCTION, EnvironmentConfig, OperatorPool, Reading, Step
from workflow_r1.environment.pool import reward_of, within
from workflow_r1.errors import ContentRejectedError, ServiceError
from workflow_r1.operators import Operator, OperatorServices
from workflow_r1.prompts import ParsedCall, cut_middle, format_observation, neutralise
from workflow_r1.tasks.actions import ANSWER, ReadTurn, how_to_act, read_turn
from workflow_r1.tasks.calling import blame, call_task
from workflow_r1.tasks.task import Action, Episode, Reply, Task
from workflow_r1.trajectory import Ending, Message, OperatorCall, Question, StopReason, Usage

logger = logging.getLogger(__name__)

REFUSED = "Nothing was run: a service does not take what the action says. Write a shorter action, or other words."
"""Observation of an action whose content a service refuses."""

_MAX_QUOTED_CHARS = 80
"""Longest part of a wrong value that a message repeats, in characters."""


class TaskEnvironment:
    """One instance, one trajectory. Single-use: make a new one for the next trajectory."""

    def __init__(
        self,
        instance: Question,
        *,
        task: Task,
        config: EnvironmentConfig,
        operators: Mapping[str, Operator],
        services: OperatorServices,
        special_tokens: Sequence[str] = (),
    ) -> None:
        """Set up the environment of one trajectory; the task opens its episode when the trajectory starts.

        Args:
            instance: the instance of the trajectory.
            task: the task that it belongs to.
            config: pool and limits.
            operators: operators by the names that the pool uses.
            services: LLM and search that operators and task may use.
            special_tokens: special tokens of the policy's tokenizer, neutralised in outside text besides the common
                ones.

        Raises:
            ConfigError: the pool names an operator that is not in ``operators``.
        """
        self._instance = instance
        self._task = task
        self._config = config
        self._services = services
        self._pool = OperatorPool(config, operators=operators, services=services, special_tokens=special_tokens)
        self._who = f"the task {task.name} (instance {instance.id})"
        self._episode: Episode | None = None
        self._num_turns = 0
        self._has_reward = False
        self._over = True

    @property
    def config(self) -> EnvironmentConfig:
        """Pool and limits; the rollout keeps the token budgets among them."""
        return self._config

    async def start(self) -> tuple[Message, ...]:
        """Open the episode and return the prompt.

        Raises:
            TaskFailedError: a service that the task needs failed, or the task did not reply in time.
            TaskError: the task is wrong; names its file and line.
        """
        episode = await self._call(self._task.open, self._instance, self._services)
        if not isinstance(episode, Episode):
            raise blame(self._task.open, self._who, "an Episode", _show(episode))
        self._episode = episode
        prompt = await self._call(episode.start)
        self._over = False
        if isinstance(prompt, str):
            content = neutralise(prompt, self._pool.special_tokens)
            if self._config.prompt_style == "full":
                content = f"{content}\n\n{self._how_to_act()}"
            return (Message(role="user", content=content),)
        messages = tuple(prompt) if isinstance(prompt, Sequence) else ()
        if not messages or not all(isinstance(message, Message) for message in messages):
            raise blame(episode.start, self._who, "a text or messages", _show(prompt))
        return messages

    def read(self, text: str) -> Reading:
        """Read a turn without acting on it: an action may end the trajectory, unless its text has no end of its own."""
        turn = self._read(text)
        is_complete = turn.action is not None and self._task.action_format != "text"
        return Reading(well_formed=turn.well_formed, is_final=is_complete)

    async def step(self, text: str) -> Step:
        """Act on one turn of the policy.

        Args:
            text: everything that the policy wrote in the turn.

        Returns:
            What was run and the text for the policy, or the reason for the trajectory's end.

        Raises:
            ServiceError: a service of the task or of an operator failed; the environment is over.
            TaskError: the task is wrong; names its file and line.
            RuntimeError: the environment is over, or another step is still running.
        """
        if self._over:
            raise RuntimeError("expected a turn of a live trajectory, but this environment is over: make a new one")
        self._over = True  # Until this step returns a live one: a failure, too, ends the environment.
        self._num_turns += 1
        is_last = self._num_turns >= self._config.max_turns
        turn = self._read(text)
        if turn.action is not None:
            return await self._act(turn, turn.action, is_last=is_last)
        if is_last:
            return self._step(turn, stop_reason=StopReason.MAX_TURNS)
        problem = turn.problem
        if len(turn.calls) > 1 and not self._config.parallel_calls:
            problem = ONE_CALL_INSTRUCTION
        if problem is not None:
            return self._step(turn, calls=_refused(turn.unknown, problem), texts=[problem])
        calls = await self._pool.run(turn.calls)
        return self._step(
            turn,
            calls=calls,
            texts=within([call.observation for call in calls], self._config.turn_observation_chars),
            reward=reward_of(calls),
        )

    async def close(self) -> None:
        """Close the episode, where one was opened. A service that fails now no longer matters to the trajectory."""
        episode, self._episode = self._episode, None
        self._over = True
        if episode is None or type(episode).close is Episode.close:
            return
        try:
            await self._call(episode.close)
        except ServiceError as error:
            logger.warning("left an episode as it was: %s", error)

    def _read(self, text: str) -> ReadTurn:
        task = self._task
        return read_turn(text, task.action_format, actions=task.actions, operators=self._pool.operators)

    def _how_to_act(self) -> str:
        usages = {name: f"{operator.usage} ({operator.purpose})" for name, operator in self._pool.operators.items()}
        return how_to_act(self._task.action_format, actions=self._task.actions, operators=usages)

    async def _act(self, turn: ReadTurn, action: Action, *, is_last: bool) -> Step:
        assert self._episode is not None
        started = time.perf_counter()
        name = action.name or "act"
        with charged_to(name) as charge:
            try:
                reply = self._check(await self._call(self._episode.act, action))
            except ContentRejectedError:
                reply = Reply(REFUSED, valid=False)
        observation = neutralise(
            cut_middle(reply.observation, self._config.max_observation_chars), self._pool.special_tokens
        )
        call = OperatorCall(
            operator=name,
            input=action.input,
            observation=observation,
            valid=reply.valid,
            usage=charge.fuller(Usage()),
            seconds=time.perf_counter() - started,
        )
        if reply.done:
            return self._step(
                turn,
                calls=(call,),
                stop_reason=StopReason.DONE,
                reward=reply.reward,
                answer=action.input if action.name == ANSWER else None,
                ending=Ending(success=reply.success, parts=dict(reply.parts)),
            )
        stop_reason = StopReason.MAX_TURNS if is_last else None
        return self._step(turn, calls=(call,), texts=[observation], stop_reason=stop_reason, reward=reply.reward)

    def _step(
        self,
        turn: ReadTurn,
        *,
        calls: tuple[OperatorCall, ...] = (),
        texts: Sequence[str] = (),
        stop_reason: StopReason | None = None,
        reward: float | None = None,
        answer: str | None = None,
        ending: Ending | None = None,
    ) -> Step:
        """Return the outcome of a turn; the environment lives on unless there is a reason to stop."""
        self._over = stop_reason is not None
        observation = ""
        if stop_reason is None:
            observation = format_observation(texts) if self._task.action_format == "tags" else "\n".join(texts)
        return Step(
            calls=calls,
            well_formed=turn.well_formed,
            answer=answer,
            observation=observation,
            messages=() if self._over else (Message(role="user", content=observation),),
            stop_reason=stop_reason,
            reward=reward,
            ending=ending,
        )

    async def _call(self, function: Any, *arguments: object) -> Any:
        return await call_task(function, *arguments, who=self._who, timeout_seconds=self._config.task_timeout_seconds)

    def _check(self, reply: Any) -> Reply:
        """Return the reply with plain numbers, or blame the task for what is wrong with it."""
        assert self._episode is not None
        act = self._episode.act
        if not isinstance(reply, Reply):
            raise blame(act, self._who, "a Reply", _show(reply))
        if not isinstance(reply.observation, str):
            raise blame(act, self._who, "a text as the observation", _show(reply.observation))
        reward = reply.reward if reply.reward is None else _number(reply.reward)
        if reward is None and reply.reward is not None:
            raise blame(act, self._who, "a finite number as the reward", _show(reply.reward))
        self._has_reward = self._has_reward or reward is not None
        if not isinstance(reply.parts, Mapping):
            raise blame(act, self._who, "numbers by name as the parts", _show(reply.parts))
        parts = {str(name): _number(value) for name, value in reply.parts.items()}
        wrong = next((name for name, value in parts.items() if value is None), None)
        if wrong is not None:
            raise blame(act, self._who, f"a finite number as the part {wrong!r}", _show(reply.parts[wrong]))
        success = None if reply.success is None else _truth(reply.success)
        if success is None and reply.success is not None:
            raise blame(act, self._who, "True, False or None as success", _show(reply.success))
        if reply.done and not self._has_reward:
            raise blame(act, self._who, "a reward with the last reply, since no turn had one", "None")
        if reply.done and success is None and self._task.says_success:
            raise blame(
                act,
                self._who,
                "success=True or success=False with the last reply (or says_success = False in the task)",
                "None",
            )
        return Reply(
            observation=reply.observation,
            done=bool(reply.done),
            reward=reward,
            success=success,
            parts={name: value for name, value in parts.items() if value is not None},
            valid=bool(reply.valid),
        )


def _refused(unknown: ParsedCall | None, problem: str) -> tuple[OperatorCall, ...]:
    if unknown is None:
        return ()
    return (OperatorCall(operator=unknown.operator, input=unknown.input, observation=problem, valid=False),)


def _number(value: Any) -> float | None:
    """Return a finite number as a float; None for everything else."""
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _truth(value: Any) -> bool | None:
    """Return a truth value, numpy's too; None for everything else."""
    if isinstance(value, bool):
        return value
    plain = value.item() if hasattr(value, "item") else None
    return plain if isinstance(plain, bool) else None


def _show(value: object) -> str:
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= _MAX_QUOTED_CHARS else f"{shown[:_MAX_QUOTED_CHARS]}..."
