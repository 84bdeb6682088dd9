"""Scores of fixed strategies in the embedded world (a simulation): the room that orchestration has.

Each row is a script that reads exactly and follows one strategy, over held-out questions, with a 95% interval. Below them
stand a bandit, which finds the best script by playing them on training questions; the best script for each class of
questions; and the oracle, which knows the dials and acts on the relation and on what it was shown::

    python benchmarks/strategies.py [embedded-hard] [--questions 500] [--world 0]
"""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workflow_r1.config import load_run_config
from workflow_r1.embedded import STRATEGIES, WARM_START, Demonstrator, EmbeddedWorld, SimulatedExpert
from workflow_r1.embedded.oracle import oracle
from workflow_r1.embedded.strategy import ONE_WAY
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.evaluation.statistics import paired_rate_interval, rate_interval
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.rewards import score_trajectory
from workflow_r1.rollout import rollout
from workflow_r1.trajectory import Question

PRICES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1)
"""Prices of a call among which the oracle's is chosen, on training questions."""

NUM_BANDITS = 100
"""Bandits, each with draws of its own."""

FURTHER_SCRIPTS = {
    "search, look at the news, else ask three times": replace(ONE_WAY, check=1, ensemble=1),
    "search, look at the news, else ask and review; go back": replace(ONE_WAY, check=1, review=1, go_back=1),
}
"""Scripts that know every move and not when to make it."""

MIXTURE = "warm-start mixture"
"""The script that is no arm of the bandit: it draws among the others."""


@dataclass(frozen=True)
class Played:
    """One strategy over some questions."""

    matches: NDArray[np.float64]
    """Exact match, a number per question."""
    turns: float
    """Mean turns."""
    calls: float
    """Mean calls of the LLM."""


class Table:
    """The strategies of one world at work.

    Args:
        world: a world whose demonstrators read exactly.
        environment: the limits.
    """

    def __init__(self, world: EmbeddedWorld, environment: EnvironmentConfig) -> None:
        self._services = OperatorServices(
            chat=SimulatedExpert(world), search=world.search, config=OperatorConfig(search_k=1)
        )
        self._environment = environment

    async def play(self, policy: Demonstrator, questions: Sequence[Question]) -> Played:
        """Let a strategy answer questions."""
        matches, turns, calls = [], 0, 0
        for seed, question in enumerate(questions):
            trajectory = await rollout(
                question,
                policy=policy,
                environment=QuestionEnvironment(
                    question, config=self._environment, operators=OPERATORS, services=self._services
                ),
                trajectory_id=question.id,
                group_id=question.id,
                seed=seed,
            )
            matches.append(score_trajectory(trajectory).reward.exact_match)
            turns += len(trajectory.turns)
            calls += trajectory.usage.llm_calls
        return Played(np.array(matches), turns / len(questions), calls / len(questions))


def play_bandit(outcomes: NDArray[np.float64], *, pulls: int, rng: np.random.Generator) -> int:
    """Return the arm that a Thompson sampler prefers after some pulls, each on a question drawn anew.

    Args:
        outcomes: 0 or 1, ``(questions, arms)``.
        pulls: number of trajectories that it may play.
        rng: draws the questions and the sampler's beliefs.
    """
    wins, losses = np.ones(outcomes.shape[1]), np.ones(outcomes.shape[1])
    for question in rng.integers(len(outcomes), size=pulls):
        arm = int(np.argmax(rng.beta(wins, losses)))
        wins[arm] += outcomes[question, arm]
        losses[arm] += 1 - outcomes[question, arm]
    return int(np.argmax(wins / (wins + losses)))


async def main() -> None:
    """Run every strategy over the same questions and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="embedded", help="a preset or a TOML file with dials of the world")
    parser.add_argument("--questions", type=int, default=500, help="held-out questions, and training questions")
    parser.add_argument("--world", type=int, default=0, help="seed of the world")
    parser.add_argument("--pulls", type=int, default=1024, help="trajectories that the bandit may play")
    arguments = parser.parse_args()

    config = load_run_config(arguments.config)
    dials = config.embedded.model_copy(update={"seed": arguments.world, "reading": 1.0, "padding": (0, 0)})
    world = EmbeddedWorld(dials)
    limits = {key: getattr(config.environment, key) for key in ("max_operator_calls", "max_turns")}
    table = Table(world, EnvironmentConfig(operators=tuple(OPERATORS), prompt_style="brief", **limits))
    held_out = world.questions("evaluation", arguments.questions)
    training = world.questions("train", arguments.questions)
    kinds = [question.metadata["kind"].partition(",")[0] for question in held_out]
    classes = sorted(set(kinds), key=list(dials.shares).index)

    def show(name: str, matches: NDArray[np.float64], turns: str = "", calls: str = "") -> None:
        interval = rate_interval(scores=matches)
        of_class = [matches[[kind == one for kind in kinds]].mean() for one in classes]
        figures = " | ".join(f"{mean:.3f}" for mean in of_class)
        print(
            f"| {name} | {matches.mean():.3f} ({interval.low:.3f} to {interval.high:.3f}) | {figures} | {turns} | {calls} |"
        )

    def show_played(name: str, one: Played) -> None:
        show(name, one.matches, f"{one.turns:.2f}", f"{one.calls:.2f}")

    print(f"| strategy | exact match | {' | '.join(classes)} | turns | LLM calls |")
    print(f"|---|---|{'---|' * len(classes)}---|---|")
    arms = {name: Demonstrator(world, strategy) for name, strategy in STRATEGIES.items() if name != MIXTURE}
    played = {name: await table.play(arm, held_out) for name, arm in arms.items()}
    for name, one in played.items():
        show_played(name, one)
    show_played(MIXTURE, await table.play(Demonstrator(world, replace(WARM_START, **dials.strategy)), held_out))
    for name, strategy in FURTHER_SCRIPTS.items() if dials.outdated or dials.namesakes else ():
        show_played(name, await table.play(Demonstrator(world, strategy), held_out))

    names = list(arms)
    learnt = np.stack([(await table.play(arm, training)).matches for arm in arms.values()], axis=1)
    rng = np.random.default_rng(arguments.world)
    choices = [names[play_bandit(learnt, pulls=arguments.pulls, rng=rng)] for _ in range(NUM_BANDITS)]
    chosen = max(names, key=choices.count)
    share = choices.count(chosen) / NUM_BANDITS
    show(f"a bandit over the eight scripts, {arguments.pulls} pulls ({chosen}: {share:.0%})", played[chosen].matches)
    trained_on = [question.metadata["kind"].partition(",")[0] for question in training]
    best = {one: names[int(np.argmax(learnt[[kind == one for kind in trained_on]].mean(axis=0)))] for one in classes}
    by_class = np.array([played[best[kind]].matches[number] for number, kind in enumerate(kinds)])
    show("the best of the eight for each class", by_class)

    tried = {price: (await table.play(oracle(world, price=price), training)).matches.mean() for price in PRICES}
    price = max(PRICES, key=lambda each: tried[each])
    known = await table.play(oracle(world, price=price), held_out)
    show_played(f"oracle, {price} a call", known)
    ahead = paired_rate_interval(first=known.matches, second=by_class)
    print(f"\noracle minus the best of the eight for each class: {ahead}")


if __name__ == "__main__":
    asyncio.run(main())
