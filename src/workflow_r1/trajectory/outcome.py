"""Outcome of a trajectory, class of its question, operators that ran: lists of trajectories sort by these."""

from enum import StrEnum

from workflow_r1.trajectory.records import OperatorCall, Question, ScoredTrajectory, StopReason, Trajectory

CLASS_KEYS = ("kind", "type", "hops", "prop")
"""Metadata that tells classes of questions apart, the most telling first."""

INVALID = "(invalid)"
"""Stands for an operator where a call ran nothing: no such operator, or wrong arguments."""

NO_ANSWER = "\u2205"
"""Answer of a workflow without one: an empty ``<answer>`` would be a malformed turn, and no golden answer equals this text."""


class Outcome(StrEnum):
    """Outcome of an answer: its status, and for an answered question, whether it is right."""

    RIGHT = "right"
    """Exact match with a golden answer, or the goal of another task reached."""
    WRONG = "wrong"
    """An answer that matches none, or the goal missed."""
    NO_ANSWER = "no_answer"
    """The method ended without one."""
    MALFORMED = "malformed"
    """The method's text cannot be read as an answer."""
    OUT_OF_BUDGET = "out_of_budget"
    """Its turns, calls or tokens were used up before it answered."""
    FAILED = "failed"
    """The infrastructure failed: in no figure."""


def outcome_of(trajectory: Trajectory) -> Outcome | None:
    """Return the outcome of a trajectory; None where it came to its own end and nothing says whether that is right."""
    if trajectory.stop_reason.is_infrastructure:
        return Outcome.FAILED
    if trajectory.stop_reason in (StopReason.ANSWERED, StopReason.DONE) or trajectory.answer is not None:
        if trajectory.answer == NO_ANSWER:
            return Outcome.NO_ANSWER
        success = trajectory.reward.success if isinstance(trajectory, ScoredTrajectory) else None
        if success is None:
            return None
        return Outcome.RIGHT if success else Outcome.WRONG
    if trajectory.stop_reason is StopReason.CONTENT_REFUSED:
        return Outcome.NO_ANSWER
    if trajectory.turns and not trajectory.turns[-1].well_formed:
        return Outcome.MALFORMED
    return Outcome.OUT_OF_BUDGET


def question_class(question: Question) -> str:
    """Return the class of a question: its kind by its file, else its dataset."""
    for key in CLASS_KEYS:
        if question.metadata.get(key) not in (None, ""):
            return f"{question.metadata[key]} hops" if key == "hops" else str(question.metadata[key])
    return question.dataset or "all"


def operator_of(call: OperatorCall) -> str:
    """Name of the operator that a call ran."""
    return call.operator if call.valid or call.usage.llm_calls else INVALID
