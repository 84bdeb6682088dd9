"""Values worked out by hand from the definition of SQuAD's evaluation (2.0)."""

import re
import string

import pytest
from hypothesis import assume, example, given
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
    """Score one pair by the official evaluation, written from its definition: exact match and F1.

    Normalised text: lower case; without the 32 ASCII punctuation characters; *a*, *an*, *the* replaced by a space where
    they stand between word boundaries; split at white space. Exact match compares the joined words. F1 is the harmonic
    mean of precision and recall of the bags of words; where one bag is empty, 1 if both are, else 0.
    """

    def words(text):
        kept = "".join(character for character in text.lower() if character not in string.punctuation)
        return re.sub(r"\b(?:a|an|the)\b", " ", kept).split()

    predicted, expected = words(prediction), words(golden)
    matched = float(" ".join(predicted) == " ".join(expected))
    if not predicted or not expected:
        return matched, float(predicted == expected)
    left, shared = list(expected), 0
    for word in predicted:
        if word in left:
            left.remove(word)
            shared += 1
    if shared == 0:
        return matched, 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return matched, 2 / (1 / precision + 1 / recall)


# Prediction, golden answer, exact match and F1 by hand.
TRICKY = [
    ("", "", 1, 1),
    ("A", "B", 0, 0),  # the letter A is an article: an empty bag against b
    ("vitamin A", "vitamin", 1, 1),
    ("", "x", 0, 0),
    ("Jane Austen", "jane  austen.", 1, 1),
    ("Austen, Jane", "Jane Austen", 0, 1),  # order matters to the one, not to the other
    ("Jane-Austen", "Jane Austen", 0, 0),  # a dropped hyphen joins
    ("Jane–Austen", "Jane-Austen", 0, 0),  # a dash of Unicode stays
    ("1914–1918", "1914-1918", 0, 0),
    ("1,000", "1000", 1, 1),
    ("$5", "5", 1, 1),
    ("5€", "5", 0, 0),
    ("U.S.", "US", 1, 1),
    ("Beyoncé", "Beyonce", 0, 0),
    ("Beyoncé", "Beyonce\u0301", 0, 0),  # composed and decomposed differ
    ("‘Emma’", "Emma", 0, 0),  # curly quotation marks stay
    ("'Emma'", "Emma", 1, 1),
    ("O'Neill", "ONeill", 1, 1),
    ("a\u00a0b", "b", 1, 1),  # a no-break space is white space and a boundary
    ("a\u200bb", "ab", 0, 0),  # a zero-width space is a boundary, so an article goes, but it is no white space
    ("İstanbul", "istanbul", 0, 0),  # lower case of a dotted capital I keeps the dot
    ("ANNA", "anna", 1, 1),
    ("theatre a the", "theatre", 1, 1),
    ("yes", "Yes, it is", 0, 0.5),
    ("a a b b", "b", 0, 2 / 3),
    ("x x x", "x", 0, 0.5),
    ("London Paris", "Rome", 0, 0),
    ("42", "forty two", 0, 0),
]


@pytest.mark.parametrize(("prediction", "golden", "matched", "f1"), TRICKY)
def test_tricky_pairs_agree_with_the_official_evaluation(prediction, golden, matched, f1):
    assert official(prediction, golden) == (matched, pytest.approx(f1))
    assert exact_match(prediction, [golden]) == matched
    assert f1_score(prediction, [golden]) == pytest.approx(f1)
    # Both are symmetric.
    assert exact_match(golden, [prediction]) == matched
    assert f1_score(golden, [prediction]) == pytest.approx(f1)


WORDS = st.lists(st.sampled_from(["the", "a", "An", "x", "Y", "y.", "?", "", "é", "–", "x-y"]), max_size=6).map(
    " ".join
)


@pytest.mark.parametrize(
    ("prediction", "golden", "matched"),
    [
        ("A", "A", 1),
        ("a.", "(A)", 1),
        ("the", "A", 0),
        ("?!", "A", 0),
        ("", "A", 0),
        ("B", "A", 0),
        ("a b", "A", 0),
        ("The The", "the the", 1),
        ("The The", "the", 0),
        ("---", "---", 1),
        (" --- ", "---", 1),
        ("?!", "---", 0),
        ("the", "---", 0),
        ("", "---", 0),
        ("", "", 1),
    ],
)
def test_answers_that_normalise_to_nothing_match_where_they_say_the_same(prediction, golden, matched):
    # The official evaluation matches any two of them.
    assert exact_match(prediction, [golden]) == exact_match(golden, [prediction]) == matched
    assert f1_score(prediction, [golden]) == f1_score(golden, [prediction]) == matched


def test_a_golden_answer_that_is_emptied_leaves_the_others_as_they_are():
    assert exact_match("Paris", ["A", "paris."]) == 1.0
    assert f1_score("Paris, France", ["A", "Paris"]) == pytest.approx(2 / 3)


@given(WORDS | st.text(max_size=12), st.lists(WORDS | st.text(max_size=12), min_size=1, max_size=3))
@example("x", ["the"])
def test_agrees_with_the_official_evaluation(prediction, golden):
    assume(normalize_answer(prediction) or all(normalize_answer(answer) for answer in golden))
    pairs = [official(prediction, answer) for answer in golden]
    assert exact_match(prediction, golden) == max(matched for matched, _ in pairs)
    assert f1_score(prediction, golden) == pytest.approx(max(f1 for _, f1 in pairs), abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "golden"),
    [
        ("Beyonce", "Beyoncé"),
        ("1914-1918", "1914–1918"),
        ("Emma", "‘Emma’"),
        ("STRASSE", "Straße"),
        ("Zoë", "Zoe\u0308"),
    ],
)
def test_unicode_normalisation_is_an_option(prediction, golden):
    assert (exact_match(prediction, golden), f1_score(prediction, golden)) == (0.0, 0.0)
    assert exact_match(prediction, golden, unicode_normalise=True) == 1.0
    assert f1_score(prediction, golden, unicode_normalise=True) == 1.0
    assert f1_score("x", golden, unicode_normalise=True) == 0.0


@pytest.mark.parametrize(
    ("prediction", "golden", "f1", "whole"),
    [
        ("yes it is", ["yes"], 0.5, 0.0),
        ("Yes.", ["yes"], 1.0, 1.0),
        ("no", ["no way"], 2 / 3, 0.0),
        ("noanswer", ["noanswer given"], 2 / 3, 0.0),
        ("yes it is", ["yes", "it is"], 0.8, 0.8),  # best over the golds
        ("Paris, France", ["Paris"], 2 / 3, 2 / 3),
    ],
)
def test_hotpotqa_compares_yes_and_no_whole(prediction, golden, f1, whole):
    assert f1_score(prediction, golden) == pytest.approx(f1)
    assert f1_score(prediction, golden, yes_no_whole=True) == pytest.approx(whole)
