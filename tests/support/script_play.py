"""Scripts of the embedded world at work, for tests of what they reach."""

import asyncio
from collections.abc import Sequence

from workflow_r1.embedded import Demonstrator, EmbeddedWorld, SimulatedExpert
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.rewards import score_trajectory
from workflow_r1.rollout import rollout
from workflow_r1.trajectory import Question, ScoredTrajectory


def play(
    world: EmbeddedWorld, policy: Demonstrator, questions: Sequence[Question], *, calls: int = 20
) -> list[ScoredTrajectory]:
    """Let a script answer questions with at most so many calls of operators."""
    services = OperatorServices(chat=SimulatedExpert(world), search=world.search, config=OperatorConfig(search_k=1))
    config = EnvironmentConfig(operators=tuple(OPERATORS), prompt_style="brief", max_operator_calls=calls)

    async def all_of_them() -> list[ScoredTrajectory]:
        return [
            score_trajectory(
                await rollout(
                    question,
                    policy=policy,
                    environment=QuestionEnvironment(question, config=config, operators=OPERATORS, services=services),
                    trajectory_id=question.id,
                    group_id=question.id,
                    seed=seed,
                )
            )
            for seed, question in enumerate(questions)
        ]

    return asyncio.run(all_of_them())


def exact_match(trajectories: Sequence[ScoredTrajectory]) -> float:
    """Share of right answers."""
    return sum(trajectory.reward.exact_match for trajectory in trajectories) / len(trajectories)
