"""Tokens of all scripts, and what they let a search find."""

import asyncio
import time
import unicodedata
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.retrieval import BM25Index, Passage
from workflow_r1.retrieval import tokens as module
from workflow_r1.retrieval.tokens import _MOST_MARKS, STOPWORDS, Tokenizer, TokenNumbers

TEXTS = {
    "shark": "Jaws is a film about a shark.",
    "season-4": "The series ended its season 4 in May.",
    "season-5": "The series ended its season 5 in June.",
    "vitamin-c": "Vitamin C is found in fruit.",
    "vitamin-d": "Vitamin D is made in the skin.",
    "treaty": "The U.S. signed the treaty of Ghent.",
    "c": "C is a language for programming.",
    "c++": "C++ is a language for programming.",
    "c#": "C# is a language for programming.",
    "beyonce": "Beyonc\u00e9 is a singer.",
    "lodz": "\u0141\u00f3d\u017a is a city.",
    "tolkien": "J. R. R. Tolkien wrote The Hobbit.",
    "hindi": "\u0939\u093f\u0928\u094d\u0926\u0940 \u090f\u0915 \u092d\u093e\u0937\u093e \u0939\u0948",
    "marathi": "\u092e\u0930\u093e\u0920\u0940 \u090f\u0915 \u092d\u093e\u0937\u093e \u0939\u0948",
    "tamil": "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0bae\u0bca\u0bb4\u0bbf",
    "tokyo": "\u6771\u4eac\u30bf\u30ef\u30fc\u306f\u9ad8\u3044",
    "kyoto": "\u4eac\u90fd\u306f\u53e4\u3044\u753a\u3067\u3059",
    "glass": "\u30ac\u30e9\u30b9\u306e\u9774",
    "seoul": "\uc11c\uc6b8\uc740 \uc218\ub3c4\uc774\ub2e4",
    "busan": "\ubd80\uc0b0\uc740 \ud56d\uad6c\uc774\ub2e4",
    "thai": "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22\u0e40\u0e1b\u0e47\u0e19\u0e20\u0e32\u0e29\u0e32",
    "hebrew": "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "arabic": "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f \u0643\u0627\u062a\u0628",
}

INDEX = BM25Index.from_passages([Passage(name, "", text, 0.0) for name, text in TEXTS.items()])


def find(query: str) -> list[str]:
    return [passage.id for passage in asyncio.run(INDEX(query, k=5))]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("season 5", "season-5"),
        ("What is Vitamin D?", "vitamin-d"),
        ("U.S.", "treaty"),
        ("the US", "treaty"),
        ("C", "c"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("Beyonce", "beyonce"),
        ("BEYONCE\u0301", "beyonce"),
        ("Lodz", "lodz"),
        ("J.R.R.", "tolkien"),
        ("\uff2a\uff41\uff57\uff53", "shark"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "hindi"),
        ("\u092e\u0930\u093e\u0920\u0940", "marathi"),
        ("\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "tamil"),
        ("\u6771\u4eac", "tokyo"),
        ("\u4eac\u90fd", "kyoto"),
        ("\u9ad8", "tokyo"),
        ("\uff76\uff9e\uff97\uff7d", "glass"),
        ("\uc11c\uc6b8", "seoul"),
        ("\u0e44\u0e17\u0e22", "thai"),
        ("\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "hebrew"),
        ("\u0645\u062d\u0645\u062f", "arabic"),
    ],
    ids=ascii,
)
def test_the_passage_that_is_asked_for_comes_first_and_ties_with_none(query: str, first: str) -> None:
    found = asyncio.run(INDEX(query, k=2))
    assert found[0].id == first
    assert len(found) == 1 or found[0].score > found[1].score


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The Running of THE foxes, a 1,976th I", ["run", "fox", "1", "976th", "i"]),
        ("1,976 and 12,345,678, not 1,97 or 1,2345", ["1", "976", "12", "345", "678", "1", "97", "1", "2345", "1976", "12345678"]),
        ("Spielberg's film, Spielberg\u2019s film", ["spielberg", "film", "spielberg", "film"]),
        ("Don't, O'Brien!", ["don", "o", "brien", "obrien"]),
        ("Hawai\u02bbi, the Qur\u2019an, I'm", ["hawai", "i", "qur", "i", "hawaii", "quran"]),
        ("C++17, C\u266f", ["c++", "17", "c#"]),
        ("\u0623\u062d\u0645\u062f \u0645\u062f\u0631\u0633\u0629", ["\u0627\u062d\u0645\u062f", "\u0645\u062f\u0631\u0633\u0647"]),
        ("the U.S. and J.R.R.", ["u", "s", "j", "r", "r", "us", "jrr"]),
        ("C++, C# and C; Notepad++; a+b", ["c++", "c#", "c", "notepad++", "b", "notepad"]),
        ("snake_case __init__", ["snake", "case", "init"]),
        ("S\u00f8ren, \u0130stanbul, Stra\u00dfe, \ufb01sh, iPhone\u2122", ["soren", "istanbul", "strass", "fish", "iphon"]),
        ("co\u00adoperate", ["cooper"]),
        ("\u041f\u0451\u0442\u0440 \u0395\u03bb\u03bb\u03ac\u03c2", ["\u043f\u0435\u0442\u0440", "\u03b5\u03bb\u03bb\u03b1\u03c3"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u092d\u093e\u0937\u093e"]),
        ("AKB48\u6771\u4eac", ["akb48", "\u6771\u4eac", "\u6771", "\u4eac"]),
        ("", []),
        ("the of a ?! \u0301", []),
    ],
)  # fmt: skip
def test_tokens(text: str, tokens: list[str]) -> None:
    assert Tokenizer()(text) == tokens


def test_a_query_counts_by_pairs_and_by_a_character_that_stands_alone() -> None:
    tokenize = Tokenizer()
    assert tokenize("\u6771\u4eac\u90fd", is_query=True) == ["\u6771\u4eac", "\u4eac\u90fd"]
    assert tokenize("\u9ad8 ?", is_query=True) == ["\u9ad8"]


@given(st.text())
def test_the_normal_form_makes_no_difference(text: str) -> None:
    tokenize = Tokenizer()
    for form in ("NFC", "NFD"):
        assert tokenize(unicodedata.normalize(form, text)) == tokenize(text)


def test_one_long_word_beside_an_apostrophe_takes_linear_time() -> None:
    tokenize = Tokenizer()
    started = time.process_time()
    assert tokenize("x" * 200_000 + " o'b")[1:] == ["o", "b", "ob"]
    assert time.process_time() - started < 5.0  # Searching from every letter takes minutes.


def test_rows_of_marks_are_cut_before_they_are_normalised() -> None:
    tokenize = Tokenizer()
    mark = "\u093f"
    assert tokenize("\u0939" + mark * (_MOST_MARKS + 9)) == ["\u0939" + mark * _MOST_MARKS]


def in_bulk(text: str) -> list[str]:
    vocabulary: dict[str, int] = {}
    numbers = array("i", TokenNumbers(vocabulary).of(text))
    return sorted(list(vocabulary)[number] for number in numbers)


_PIECES = "a The x Jaws 7 1,976 , . ' \u2019s o'b U.S. C++ # + - ( _ \xe9 e\u0301 \u0301 \u200d \u6771 \u4eac \u0939 \u093f \ufdfa"
_BLANKS = " \n\x1f\xa0\u2028\u3000"
_PARTS = st.sampled_from([*_PIECES.split(" "), *_BLANKS])


@given(st.text() | st.lists(_PARTS, max_size=12).map("".join))
def test_in_bulk_the_tokens_are_the_same(text: str) -> None:
    assert in_bulk(text) == sorted(Tokenizer()(text))


@pytest.mark.parametrize("text", TEXTS.values())
def test_in_bulk_they_are_the_same_in_every_script(text: str) -> None:
    assert in_bulk(text) == sorted(Tokenizer()(text))


def test_words_that_are_forgotten_keep_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WORDS", 2)
    numbers = TokenNumbers({})
    assert array("i", numbers.of("one two three four, one Two")).tolist() == [0, 1, 2, 3, 0, 1]
    assert len(numbers) <= 2


def test_the_stop_words_are_those_of_bm25s() -> None:
    stopwords = pytest.importorskip("bm25s.stopwords")
    assert frozenset(stopwords.STOPWORDS_EN) == STOPWORDS
