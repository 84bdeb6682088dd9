"""Text made comparable."""

import pytest

from workflow_r1.data import normalize_answer
from workflow_r1.data.normalise import normalize_question


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Beyoncé", "beyonce"),
        ("Beyonce\u0301", "beyonce"),
        ("1914–18", "191418"),
        ("“The Wall”", "wall"),
        ("O’Neill", "oneill"),
        ("Ａｐｐｌｅ １", "apple 1"),
        ("Straße", "strasse"),
        ("ΑΘΉΝΑΣ", "αθηνασ"),
        ("ﬁne", "fine"),
        ("か", "か"),  # marks that make another letter stay
        ("が", "が"),
        ("कि", "कि"),
        ("5 €", "5 €"),
        ("The — a", ""),
    ],
)
def test_unicode_normalisation(text, normalised):
    assert normalize_answer(text, unicode_normalise=True) == normalised
    assert normalize_answer(normalised, unicode_normalise=True) == normalised


def test_it_is_off_by_default():
    assert normalize_answer("Beyoncé – “the Wall”") == "beyoncé – “ wall”"


def test_normalize_question():
    assert normalize_question("  Who's  the “Boss”? ") == "who s the boss"
    assert normalize_question("Zoe\u0308") == normalize_question("ZOË")
