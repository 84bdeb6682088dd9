"""Demonstrations of the embedded world: its demonstrators at work in the real environment, for the warm start.

They are made in worlds that never serve for training or evaluation again. The policy that ships with the package learnt
from them (``engines/native/embedded_policy.py``).
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from workflow_r1.embedded.config import EmbeddedConfig, Kind
from workflow_r1.embedded.demonstrators import Demonstrator, Piece
from workflow_r1.embedded.expert import SimulatedExpert
from workflow_r1.embedded.strategy import WARM_START, Strategy
from workflow_r1.embedded.world import EmbeddedWorld, Split
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.rollout import rollout
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.trajectory import Trajectory

FIRST_WORLD = 1000
"""Worlds from this seed on are for demonstrations; users' worlds have small seeds."""

QUESTIONS_PER_WORLD = 1500
"""Demonstrations from one world; then names and facts are drawn anew."""

SKILLS_STRATEGY = replace(
    WARM_START,
    whole=0.10,
    whole_ensemble=0.05,
    optimise=0.04,
    search=0.75,
    give_up=0.15,
    ensemble=0.25,
    review=0.15,
    review_found=0,
    outsource_comparison=0.1,
)
"""Demonstrations of the first stage: every skill often."""

SKILLS_SHARES: dict[Kind, float] = {"one-hop": 0.12, "two-hop": 0.25, "three-hop": 0.18, "comparison": 0.45}
"""Classes of questions in every stage: comparing years is the slowest skill to learn."""

SEARCH_K = 1
"""Passages per query in the embedded world: short observations keep a small policy quick."""

ENVIRONMENT = EnvironmentConfig(
    operators=tuple(OPERATORS), prompt_style="brief", max_operator_calls=12, max_turns=14, max_response_tokens=768
)
"""The limits of the embedded world's trajectories."""

SAMPLING = SamplingConfig(turn_end="action")
"""The small policy never writes the end-of-turn token: its turns end with their action."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One demonstration and the pieces of its turns, which know the skill that each takes."""

    trajectory: Trajectory
    pieces: Sequence[Sequence[Piece]]


def make_demonstrations(
    num: int,
    *,
    strategy: Strategy | None = None,
    config: EmbeddedConfig | None = None,
    environment: EnvironmentConfig = ENVIRONMENT,
    kind_shares: Mapping[Kind, float] | None = None,
    first_world: int = FIRST_WORLD,
    split: Split = "train",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Demonstration]:
    """Let a demonstrator act in as many worlds as needed, through the real environment and operators.

    Args:
        num: number of demonstrations.
        strategy: the demonstrator's strategy; None takes that of the configuration.
        config: dials of the worlds; their seeds are others.
        environment: limits of a trajectory.
        kind_shares: share of each class of questions; None takes those of the configuration.
        first_world: seed of the first world; each world gives ``QUESTIONS_PER_WORLD``.
        split: the questions are about entities of this split.
        on_progress: called with the number of finished demonstrations, and ``num``.
    """
    dials = config or EmbeddedConfig()

    async def make() -> list[Demonstration]:
        demonstrations: list[Demonstration] = []
        for world_seed in itertools.count(first_world):
            world = EmbeddedWorld(dials.model_copy(update={"seed": world_seed}))
            services = OperatorServices(
                chat=SimulatedExpert(world), search=world.search, config=OperatorConfig(search_k=SEARCH_K)
            )
            demonstrator = Demonstrator(world, strategy)
            wanted = min(QUESTIONS_PER_WORLD, num - len(demonstrations))
            for question in world.questions(split, wanted, seed=world_seed, kind_shares=kind_shares):
                trajectory = await rollout(
                    question,
                    policy=demonstrator,
                    environment=QuestionEnvironment(
                        question, config=environment, operators=OPERATORS, services=services
                    ),
                    trajectory_id=question.id,
                    group_id=question.id,
                    seed=len(demonstrations),
                )
                demonstrations.append(Demonstration(trajectory, demonstrator.last_turns))
            if on_progress:
                on_progress(len(demonstrations), num)
            if len(demonstrations) >= num:
                break
        return demonstrations

    return asyncio.run(make())
