"""One trajectory per question, scored: the same code for a policy in training, a server, and a fixed workflow."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from workflow_r1.environment import Environment
from workflow_r1.evaluation.figures import Figures, compute_figures, figures_by_class
from workflow_r1.rewards import Score, score_trajectory
from workflow_r1.rollout import derive_seed, rollout
from workflow_r1.rollout.policy import Policy
from workflow_r1.rollout.rollout import first_leaf
from workflow_r1.trajectory import Question, Trajectory


@dataclass(frozen=True)
class EvaluationResult:
    """The rows of an evaluation and their figures."""

    trajectories: tuple[Trajectory, ...]
    """One per question, in the order of the questions: scored, or plain where the infrastructure failed."""

    @cached_property
    def figures(self) -> Figures:
        """Over all questions."""
        return compute_figures(self.trajectories)

    @cached_property
    def by_class(self) -> dict[str, Figures]:
        """Per class of questions."""
        return figures_by_class(self.trajectories)


async def answer_question(
    question: Question,
    *,
    policy: Policy,
    environment: Environment,
    trajectory_id: str,
    seed: int,
    score: Score = score_trajectory,
) -> Trajectory:
    """Let a policy answer one question, and score the answer.

    Args:
        question: a question, or an instance of another task.
        policy: the policy to evaluate.
        environment: a fresh one, for this question alone.
        trajectory_id: an id that is unique within the evaluation.
        seed: seed of all sampling.
        score: scores a trajectory that the policy itself brought to its end.

    Returns:
        A ``ScoredTrajectory``, or a plain one where the infrastructure failed.
    """
    trajectory = await rollout(
        question,
        policy=policy,
        environment=environment,
        trajectory_id=trajectory_id,
        group_id=trajectory_id,
        seed=seed,
    )
    if trajectory.stop_reason.is_infrastructure:
        return trajectory
    return score(trajectory)


async def evaluate(
    questions: Sequence[Question],
    *,
    policy: Policy,
    make_environment: Callable[[Question], Environment],
    seed: int = 0,
    concurrency: int = 128,
    done: Sequence[Trajectory] = (),
    score: Score = score_trajectory,
    on_trajectory: Callable[[Trajectory], None] | None = None,
) -> EvaluationResult:
    """Let a policy answer each question once, and score the answers.

    The policy's own setting decides whether turns are greedy or sampled. The result does not depend on ``concurrency``
    or on the order in which trajectories finish.

    Args:
        questions: questions, or instances of another task; their ids are unique.
        policy: the policy to evaluate.
        make_environment: makes a fresh environment for each question.
        seed: all sampling derives from it and the question's id.
        concurrency: trajectories that are live at once.
        done: trajectories of an earlier, interrupted evaluation of the same policy; their questions are not asked
            again. Questions of infrastructure failures are asked again.
        score: scores a trajectory that the policy itself brought to its end.
        on_trajectory: called with each new trajectory as soon as it is finished, e.g. to keep it.

    Raises:
        Exception: a trajectory raised an error other than a ``ServiceError``; the other trajectories are cancelled.
    """
    finished: dict[str, Trajectory] = {
        trajectory.question.id: trajectory for trajectory in done if not trajectory.stop_reason.is_infrastructure
    }
    slots = asyncio.Semaphore(concurrency)

    async def answer(question: Question) -> None:
        async with slots:
            trajectory = await answer_question(
                question,
                policy=policy,
                environment=make_environment(question),
                trajectory_id=f"evaluation-{question.id}",
                seed=derive_seed(seed, "evaluation", question.id),
                score=score,
            )
        finished[question.id] = trajectory
        if on_trajectory is not None:
            on_trajectory(trajectory)

    try:
        async with asyncio.TaskGroup() as group:
            for question in questions:
                if question.id not in finished:
                    group.create_task(answer(question))
    except BaseExceptionGroup as failures:
        raise first_leaf(failures) from failures
    return EvaluationResult(tuple(finished[question.id] for question in questions))
