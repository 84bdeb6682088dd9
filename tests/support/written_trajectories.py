"""Trajectories written down as texts: what the policy wrote, and what came back."""

from workflow_r1.operators import OPERATORS
from workflow_r1.operators.arguments import parse_arguments
from workflow_r1.prompts import parse_turn
from workflow_r1.rewards import score_trajectory
from workflow_r1.trajectory import OperatorCall, Question, StopReason, Trajectory, Turn


def written(question, *turns, golden=(), stop_reason=None, **fields):
    """Return a trajectory, scored where there are golden answers.

    A turn is a thought, a call or an answer (tags may be left out), and the observations of its calls:
    ``("First the film.", "Search: Jaws", "[1] Jaws: ...")``. Without a thought the second text is the whole turn.
    """
    made, answer = [], None
    for index, (think, action, *observations) in enumerate(turns, start=1):
        text = action if think is None else f"<think>{think}</think>{_tagged(action)}"
        parsed = parse_turn(text)
        answer = parsed.answer
        calls = tuple(
            OperatorCall(
                operator=call.operator,
                input=call.input,
                observation=observation,
                valid=_is_valid(call.operator, call.input),
            )
            for call, observation in zip(parsed.calls, observations, strict=False)
        )
        made.append(Turn(index=index, text=text, well_formed=parsed.well_formed, calls=calls))
    known = {
        "id": "t", "group_id": "g", "turns": tuple(made), "answer": answer,
        "question": question if isinstance(question, Question) else Question(id="q", text=question, golden_answers=golden),
        "stop_reason": stop_reason or (StopReason.MAX_TURNS if answer is None else StopReason.ANSWERED),
    } | fields  # fmt: skip
    trajectory = Trajectory(**known)
    return score_trajectory(trajectory) if golden else trajectory


def _tagged(action):
    if action.startswith("<"):
        return action
    name, colon, _ = action.partition(":")
    return f"<tool>{action}</tool>" if colon and name.isidentifier() else f"<answer>{action}</answer>"


def _is_valid(operator, text):
    return operator in OPERATORS and not parse_arguments(text, OPERATORS[operator].arguments).problems
