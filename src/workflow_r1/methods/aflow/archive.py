"""The rounds of a search so far: the ones to build on, the best one, and the end of all progress."""

import math
import random
from collections.abc import Sequence

from workflow_r1.methods.graphs import WorkflowGraph
from workflow_r1.trajectory import Usage
from workflow_r1.trajectory.records import Record

UNIFORM_SHARE = 0.3
"""Share of the selection that ignores scores. AFlow: 0.3."""

SHARPNESS = 0.2
"""Weight of a point of score, of 100, in the softmax. AFlow: 0.2."""

NUM_TOP = 3
"""Best rounds whose mean score tells whether the search moves. AFlow: 3."""


class Round(Record):
    """One workflow that was tried, or the failed attempt to get one."""

    number: int
    """1, 2, ..."""
    parent: int | None
    """Round whose workflow was changed; None for the first."""
    modification: str
    """The change, in the proposer's words."""
    graph: WorkflowGraph | None
    """The workflow; None where no usable one was proposed."""
    score: float | None = None
    """Mean over the validation questions, 0 to 1; None where there is no workflow."""
    num_scored: int = 0
    """Answers that ``score`` is a mean over."""
    num_failed: int = 0
    """Answers that the infrastructure kept from being given: in no mean."""
    calls_per_question: float | None = None
    """LLM calls, mean over the scored answers."""
    usage: Usage = Usage()
    """Usage of the validation, including failed answers."""
    proposal_usage: Usage = Usage()
    """Usage of the proposals that led to it."""


def parent_probabilities(scores: Sequence[float]) -> list[float]:
    """Return the probability with which each candidate is built on.

    p_i = 0.3 / n + 0.7 * softmax(0.2 * (s_i - s_max)) with s the score in points of 100 (AFlow, section 3.3 and its
    code): a mixture, which now and then builds on a weak round.

    Args:
        scores: 0 to 1; at least one.
    """
    best = max(scores)
    weights = [math.exp(SHARPNESS * 100 * (score - best)) for score in scores]
    total = sum(weights)
    return [UNIFORM_SHARE / len(scores) + (1 - UNIFORM_SHARE) * weight / total for weight in weights]


def candidates(rounds: Sequence[Round], sample: int) -> list[Round]:
    """Return the rounds that may be built on: the first, and the best of the others, ``sample`` in all."""
    first, *others = [each for each in rounds if each.score is not None]
    return [first, *sorted(others, key=_rank)[: sample - 1]]


def choose_parent(rounds: Sequence[Round], *, sample: int, rng: random.Random) -> Round:
    """Draw the round to build on."""
    chosen = candidates(rounds, sample)
    probabilities = parent_probabilities([each.score or 0.0 for each in chosen])
    return rng.choices(chosen, weights=probabilities)[0]


def best_round(rounds: Sequence[Round]) -> Round:
    """Return the round with the best score; between equals the one of fewer calls, then the earlier. The first is one of them."""
    return min((each for each in rounds if each.score is not None), key=_rank)


def is_stuck(rounds: Sequence[Round], patience: int) -> bool:
    """Return True where the mean of the best three scores has not changed for ``patience`` rounds.

    It needs one round more than three.
    """
    scores: list[float] = []
    means: list[float] = []
    for each in rounds:
        if each.score is not None:
            scores.append(each.score)
        if len(scores) >= NUM_TOP:
            means.append(math.fsum(sorted(scores, reverse=True)[:NUM_TOP]) / NUM_TOP)
    return patience > 0 and len(means) > patience and len(set(means[-patience - 1 :])) == 1


def _rank(each: Round) -> tuple[float, float, int]:
    return -(each.score or 0.0), each.calls_per_question or 0.0, each.number
