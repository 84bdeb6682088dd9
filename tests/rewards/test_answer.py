"""Values worked out by hand from the official SQuAD 2.0 evaluation script."""

import re
import string
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workflow_r1.rewards import exact_match, f1_score, normalize_answer


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The U.S.A.", "usa"),
        ("  A  tale of the\ttwo\ncities ", "tale of two cities"),
        ("a.n apple", "apple"),  # punctuation goes before articles
        ("an-other theatre", "another theatre"),
        ("Theatre", "theatre"),
        ("the", ""),
        ("?!", ""),
        ("", ""),
        ("Æthelburh’s", "æthelburh’s"),  # only ASCII punctuation is dropped
        ("x–the–y", "x– –y"),  # \b sees an article between dashes
        ("1,000.5", "10005"),
        ("ΑΘΉΝΑ", "αθήνα"),
    ],
)
def test_normalize_answer(text, normalised):
    assert normalize_answer(text) == normalised


@pytest.mark.parametrize(
    ("prediction", "golden", "matched", "f1"),
    [
        ("Paris", ["paris."], 1.0, 1.0),
        ("Paris, France", ["Paris"], 0.0, 2 / 3),
        ("London", ["Paris", "The London"], 1.0, 1.0),
        ("the cat sat", ["cat sat down"], 0.0, 0.8),  # precision 2/2, recall 2/3
        ("b b c", ["b c c"], 0.0, 2 / 3),  # a bag: b once and c once are shared
        ("x", ["y"], 0.0, 0.0),
        ("", ["x"], 0.0, 0.0),
        ("x", [""], 0.0, 0.0),
        ("", [""], 1.0, 1.0),
        ("the", ["--"], 1.0, 1.0),
        ("x y", ["z", "x", "y x"], 0.0, 1.0),
        ("yes", ["no"], 0.0, 0.0),
    ],
)
def test_exact_match_and_f1(prediction, golden, matched, f1):
    assert exact_match(prediction, golden) == matched
    assert f1_score(prediction, golden) == pytest.approx(f1, abs=1e-12)


def test_a_single_string_is_one_answer():
    assert exact_match("Paris", "Paris") == 1.0
    assert exact_match("P", "Paris") == 0.0
    assert f1_score("P", "Paris") == 0.0


@pytest.mark.parametrize("score", [exact_match, f1_score])
def test_no_golden_answer_is_an_error(score):
    with pytest.raises(ValueError, match="at least one golden answer"):
        score("x", [])


def official(prediction, golden):
    """The official script, transcribed: exact match and F1 of one pair."""

    def normalise(text):
        text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
        return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text).split())

    golden_tokens, predicted_tokens = normalise(golden).split(), normalise(prediction).split()
    matched = int(normalise(golden) == normalise(prediction))
    num_same = sum((Counter(golden_tokens) & Counter(predicted_tokens)).values())
    if not golden_tokens or not predicted_tokens:
        return matched, int(golden_tokens == predicted_tokens)
    if num_same == 0:
        return matched, 0
    precision, recall = num_same / len(predicted_tokens), num_same / len(golden_tokens)
    return matched, 2 * precision * recall / (precision + recall)


WORDS = st.lists(st.sampled_from(["the", "a", "An", "x", "Y", "y.", "?", "", "é", "–", "x-y"]), max_size=6).map(
    " ".join
)


@given(WORDS | st.text(max_size=12), st.lists(WORDS | st.text(max_size=12), min_size=1, max_size=3))
@example("", [""])
def test_agrees_with_the_official_script(prediction, golden):
    pairs = [official(prediction, answer) for answer in golden]
    assert exact_match(prediction, golden) == max(matched for matched, _ in pairs)
    assert f1_score(prediction, golden) == pytest.approx(max(f1 for _, f1 in pairs), abs=1e-12)
