"""Figures of each question's answers, from the trajectories that an evaluation has stored."""

from collections.abc import Iterable, Sequence
from statistics import mean

from workflow_r1.prompts import parse_turn
from workflow_r1.rewards import score_trajectory
from workflow_r1.running.audit import holds_answer
from workflow_r1.trajectory import Trajectory

Figures = dict[str, float]
"""Figures by name; those of a question are means over its answers."""


def question_figures(trajectories: Iterable[Trajectory]) -> dict[str, Figures]:
    """Return the figures of each question by its id; what the infrastructure failed is left out.

    ``exact_match``, ``f1``; ``pass``: some answer was right; ``shown``: a gold answer stood in an observation; ``searches``;
    ``one`` and ``several``: share with exactly one search and with more; ``one_right`` and ``several_right``: share that had
    so many and was right; ``think_chars``: mean length of a thought; ``malformed``: share with a malformed turn.
    """
    by_question: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        if not trajectory.stop_reason.is_infrastructure:
            by_question.setdefault(trajectory.question.id, []).append(trajectory)
    return {id: _mean([_answer_figures(each) for each in group]) for id, group in by_question.items()}


def _mean(rows: Sequence[Figures]) -> Figures:
    figures = {name: mean(row[name] for row in rows) for name in rows[0]}
    return {**figures, "pass": float(figures["exact_match"] > 0)}


def _answer_figures(trajectory: Trajectory) -> Figures:
    reward, calls = score_trajectory(trajectory).reward, num_calls(trajectory)
    thoughts = [parse_turn(turn.text).think or "" for turn in trajectory.turns]
    one, several = float(calls == 1), float(calls > 1)
    return {
        "exact_match": reward.exact_match,
        "f1": reward.f1,
        "shown": float(holds_answer(trajectory.question, _observations(trajectory))),
        "searches": calls,
        "one": one,
        "one_right": one * reward.exact_match,
        "several": several,
        "several_right": several * reward.exact_match,
        "think_chars": mean(map(len, thoughts)) if thoughts else 0.0,
        "malformed": float(not all(turn.well_formed for turn in trajectory.turns)),
    }


def num_calls(trajectory: Trajectory) -> int:
    """Operator calls of a trajectory."""
    return sum(len(turn.calls) for turn in trajectory.turns)


def _observations(trajectory: Trajectory) -> list[str]:
    return [call.observation for turn in trajectory.turns for call in turn.calls]
