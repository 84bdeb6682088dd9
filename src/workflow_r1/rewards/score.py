"""The reward of a trajectory: answer plus format, as in the paper (arXiv:2602.01202).

| part | value |
|---|---|
| answer | 1 exact match with any golden answer; 0 an answer that matches none; -1 no answer |
| format | 0 if the turns are (think, one call)* then (think, answer), nothing empty; else -0.5 |

Both are read from the policy's own turns, never from an observation.
"""

from collections.abc import Callable, Sequence

from workflow_r1.prompts import parse_turn
from workflow_r1.rewards.answer import exact_match, f1_score
from workflow_r1.trajectory import AnswerReward, ScoredTrajectory, StopReason, Trajectory

Score = Callable[[Trajectory], ScoredTrajectory]
"""Scores a trajectory that the policy itself brought to its end; a failure of the infrastructure it refuses."""

NO_ANSWER_REWARD = -1.0
"""Answer reward of a trajectory without an answer: lower than for a wrong one, so that it pays to commit."""

FORMAT_PENALTY = -0.5
"""Format reward of a trajectory with any turn that is not well formed, or whose last turn is not an answer."""


def format_score(turns: Trajectory | Sequence[str]) -> float:
    """Return 0 if the policy's turns are (think, tool)* then (think, answer), nothing empty; else -0.5.

    Args:
        turns: a trajectory, or the texts of the policy's turns in order.
    """
    texts = [turn.text for turn in turns.turns] if isinstance(turns, Trajectory) else list(turns)
    parsed = [parse_turn(text) for text in texts]
    answered_last = bool(parsed) and parsed[-1].answer is not None
    answered_before = any(turn.answer is not None for turn in parsed[:-1])
    if answered_last and not answered_before and all(turn.well_formed for turn in parsed):
        return 0.0
    return FORMAT_PENALTY


def score_trajectory(trajectory: Trajectory, *, unicode_normalise: bool = False) -> ScoredTrajectory:
    """Score a trajectory.

    The answer counts where the environment took it (``stop_reason`` is ``answered``), and is read from the last turn.

    Args:
        trajectory: a trajectory that the policy itself brought to its end.
        unicode_normalise: let accents, dashes and the like not matter; see ``normalize_answer``.

    Returns:
        The same trajectory with its reward.

    Raises:
        ValueError: the trajectory ended by an infrastructure failure (leave it out, it is not the policy's), or its
            question has no golden answer.
    """
    if trajectory.stop_reason.is_infrastructure:
        raise ValueError(
            f"expected a trajectory that the policy ended, received {trajectory.id!r} with stop reason "
            f"{trajectory.stop_reason.value!r}: leave it out of scores, it is not the policy's failure"
        )
    golden_answers = trajectory.question.golden_answers
    if not golden_answers:
        raise ValueError(
            f"expected a question with golden answers, received none for {trajectory.question.id!r} "
            f"(trajectory {trajectory.id!r}): it cannot be scored"
        )
    # Deviation: the answer is read from the policy's own last turn; the release also scores one inside an observation.
    answer = None
    if trajectory.stop_reason is StopReason.ANSWERED and trajectory.turns:
        answer = parse_turn(trajectory.turns[-1].text).answer

    matched, f1 = 0.0, 0.0
    if answer is not None:
        matched = exact_match(answer, golden_answers, unicode_normalise=unicode_normalise)
        f1 = f1_score(answer, golden_answers, unicode_normalise=unicode_normalise)
    answer_reward = NO_ANSWER_REWARD if answer is None else matched
    format_reward = format_score(trajectory)
    reward = AnswerReward(
        total=answer_reward + format_reward,
        answer=answer_reward,
        format=format_reward,
        exact_match=matched,
        f1=f1,
    )
    return ScoredTrajectory.of(trajectory, reward)
