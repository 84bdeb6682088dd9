"""The demonstrators: well formed, honest about what they were shown, and ordered as orchestration should be."""

import asyncio
import re

import pytest

from workflow_r1.embedded import STRATEGIES, WARM_START, Demonstrator, EmbeddedWorld, SimulatedExpert, Strategy
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.rewards import score_trajectory
from workflow_r1.rollout import rollout
from workflow_r1.trajectory import ScoredTrajectory

CONFIG = EnvironmentConfig(operators=tuple(OPERATORS), prompt_style="brief")


@pytest.fixture(scope="module")
def world() -> EmbeddedWorld:
    return EmbeddedWorld(0)


def run(world: EmbeddedWorld, strategy: Strategy, num: int) -> list[ScoredTrajectory]:
    services = OperatorServices(chat=SimulatedExpert(world), search=world.search, config=OperatorConfig(search_k=1))
    demonstrator = Demonstrator(world, strategy)

    async def all_of_them() -> list[ScoredTrajectory]:
        return [
            score_trajectory(
                await rollout(
                    question,
                    policy=demonstrator,
                    environment=QuestionEnvironment(question, config=CONFIG, operators=OPERATORS, services=services),
                    trajectory_id=question.id,
                    group_id=question.id,
                    seed=seed,
                )
            )
            for seed, question in enumerate(world.questions("evaluation", num))
        ]

    return asyncio.run(all_of_them())


def exact_match(trajectories: list[ScoredTrajectory]) -> float:
    return sum(trajectory.reward.exact_match for trajectory in trajectories) / len(trajectories)


def test_every_turn_is_well_formed_and_every_call_valid(world: EmbeddedWorld) -> None:
    for trajectory in run(world, WARM_START, 300):
        assert trajectory.reward.format == 0
        assert trajectory.stop_reason == "answered"
        assert all(call.valid for turn in trajectory.turns for call in turn.calls)


def test_names_and_years_that_are_written_were_shown_before(world: EmbeddedWorld) -> None:
    names = set(world.entities)
    for trajectory in run(world, WARM_START, 300):
        shown = set(re.findall(r"\w+", trajectory.prompt[0].content))
        for turn in trajectory.turns:
            written = set(re.findall(r"\w+", turn.text))
            values = {word for word in written if word in names or re.fullmatch("[0-9]{4}", word)}
            assert values <= shown, turn.text
            shown |= set(re.findall(r"\w+", turn.observation))


def test_all_eight_operators_are_demonstrated(world: EmbeddedWorld) -> None:
    called = {call.operator for t in run(world, WARM_START, 400) for turn in t.turns for call in turn.calls}
    assert called == set(OPERATORS)


def test_orchestration_pays_and_each_operator_earns_its_place(world: EmbeddedWorld) -> None:
    # 500 questions: a standard error is at most 0.022.
    reached = {name: exact_match(run(world, strategy, 500)) for name, strategy in STRATEGIES.items()}
    assert reached["ask the whole question"] < 0.47
    assert reached["ask the whole question three times"] < 0.60
    assert reached["ask hop by hop"] > reached["ask the whole question"] + 0.15
    assert reached["search, else ask"] > reached["search, else give up"] + 0.1
    assert reached["search, else ask"] > reached["ask hop by hop"] + 0.1
    assert reached["search, else ask three times"] > reached["search, else ask"]
    assert reached["search, else ask and review"] > reached["search, else ask"]
    assert reached["search, else ask three times"] > 0.95


def test_equal_seeds_give_equal_demonstrations(world: EmbeddedWorld) -> None:
    texts = [[turn.text for turn in t.turns] for t in run(world, WARM_START, 50)]
    assert texts == [[turn.text for turn in t.turns] for t in run(world, WARM_START, 50)]
