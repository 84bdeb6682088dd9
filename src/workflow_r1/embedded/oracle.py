"""The oracle of a world: the strategy of one who knows the dials, and acts on each relation as its facts deserve.

It reads exactly, as all scripts do, and knows no fact. A policy can learn the same from rewards alone; a choice among
fixed scripts cannot reach it where the relations differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from workflow_r1.embedded.config import MISSING_SHARE, EmbeddedConfig
from workflow_r1.embedded.demonstrators import Demonstrator
from workflow_r1.embedded.expert import ExpertRates
from workflow_r1.embedded.strategy import ONE_WAY, Strategy
from workflow_r1.embedded.world import EmbeddedWorld

RATES = ExpertRates()
"""The expert's usual shares of right answers."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to find a fact, and what it is worth."""

    strategy: Strategy
    """Its choices."""
    right: float
    """Expected share of right values."""
    calls: float
    """Expected calls of operators."""


def oracle(world: EmbeddedWorld, *, price: float) -> Demonstrator:
    """Return a policy without a model that finds each fact in the best way, and goes back from dead ends.

    Args:
        world: the world whose dials it knows.
        price: worth of one call, as a share of right values; the tighter the budget, the more.
    """
    best = {
        noun: max(ways(world.config, noun), key=lambda way: way.right - price * way.calls).strategy
        for noun in world.relations
    }
    return Demonstrator(world, replace(ONE_WAY, go_back=1), by_relation=best)


def ways(config: EmbeddedConfig, noun: str) -> Iterator[Way]:
    """Return every way to find a fact of a relation: the expert, a search before it, and a look at the news between."""
    missing = config.missing.get(noun, MISSING_SHARE)
    outdated = config.outdated.get(noun, 0.0)
    for asked in _ways_to_ask(config, noun):
        yield asked
        for check in (0, 1):
            yield Way(
                replace(asked.strategy, search=1, check=check),
                right=(1 - missing) * (1 if check else 1 - outdated) + missing * asked.right,
                calls=1 + (1 - missing) * check + missing * asked.calls,
            )


def _ways_to_ask(config: EmbeddedConfig, noun: str) -> Iterator[Way]:
    factor = config.recall.get(noun, RATES.answer[1]) / RATES.answer[1]
    answer, sample, revise = (min(1.0, factor * rate[1]) for rate in (RATES.answer, RATES.sample, RATES.revise))
    ask = replace(ONE_WAY, search=0)
    yield Way(ask, answer, calls=1)
    # Two of three samples agree on the truth; or one is right, and the other two name different mistakes out of some four:
    # then the truth is recognised, or happens to be the first.
    lone = 3 * sample * (1 - sample) ** 2 * 0.75
    yield Way(
        replace(ask, ensemble=1), sample**2 * (3 - 2 * sample) + lone * (RATES.tie + (1 - RATES.tie) / 3), calls=2
    )
    # A solution that is wrongly called wrong is revised into another one, never into itself.
    called_wrong = answer * (1 - RATES.review) + (1 - answer) * RATES.review
    right = answer * RATES.review + (1 - answer) * RATES.review * revise
    yield Way(replace(ask, review=1), right, calls=2 + called_wrong)
