"""Text made comparable."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.data import normalize_answer
from workflow_r1.data.checks import fingerprint
from workflow_r1.data.normalise import MAX_MARKS, normal_form, normalize_question
from workflow_r1.trajectory import Question


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


@pytest.mark.parametrize(
    "mark",
    [
        "\u0301",
        # No mark by its own class; it decomposes into two.
        "\u0f73",
    ],
)
def test_a_row_of_marks_is_cut_where_no_language_goes(mark):
    """The standard library takes quadratic time for a longer one."""
    row = "Beyonce" + mark * 1000 + " sings"
    kept = "Beyonce" + mark * MAX_MARKS + " sings"
    for form in ("NFC", "NFKC", "NFKD"):
        assert normal_form(form, row) == unicodedata.normalize(form, kept)
    assert normalize_answer(row, unicode_normalise=True) == normalize_answer(kept, unicode_normalise=True)
    assert normalize_question(row) == normalize_question(kept)
    asked = [Question(id="q", text=text, golden_answers=(text,)) for text in (row, kept)]
    assert fingerprint(asked[:1]) == fingerprint(asked[1:])


@given(st.text(alphabet="ae\u0301\u0323\u0f73\uff9e \u00e9", max_size=30))
def test_other_text_has_its_normal_form(text):
    for form in ("NFC", "NFKC", "NFKD"):
        assert normal_form(form, text) == unicodedata.normalize(form, text)
