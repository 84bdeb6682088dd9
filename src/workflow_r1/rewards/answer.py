"""The match of a predicted answer with the golden answers: SQuAD's exact match and token F1.

Source: the official evaluation script of SQuAD 2.0 (Rajpurkar et al., 2018), which is SQuAD 1.1's (2016) with empty
answers settled. One thing differs: an answer that normalisation empties (``A``, ``---``) equals another such answer only
where they say the same (:func:`~workflow_r1.data.comparable_answer`).
"""

from collections import Counter
from collections.abc import Sequence

from workflow_r1.data import comparable_answer, normalize_answer

YES_NO = ("yes", "no", "noanswer")
"""Answers of HotpotQA that its evaluation script compares whole."""


def exact_match(prediction: str, golden_answers: Sequence[str], *, unicode_normalise: bool = False) -> float:
    """Return 1 if the normalised prediction equals any normalised golden answer, else 0.

    Args:
        prediction: the predicted answer.
        golden_answers: every accepted answer (a single string is one answer).
        unicode_normalise: let accents, dashes and the like not matter; see ``normalize_answer``.

    Raises:
        ValueError: there is no golden answer.
    """
    predicted = comparable_answer(prediction, unicode_normalise=unicode_normalise)
    return float(
        any(
            predicted == comparable_answer(golden, unicode_normalise=unicode_normalise)
            for golden in _as_answers(golden_answers)
        )
    )


def f1_score(
    prediction: str,
    golden_answers: Sequence[str],
    *,
    unicode_normalise: bool = False,
    yes_no_whole: bool = False,
) -> float:
    """Return the F1 between the bags of normalised tokens, best over the golden answers.

    Where normalisation empties either bag (``""``, ``the``, ``?!``), the score is that of the exact match.

    Args:
        prediction: the predicted answer.
        golden_answers: every accepted answer (a single string is one answer).
        unicode_normalise: let accents, dashes and the like not matter; see ``normalize_answer``.
        yes_no_whole: follow HotpotQA's script: where one of the two is *yes*, *no* or *noanswer*, only equality counts
            (otherwise ``yes it is`` earns a part of ``yes``).

    Raises:
        ValueError: there is no golden answer.
    """
    predicted = normalize_answer(prediction, unicode_normalise=unicode_normalise)
    if not predicted:
        return exact_match(prediction, golden_answers, unicode_normalise=unicode_normalise)
    golden = (normalize_answer(answer, unicode_normalise=unicode_normalise) for answer in _as_answers(golden_answers))
    return max(_f1(predicted, answer, yes_no_whole=yes_no_whole) for answer in golden)


def _f1(predicted: str, golden: str, *, yes_no_whole: bool) -> float:
    if yes_no_whole and (predicted in YES_NO or golden in YES_NO):
        return float(predicted == golden)
    predicted_tokens, golden_tokens = predicted.split(), golden.split()
    num_same = (Counter(predicted_tokens) & Counter(golden_tokens)).total()
    # Harmonic mean of num_same / predicted and num_same / golden.
    return 2 * num_same / (len(predicted_tokens) + len(golden_tokens))


def _as_answers(golden_answers: Sequence[str]) -> Sequence[str]:
    answers = (golden_answers,) if isinstance(golden_answers, str) else golden_answers
    if not answers:
        raise ValueError("expected at least one golden answer, received none: this question cannot be scored")
    return answers
