"""Scores of fixed strategies in the embedded world (a simulation): the room that orchestration has.

Each row is a scripted demonstrator that reads exactly and follows one strategy, over held-out questions::

    python benchmarks/strategies.py [--questions 500] [--world 0]
"""

import argparse
import asyncio
from collections import defaultdict

from workflow_r1.embedded import STRATEGIES, Demonstrator, EmbeddedWorld, SimulatedExpert
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.rewards import score_trajectory
from workflow_r1.rollout import rollout


async def main() -> None:
    """Run every strategy over the same questions and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=500, help="held-out questions")
    parser.add_argument("--world", type=int, default=0, help="seed of the world")
    arguments = parser.parse_args()

    world = EmbeddedWorld(arguments.world)
    questions = world.questions("evaluation", arguments.questions)
    services = OperatorServices(chat=SimulatedExpert(world), search=world.search, config=OperatorConfig(search_k=1))
    config = EnvironmentConfig(operators=tuple(OPERATORS), prompt_style="brief")
    kinds = ("one-hop", "two-hop", "three-hop", "comparison")
    print(f"| strategy | exact match | {' | '.join(kinds)} | turns | LLM calls |")
    print(f"|---|---|{'---|' * len(kinds)}---|---|")
    for name, strategy in STRATEGIES.items():
        demonstrator = Demonstrator(world, strategy)
        matches: dict[str, list[float]] = defaultdict(list)
        turns = calls = 0
        for seed, question in enumerate(questions):
            environment = QuestionEnvironment(question, config=config, operators=OPERATORS, services=services)
            trajectory = await rollout(
                question,
                policy=demonstrator,
                environment=environment,
                trajectory_id=question.id,
                group_id=question.id,
                seed=seed,
            )
            match = score_trajectory(trajectory).reward.exact_match
            matches["all"].append(match)
            matches[question.metadata["kind"]].append(match)
            turns += len(trajectory.turns)
            calls += trajectory.usage.llm_calls
        means = [sum(matches[kind]) / len(matches[kind]) for kind in ("all", *kinds)]
        figures = " | ".join(f"{mean:.3f}" for mean in means)
        print(f"| {name} | {figures} | {turns / len(questions):.2f} | {calls / len(questions):.2f} |")


if __name__ == "__main__":
    asyncio.run(main())
