from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.retrieval import Passage
from workflow_r1.retrieval.passages import join_contents, read_passage, read_passages, split_contents

JAWS = Passage("7", "Jaws", "A film.", 2.5)


@pytest.mark.parametrize(
    ("value", "passage"),
    [
        (JAWS, JAWS),
        ({"document": {"id": "7", "contents": '"Jaws"\nA film.'}, "score": 2.5}, JAWS),
        ({"document": {"id": 7, "contents": "Jaws\nA film."}, "score": "2.5"}, JAWS),
        ({"id": "7", "title": "Jaws", "text": "A film.", "contents": "other", "score": 2.5}, JAWS),
        ({"url": "7", "title": "Jaws", "content": "A film.", "score": 2.5, "more": {}}, JAWS),
        ({"link": "7", "title": "Jaws", "snippet": "A film."}, Passage("7", "Jaws", "A film.", 0.5)),
        ({"contents": "One line."}, Passage("2", "", "One line.", 0.5)),
        ({"document": "A film.\nOf 1975.", "score": 1}, Passage("2", "", "A film.\nOf 1975.", 1.0)),
        (" A film. ", Passage("2", "", "A film.", 0.5)),
        ({"title": "Jaws", "text": ""}, Passage("2", "Jaws", "", 0.5)),
        ({"title": None, "text": "\ud800"}, Passage("2", "", "?", 0.5)),
        ({"title": "Jaws", "text": None}, Passage("2", "Jaws", "", 0.5)),
        ({"text": None, "snippet": None, "contents": "Jaws\nA film."}, Passage("2", "Jaws", "A film.", 0.5)),
    ],
)
def test_the_forms_that_are_about(value: Any, passage: Passage) -> None:
    assert read_passage(value, 2) == passage


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "passage 2: expected text or an object, found 7"),
        (None, "passage 2: expected text or an object, found nothing"),
        ({"document": None}, "found nothing"),
        ({}, "expected a field contents, text, content, snippet, body; found fields none"),
        ({"name": "Jaws"}, "found fields name"),
        ({"contents": 7}, "expected a field contents"),
        ({"text": ["A film."]}, "field text: expected text, found a list"),
        ({"title": 7, "text": "A film."}, "field title: expected text, found 7"),
        ({"text": " "}, "expected a title or a text, found neither"),
        ({"title": None, "text": None}, "expected a title or a text, found neither"),
        ("", "expected a title or a text"),
        ({"text": "A film.", "score": "high"}, "field score: expected a number, found 'high'"),
        ({"text": "A film.", "score": True}, "field score"),
        ({"text": "A film.", "score": float("nan")}, "field score"),
    ],
)
def test_what_is_no_passage(value: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_passage(value, 2)
    assert message in str(raised.value)


def test_a_list_is_cut_and_ranked() -> None:
    found = read_passages(["a", {"text": "b", "score": 7}, "c"], 2)
    assert [(passage.text, passage.score) for passage in found] == [("a", 1.0), ("b", 7.0)]
    for value in ("text", {"a": 1}, None):
        with pytest.raises(ValueError, match="expected a list of passages"):
            read_passages(value, 2)


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), min_size=1))
def test_title_and_text_survive_being_put_in_one(title: str, text: str) -> None:
    title, text = " ".join(title.split()), text.strip()
    assert split_contents(join_contents(Passage("7", title, text, 0.0))) == (title, text)
