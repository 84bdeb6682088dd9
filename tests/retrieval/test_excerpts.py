"""The excerpt of a passage holds the sentences that tell most about the query, and never more than it may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.retrieval.excerpts import excerpt

TEXT = (
    "Alan Example was a clockmaker. He was born into a family of farmers in the north. He learnt the trade from an uncle "
    "whom he visited every summer. In 1902 he moved to Zurich and opened a shop. His clocks stand in three museums. "
    "He died in Geneva."
)


def test_a_passage_that_fits_is_itself_with_single_spaces():
    assert excerpt("One  two.\nThree.", "two", 32) == "One two. Three."


def test_the_sentence_with_the_querys_words_is_shown_in_its_place():
    assert excerpt(TEXT, "Which town has the shop that Alan Example opened?", 100, title="Alan Example") == (
        "Alan Example was a clockmaker. ... In 1902 he moved to Zurich and opened a shop. ..."
    )


def test_words_of_the_title_count_for_nothing():
    text = (
        "Example is a town. Example lies on a river, and Example has a port. The mayor is Bo Berg. More follows here."
    )
    assert "Bo Berg" in excerpt(text, "Who is the mayor of Example?", 60, title="Example")


def test_a_sentence_that_does_not_fit_is_cut_at_a_word():
    text = (
        "Short one. "
        + "The shop stood in a street that nobody remembers by its name any more today. "
        + "End here now."
    )
    shown = excerpt(text, "shop street", 60)
    assert shown.startswith("Short one. The shop stood in a street") and shown.endswith("...")


def test_a_text_without_blanks_is_cut_where_the_room_ends():
    assert excerpt("x" * 500, "y", 40) == "x" * len(excerpt("x" * 500, "y", 40)[:-4]) + " ..."


def test_sentences_of_other_scripts_are_sentences():
    text = "東京は日本の首都です。大阪は商業の町です。京都には古い寺が多くあります。名古屋は工業の町です。札幌は北にあります。"
    assert "京都には古い寺" in excerpt(text, "京都 寺", 45)


@given(st.text(max_size=400), st.text(max_size=40), st.integers(32, 200), st.text(max_size=20))
def test_an_excerpt_never_exceeds_its_room(text, query, max_chars, title):
    shown = excerpt(text, query, max_chars, title=title)
    assert len(shown) <= max_chars
    if len(" ".join(text.split())) <= max_chars:
        assert shown == " ".join(text.split())


def test_a_room_too_small_is_refused():
    with pytest.raises(ValueError, match="at least 32"):
        excerpt("text", "query", 31)
