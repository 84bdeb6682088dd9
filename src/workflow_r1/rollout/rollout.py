"""One trajectory: policy and environment in turn, until the environment or a budget ends it. Then many at once.

Numbered behaviours of :func:`rollout`; the tests use the same numbers.

 1. The prompt is rendered once. Longer than ``max_prompt_tokens``: nothing is sampled (``prompt_too_long``).
 2. Policy tokens and context tokens (observation, template) count against ``max_response_tokens``. A turn is sampled
    within the rest of it.
 3. A turn that uses up the budget is read as it stands: one that may end the trajectory (an answer, an action of a
    task) counts, anything else ends it (``max_response_tokens``) and runs nothing, since the policy would never read
    the result.
 4. An observation that leaves no room for another policy token ends the trajectory (``max_response_tokens``). The calls
    are kept; the observation is not part of the context.
 5. Where the policy has no tokens (a chat server) the token budgets do not apply.
 6. A ``ServiceError`` of the environment ends this trajectory (``operator_failed``; ``task_failed`` where the task itself
    failed), one of the policy too (``sampler_failed``). The message is kept, the turns so far as well. Any other exception is raised.
    Two errors of the policy are its own outcome: a context that its model does not take (``context_full``), and a
    context that its server does not allow, once a turn of its own stands in it (``content_refused``).
 7. ``on_event`` is called for each turn when it begins, when it is written, and when its operators have returned, in
    order.
 8. ``max_response_tokens`` of a rollout lowers the environment's; it never raises it.
 9. The environment starts before the policy's session opens, and is closed on every way out.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workflow_r1.environment import Environment, Reading, Step
from workflow_r1.errors import FilteredError, ServiceError, TaskFailedError, TooLongError
from workflow_r1.rollout.events import OnRolloutEvent, TurnFinished, TurnSampled, TurnStarted
from workflow_r1.rollout.places import Places
from workflow_r1.rollout.policy import Policy, SampledTurn
from workflow_r1.rollout.seeding import derive_seed
from workflow_r1.trajectory import Ending, Message, Question, StopReason, Trajectory, Turn


async def rollout(
    question: Question,
    *,
    policy: Policy,
    environment: Environment,
    trajectory_id: str,
    group_id: str,
    seed: int,
    policy_version: int = 0,
    max_response_tokens: int | None = None,
    on_event: OnRolloutEvent | None = None,
) -> Trajectory:
    """Let the policy act in the environment until it is over.

    Args:
        question: the environment's question.
        policy: the policy to sample. Its session is opened here and closed on every way out.
        environment: a fresh one, for this trajectory alone; it is closed here. Its configuration holds the budgets.
        trajectory_id: an id that is unique within the run.
        group_id: the id that the trajectories of one group share.
        seed: all sampling derives from it.
        policy_version: number of optimiser steps that the policy has taken.
        max_response_tokens: a limit that lowers the environment's.
        on_event: called for each turn while it happens.

    Returns:
        The trajectory. One that the infrastructure ended says so in ``stop_reason`` and ``error``.
    """
    prompt: tuple[Message, ...] = ()
    prompt_token_ids: tuple[int, ...] = ()
    turns: list[Turn] = []
    answer: str | None = None
    ending: Ending | None = None
    error: str | None = None
    stop_reason: StopReason | None = None
    limits = environment.config
    num_left = min(limits.max_response_tokens, max_response_tokens or limits.max_response_tokens)
    tell: OnRolloutEvent = on_event or _tell_nobody

    def keep(turn: Turn) -> None:
        turns.append(turn)
        tell(TurnFinished(turn))

    started = time.perf_counter()
    try:
        prompt = await _start(environment)
        async with policy.session(seed=seed) as session:
            started = time.perf_counter()
            prompt_token_ids = session.extend(prompt)
            if len(prompt_token_ids) > limits.max_prompt_tokens:
                stop_reason = StopReason.PROMPT_TOO_LONG
            while stop_reason is None:
                index = len(turns) + 1
                tell(TurnStarted(index))
                sampling_started = time.perf_counter()
                sampled = await session.sample(max_tokens=num_left)
                tell(TurnSampled(index, sampled, seconds=time.perf_counter() - sampling_started))
                num_left -= len(sampled.token_ids)
                reading = environment.read(sampled.text)
                if num_left <= 0 and not reading.is_final:
                    keep(_turn(index, sampled, reading))
                    stop_reason = StopReason.MAX_RESPONSE_TOKENS
                    break
                try:
                    step = await environment.step(sampled.text)
                except ServiceError as failure:
                    keep(_turn(index, sampled, reading))
                    stop_reason, error = _reason_of_environment(failure), _describe(failure)
                    break
                stop_reason, answer, ending = step.stop_reason, step.answer, step.ending
                context: tuple[int, ...] = ()
                if stop_reason is None:
                    context = session.extend(step.messages)
                    if context and len(context) >= num_left:
                        stop_reason = StopReason.MAX_RESPONSE_TOKENS
                    num_left -= len(context)
                if stop_reason is not None:
                    context = ()
                keep(_turn(index, sampled, reading, step, context, read=stop_reason is None))
    except _NotStartedError as failure:
        stop_reason, error = _reason_of_environment(failure.cause), _describe(failure.cause)
    except ServiceError as failure:
        stop_reason, error = _reason_of(failure, has_written=bool(turns)), _describe(failure)
    finally:
        await environment.close()
    assert stop_reason is not None
    return Trajectory(
        id=trajectory_id,
        group_id=group_id,
        question=question,
        policy=policy.name,
        policy_version=policy_version,
        seed=seed,
        prompt=prompt,
        prompt_token_ids=prompt_token_ids,
        turns=tuple(turns),
        answer=answer,
        stop_reason=stop_reason,
        error=error,
        seconds=time.perf_counter() - started,
        ending=ending,
    )


async def rollout_groups(
    questions: Sequence[Question],
    *,
    policy: Policy,
    make_environment: Callable[[Question], Environment],
    group_size: int,
    seed: int,
    policy_version: int | Callable[[], int] = 0,
    max_concurrency: int = 1,
    num_calls_left: Callable[[], int | None] = lambda: None,
    places: Places | None = None,
    share: Sequence[int] | None = None,
    finished: Mapping[str, Trajectory] | None = None,
    on_trajectory: Callable[[Trajectory], None] | None = None,
) -> list[list[Trajectory]]:
    """Sample a group of trajectories for each question, concurrently.

    Ids and seeds come from ``seed``, the question's id and the member's number. Neither ``max_concurrency`` nor the
    order of completion therefore changes a trajectory. Another ``seed`` gives other ids: pass one per step of a run. A
    question that stands in the list twice gets two different groups.

    Args:
        questions: questions of the groups.
        policy: the policy to sample.
        make_environment: makes a fresh environment for each trajectory.
        group_size: trajectories per question.
        seed: all sampling derives from it.
        policy_version: number of optimiser steps that the policy has taken; a function that is called as each trajectory
            begins, where the policy is trained meanwhile.
        max_concurrency: trajectories that are live at once.
        num_calls_left: calls that the budget still allows; None where it does not limit them. Near the limit fewer
            trajectories are live.
        places: the places that these trajectories share with those of other calls; None makes ``max_concurrency`` of them.
        share: positions in ``questions`` that are sampled here, in rising order, with the ids and seeds that they have
            in the whole list; None samples all.
        finished: trajectories by their ids that were sampled before; they stand in their places and are not asked again.
        on_trajectory: called with each trajectory as soon as it is finished.

    Returns:
        One group per question (of the share), in the order of the questions; within it the members in order.
        Infrastructure failures are among them.

    Raises:
        Exception: a trajectory raised an error other than a ``ServiceError``: a programming error or the user's. The
            other trajectories are cancelled.
    """
    if group_size < 1 or max_concurrency < 1:
        raise ValueError(
            f"expected group_size and max_concurrency of at least 1, received {group_size}, {max_concurrency}"
        )
    held = places or Places(max_concurrency, num_calls_left=num_calls_left)

    async def run(question: Question, occurrence: int, member: int) -> Trajectory:
        name = name_member(question, member, seed=seed, occurrence=occurrence)
        if finished and name.trajectory_id in finished:
            trajectory = finished[name.trajectory_id]
        else:
            async with held.take():
                trajectory = await rollout(
                    question,
                    policy=policy,
                    environment=make_environment(question),
                    trajectory_id=name.trajectory_id,
                    group_id=name.group_id,
                    seed=name.seed,
                    policy_version=policy_version() if callable(policy_version) else policy_version,
                )
                held.learn(trajectory)
        if on_trajectory is not None:
            on_trajectory(trajectory)
        return trajectory

    occurrences: dict[str, int] = {}
    groups: list[list[asyncio.Task[Trajectory]]] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            for position, question in enumerate(questions):
                occurrence = occurrences.get(question.id, 0)
                occurrences[question.id] = occurrence + 1
                if share is None or position in share:
                    groups.append(
                        [tasks.create_task(run(question, occurrence, member)) for member in range(group_size)]
                    )
    except BaseExceptionGroup as failures:
        raise first_leaf(failures) from failures
    return [[task.result() for task in group] for group in groups]


@dataclass(frozen=True, slots=True)
class MemberName:
    """Name that tells one member of a group from all others of a run; its sampling derives from it."""

    trajectory_id: str
    """Unique within the run."""
    group_id: str
    """Shared by the group."""
    seed: int
    """Seed of the member's sampling."""


def name_member(question: Question, member: int, *, seed: int, occurrence: int = 0) -> MemberName:
    """Name a member of a question's group: the same in every engine, in any order of the rollouts.

    Args:
        question: the group's question.
        member: 0, 1, ... within the group.
        seed: seed of the step.
        occurrence: number of earlier groups of the step with the same question.
    """
    # The first occurrence's seeds are those of (seed, question id, member), wherever else the question is asked.
    name: tuple[int | str, ...] = (seed, question.id)
    if occurrence:
        name = (*name, f"occurrence {occurrence}")
    group_id = f"{question.id}-{derive_seed(*name) >> 31:08x}"
    return MemberName(f"{group_id}-{member}", group_id, derive_seed(*name, member))


def _turn(
    index: int,
    sampled: SampledTurn,
    reading: Reading,
    step: Step | None = None,
    context: tuple[int, ...] = (),
    *,
    read: bool = False,
) -> Turn:
    """Record a turn; ``read`` says that the policy continues and reads the observation."""
    return Turn(
        index=index,
        text=sampled.text,
        token_ids=sampled.token_ids,
        logprobs=sampled.logprobs,
        finish_reason=sampled.finish_reason,
        well_formed=reading.well_formed if step is None else step.well_formed,
        calls=() if step is None else step.calls,
        observation=step.observation if step is not None and read else "",
        context_token_ids=context,
        usage=sampled.usage,
        policy_version=sampled.policy_version,
        reward=None if step is None else step.reward,
    )


class _NotStartedError(Exception):
    """The environment's service failed before there was a prompt; not to be confused with a failure of the policy's."""

    def __init__(self, cause: ServiceError) -> None:
        super().__init__(str(cause))
        self.cause = cause


async def _start(environment: Environment) -> tuple[Message, ...]:
    try:
        return await environment.start()
    except ServiceError as failure:
        raise _NotStartedError(failure) from failure


def _reason_of_environment(failure: ServiceError) -> StopReason:
    return StopReason.TASK_FAILED if isinstance(failure, TaskFailedError) else StopReason.OPERATOR_FAILED


def _reason_of(failure: ServiceError, *, has_written: bool) -> StopReason:
    """Judge by its cause an error with which the policy's sampler or server gave no turn."""
    if isinstance(failure, TooLongError):
        return StopReason.CONTEXT_FULL
    # Before its first turn the context is the prompt alone, which it did not write.
    if isinstance(failure, FilteredError) and has_written:
        return StopReason.CONTENT_REFUSED
    return StopReason.SAMPLER_FAILED


def _tell_nobody(event: object) -> None:
    pass


def _describe(failure: ServiceError) -> str:
    return f"{type(failure).__name__}: {failure}"


def first_leaf(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group that is not a group itself."""
    first = failures.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
