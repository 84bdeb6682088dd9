"""How well a predicted answer matches the golden answers: SQuAD's exact match and token F1.

Source: the official evaluation script of SQuAD 2.0 (Rajpurkar et al., 2018), which is SQuAD 1.1's (2016) with empty
answers settled.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower-case, drop ASCII punctuation, drop the articles *a*, *an*, *the*, and join what is left with single spaces.

    In this order, as in SQuAD: ``The U.S.A.`` becomes ``usa``; ``a.n`` becomes ``an`` and is then dropped.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION)).split())


def exact_match(prediction: str, golden_answers: Sequence[str]) -> float:
    """Return 1 if the normalised prediction equals any normalised golden answer, else 0.

    Args:
        prediction: the predicted answer.
        golden_answers: every accepted answer (a single string is one answer).

    Raises:
        ValueError: there is no golden answer.
    """
    normalised = normalize_answer(prediction)
    return float(any(normalised == normalize_answer(golden) for golden in _as_answers(golden_answers)))


def f1_score(prediction: str, golden_answers: Sequence[str]) -> float:
    """Return the F1 between the bags of normalised tokens, best over the golden answers.

    Where either bag is empty (``""``, ``the``, ``?!``), the score is 1 if both are, else 0.

    Args:
        prediction: the predicted answer.
        golden_answers: every accepted answer (a single string is one answer).

    Raises:
        ValueError: there is no golden answer.
    """
    return max(_f1(prediction, golden) for golden in _as_answers(golden_answers))


def _f1(prediction: str, golden: str) -> float:
    predicted_tokens = normalize_answer(prediction).split()
    golden_tokens = normalize_answer(golden).split()
    if not predicted_tokens or not golden_tokens:
        return float(predicted_tokens == golden_tokens)
    num_same = (Counter(predicted_tokens) & Counter(golden_tokens)).total()
    # Harmonic mean of num_same / predicted and num_same / golden.
    return 2 * num_same / (len(predicted_tokens) + len(golden_tokens))


def _as_answers(golden_answers: Sequence[str]) -> Sequence[str]:
    answers = (golden_answers,) if isinstance(golden_answers, str) else golden_answers
    if not answers:
        raise ValueError("expected at least one golden answer, received none: this question cannot be scored")
    return answers
