import pytest
from written_trajectories import written

from workflow_r1.workflows import EffectCounts, EffectKind, count_effects, trace_effects

QUESTION = "Where was the director of Jaws born?"


def kinds(*turns, golden=("Cincinnati",)):
    return [
        (effect.operator, effect.kind.value, effect.before, effect.after)
        for effect in trace_effects(written(QUESTION, *turns, golden=golden))
    ]


def revise(given, result, question=QUESTION):
    return (
        "Revise.",
        f"Revise: <question>{question}</question><solution>{given}</solution><feedback>Wrong.</feedback>",
        f"Answer: {result}",
    )


@pytest.mark.parametrize(
    ("given", "result", "kind"),
    [
        ("Boston", "cincinnati.", EffectKind.WRONG_TO_RIGHT),
        ("Cincinnati", "Boston", EffectKind.RIGHT_TO_WRONG),
        ("Cincinnati", "the Cincinnati", EffectKind.NO_CHANGE),
        ("Boston", "Denver", EffectKind.NO_CHANGE),
    ],
)
def test_an_operator_changes_the_answer_that_it_is_given(given, result, kind):
    ((operator, found, before, after),) = kinds(revise(given, result), ("So.", result))
    assert (operator, found) == ("Revise", kind)
    assert (before, after) == (given == "Cincinnati", "incinnati" in result)


def test_asking_again_changes_what_the_first_call_returned():
    ask = ("Ask.", f"AnswerGenerate: {QUESTION}")
    assert kinds((*ask, "Answer: Boston"), (*ask, "Answer: Cincinnati"), ("So.", "Cincinnati")) == [
        ("AnswerGenerate", "unknown", None, False),
        ("AnswerGenerate", "wrong_to_right", False, True),
    ]


def test_an_ensemble_is_compared_with_the_first_of_its_solutions_and_a_review_changes_nothing():
    ensemble = f"ScEnsemble: <query>{QUESTION}</query><solution>Cincinnati</solution><solution>Boston</solution>"
    review = f"Review: <question>{QUESTION}</question><solution>Boston</solution>"
    assert kinds(
        ("Ask.", f"MultiAnswerGenerate: {QUESTION}", "[Answer 1] Cincinnati\n[Answer 2] Boston"),
        ("Choose.", ensemble, "Reasoning: ...\nAnswer: Boston"),
        ("Check.", review, "Feedback: It is right."),
        ("So.", "Boston"),
    ) == [
        ("MultiAnswerGenerate", "unknown", None, None),
        ("ScEnsemble", "right_to_wrong", True, False),
        ("Review", "no_change", False, False),
    ]


def test_a_part_of_the_question_has_no_golden_answer_but_its_last_part_has():
    born = "Where was Steven Spielberg born?"
    assert kinds(
        revise("Lucas", "Spielberg", question="Who directed Jaws?"),
        revise("Denver", "Boston", question=born),
        ("So.", "Boston"),
    ) == [
        ("Revise", "unknown", None, None),
        ("Revise", "no_change", False, False),
    ]


def test_invalid_calls_and_questions_without_golden_answers_tell_nothing():
    assert kinds(("Look.", "Serch: Jaws", "No such operator."), ("So.", "Boston")) == []
    assert kinds(revise("Boston", "Cincinnati"), ("So.", "Cincinnati"), golden=()) == [
        ("Revise", "unknown", None, None)
    ]


def test_counts_by_operator():
    effects = [
        effect
        for given, result in (("Boston", "Cincinnati"), ("Boston", "Denver"), ("Cincinnati", "Boston"))
        for effect in trace_effects(
            written(
                QUESTION,
                revise(given, result),
                ("Look.", "Search: Jaws", "[1] Jaws"),
                ("So.", result),
                golden=("Cincinnati",),
            )
        )
    ] + list(
        trace_effects(written(QUESTION, revise("Boston", "Cincinnati"), ("So.", "Cincinnati"), golden=("Cincinnati",)))
    )
    assert count_effects(effects) == (
        EffectCounts("Revise", 4, num_right=2, num_wrong=2, wrong_to_right=2, right_to_wrong=1, no_change=1, unknown=0),
        EffectCounts("Search", 3, num_right=0, num_wrong=0, wrong_to_right=0, right_to_wrong=0, no_change=0, unknown=3),
    )
