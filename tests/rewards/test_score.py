import pytest

from workflow_r1.rewards import format_score, score_trajectory
from workflow_r1.trajectory import OperatorCall, Question, ScoredTrajectory, StopReason, Trajectory, Turn

SEARCH = "<think>look it up</think><tool>Search: capital of France</tool>"
RIGHT = "<think>settled</think><answer>Paris</answer>"
WRONG = "<think>settled</think><answer>Lyon is it</answer>"
QUESTION = Question(id="q", text="Capital of France?", golden_answers=("Paris", "City of Light"))


def make_trajectory(*texts, stop_reason=StopReason.ANSWERED, observation="", answer=None, question=QUESTION):
    turns = tuple(
        Turn(
            index=index,
            text=text,
            well_formed=True,
            calls=(OperatorCall(operator="Search", input="x", observation=observation, valid=True),),
            observation=f"<info>{observation}</info>",
        )
        for index, text in enumerate(texts, start=1)
    )
    return Trajectory(id="t", group_id="g", question=question, turns=turns, stop_reason=stop_reason, answer=answer)


@pytest.mark.parametrize(
    ("texts", "score"),
    [
        ([RIGHT], 0.0),
        ([SEARCH, RIGHT], 0.0),
        ([SEARCH, SEARCH, WRONG], 0.0),
        ([SEARCH + "\n", " " + RIGHT], 0.0),
        ([], -0.5),
        ([SEARCH], -0.5),  # ends without an answer
        ([RIGHT, RIGHT], -0.5),  # an answer ends the trajectory
        ([RIGHT, SEARCH], -0.5),
        (["I think", RIGHT], -0.5),
        (["<answer>Paris</answer>"], -0.5),
        ([SEARCH + "<tool>Search: y</tool>", RIGHT], -0.5),  # two calls in a turn
        (["<think> </think><tool>Search: x</tool>", RIGHT], -0.5),
        (["<think>t</think><tool>Search: </tool>", RIGHT], -0.5),
        ([RIGHT + " Done."], -0.5),
        ([SEARCH + "<info>Paris</info>" + RIGHT], -0.5),
    ],
)
def test_format_score(texts, score):
    assert format_score(texts) == score
    assert format_score(make_trajectory(*texts)) == score


@pytest.mark.parametrize(
    ("texts", "stop_reason", "answer", "format", "matched", "f1"),
    [
        ([SEARCH, RIGHT], StopReason.ANSWERED, 1.0, 0.0, 1.0, 1.0),
        ([SEARCH, WRONG], StopReason.ANSWERED, 0.0, 0.0, 0.0, 0.0),
        (["<think>t</think><answer>Paris, France</answer>"], StopReason.ANSWERED, 0.0, 0.0, 0.0, 2 / 3),
        (["<think>t</think><answer>city of light!</answer>"], StopReason.ANSWERED, 1.0, 0.0, 1.0, 1.0),
        (["hm", RIGHT], StopReason.ANSWERED, 1.0, -0.5, 1.0, 1.0),
        ([RIGHT + SEARCH], StopReason.ANSWERED, 1.0, -0.5, 1.0, 1.0),
        ([SEARCH] * 3, StopReason.MAX_TURNS, -1.0, -0.5, 0.0, 0.0),
        ([SEARCH], StopReason.MAX_OPERATOR_CALLS, -1.0, -0.5, 0.0, 0.0),
        ([SEARCH, "<think>t"], StopReason.MAX_RESPONSE_TOKENS, -1.0, -0.5, 0.0, 0.0),
        ([], StopReason.MAX_RESPONSE_TOKENS, -1.0, -0.5, 0.0, 0.0),
    ],
)
def test_score_trajectory(texts, stop_reason, answer, format, matched, f1):
    trajectory = make_trajectory(*texts, stop_reason=stop_reason)
    reward = score_trajectory(trajectory).reward
    assert (reward.answer, reward.format, reward.exact_match) == (answer, format, matched)
    assert reward.f1 == pytest.approx(f1)
    assert reward.total == answer + format


def test_unicode_normalisation_is_an_option():
    question = QUESTION.model_copy(update={"golden_answers": ("Beyoncé",)})
    trajectory = make_trajectory("<think>t</think><answer>Beyonce</answer>", question=question)
    plain, normalised = (score_trajectory(trajectory, unicode_normalise=each).reward for each in (False, True))
    assert (plain.answer, plain.exact_match, plain.f1) == (0.0, 0.0, 0.0)
    assert (normalised.answer, normalised.exact_match, normalised.f1) == (1.0, 1.0, 1.0)


def test_the_scored_trajectory_is_the_trajectory():
    trajectory = make_trajectory(SEARCH, RIGHT)
    scored = score_trajectory(trajectory)
    assert isinstance(scored, ScoredTrajectory)
    assert scored.model_dump(exclude={"reward"}) == trajectory.model_dump()
    assert score_trajectory(scored) == scored


def test_an_answer_in_an_observation_is_text():
    trajectory = make_trajectory(SEARCH, SEARCH, observation=RIGHT, stop_reason=StopReason.MAX_TURNS)
    assert score_trajectory(trajectory).reward.answer == -1.0
    wrong = make_trajectory(SEARCH, WRONG, observation="<answer>Paris</answer>")
    assert score_trajectory(wrong).reward.answer == 0.0


def test_an_answer_that_the_environment_did_not_take_does_not_count():
    trajectory = make_trajectory("<answer>Paris</answer>", stop_reason=StopReason.MAX_TURNS)
    assert score_trajectory(trajectory).reward.total == -1.5


@pytest.mark.parametrize("stop_reason", [reason for reason in StopReason if reason.is_infrastructure])
def test_infrastructure_failures_are_never_scored(stop_reason):
    with pytest.raises(ValueError, match=f"{stop_reason.value}.*leave it out"):
        score_trajectory(make_trajectory(RIGHT, stop_reason=stop_reason))


def test_a_question_without_golden_answers_cannot_be_scored():
    question = Question(id="q7", text="?", golden_answers=())
    with pytest.raises(ValueError, match="q7"):
        score_trajectory(make_trajectory(RIGHT, question=question))
