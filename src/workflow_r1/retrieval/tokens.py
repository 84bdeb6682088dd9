"""The tokens of a text in any script, by which BM25 compares a query with a passage.

| text | tokens | rule |
|---|---|---|
| ``The Running of the Foxes`` | ``run fox`` | English stop words are left out, words are stemmed as English |
| ``season 5``, ``Vitamin D`` | ``season 5``, ``vitamin d`` | a single character is a word |
| ``Spielberg's``, ``don't`` | ``spielberg``, ``don`` | ``'s``, ``'t``, ``'d`` and ``'m`` are endings |
| ``O'Brien``, ``Hawaiʻi`` | ``o brien obrien``, ``hawai i hawaii`` | other words with an apostrophe count part by part and together |
| ``1,976`` | ``1 976 1976`` | so do numbers with separators of thousands |
| ``U.S.``, ``J.R.R.`` | ``u s us``, ``j r r jrr`` | initials count one by one and together |
| ``C++``, ``C++17``, ``C♯``, ``Notepad++`` | ``c++``, ``c++ 17``, ``c#``, ``notepad++ notepad`` | the sign belongs to the name |
| ``Beyoncé``, ``Łódź``, ``ＪＡＷＳ`` | ``beyonc``, ``lodz``, ``jaw`` | accents, case and compatibility forms (NFKC) are folded |
| ``أحمد``, ``مدرسة`` | ``احمد``, ``مدرسه`` | so are the forms in which Arabic and Persian write one letter |
| ``हिन्दी भाषा`` | ``हिन्दी भाषा`` | vowel signs and other marks belong to their letters |
| ``東京都``, ``서울은`` | ``東京 京都``, ``서울 울은`` | scripts without spaces between words, and Hangul, count by pairs of neighbours |

All of it takes time linear in the text.
"""

import re
import unicodedata
from array import array
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby, pairwise

import Stemmer

_UNSPACED = (
    # Thai, Lao, Burmese, Khmer; Hangul, whose particles are written together with the word; Japanese and Chinese.
    "\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3\uac00-\ud7a3\u3041-\u3096\u309d-\u309f\u30a1-\u30fa"
    "\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff"
    "\U00020000-\U0003ffff"
)
"""Ranges of the scripts that count by pairs."""

_OPTIONAL_MARKS = re.compile(
    # Accents of Latin, Greek and Cyrillic, points of Hebrew, short vowels, hamza and stretching of Arabic.
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u0655\u0670]"
)
"""Marks that people leave out."""

_UNSEEN = re.compile("[\u00ad\u200c\u200d\u2060\ufeff\ufe00-\ufe0f\u2120\u2122\u00ae]+")
"""Characters that stand inside words without being a part of them: soft hyphen, joiners, variation selectors, signs of a trade mark."""

_LETTERS = {
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "ð": "d",
    "ħ": "h",
    "ŧ": "t",
    "ı": "i",
    "þ": "th",
    "æ": "ae",
    "œ": "oe",
    "♯": "#",
    "ة": "ه",
    "ى": "ي",
    "ی": "ي",
    "ک": "ك",
    **dict.fromkeys("\u2018\u2019\u02bb\u02bc\u02b9", "'"),
}
"""Letters that Unicode does not take apart into letter and accent, other forms of a letter, a sign or the apostrophe."""

_LETTER = re.compile(f"[{''.join(_LETTERS)}]")

_STOPWORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with
"""
STOPWORDS = frozenset(_STOPWORDS.split())
"""English words that are no tokens: those of Lucene's StandardAnalyzer, and of bm25s."""

_MOST_WORDS = 1 << 20
"""Words whose tokens are kept while passages are read."""

_AROUND_WORDS = ',.;:()"!?'
"""Characters that end or begin no token."""

_MOST_MARKS = 30
"""Marks in a row that are kept: Unicode's Stream-Safe Text Format (UAX #15). Normalising longer rows is not linear."""

_SIGN = r"(?:\+\+(?=\d)|(?:\+{1,2}|#)(?![\w+#]))?"
_WORD = re.compile(rf"[^\W_]+{_SIGN}")
_ENDING = re.compile(r"(?<=\w)'[stdm]\b")
_ELIDED = re.compile(r"(?<![^\W\d_])[^\W\d_]++(?:'[^\W\d_]++)+")
_THOUSANDS = re.compile(r"(?<![\w,.])\d{1,3}(?:,\d{3})+(?!\w|,\d)")
_INITIALS = re.compile(r"\b[^\W\d_](?:\.[^\W\d_])+\b")

# Looked for first, since most texts have neither and these are found much quicker.
_DOT_OF_INITIALS = re.compile(r"\.(?<=\b[^\W\d_]\.)(?=[^\W\d_])")
_LONG_FOREIGN_RUN = re.compile(rf"[^\x00-\x7f]{{{_MOST_MARKS + 1}}}")


class Tokenizer:
    """Turns a text into its tokens, by the table above."""

    def __init__(self) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        self.stem: Callable[[str], str] = self._stemmer.stemWord
        """Stem of one word in lower case."""

    def __call__(self, text: str, *, is_query: bool = False) -> list[str]:
        """Return the tokens of a text.

        Args:
            text: any string.
            is_query: True for a query, False for a passage. In scripts that count by pairs, the single characters of a
                passage are tokens, too, and those of a query are not, unless one stands alone: a query then finds the
                words that hold it.
        """
        text = _fold(text)
        if "'" in text:
            text = _ENDING.sub(" ", text)
        words = _WORD.findall(text) if text.isascii() else _words_of_any_script(text, with_characters=not is_query)
        tokens: list[str] = self._stemmer.stemWords([word for word in words if word not in STOPWORDS])
        if "+" in text or "#" in text:
            bare = [token.rstrip("+#") for token in tokens if token[-1] in "+#"]
            tokens += self._stemmer.stemWords([word for word in bare if len(word) > 1])
        if "'" in text:
            tokens += self._stemmer.stemWords([word.replace("'", "") for word in _ELIDED.findall(text)])
        if "," in text:
            tokens += [number.replace(",", "") for number in _THOUSANDS.findall(text)]
        if _DOT_OF_INITIALS.search(text):
            tokens += [initials.replace(".", "") for initials in _INITIALS.findall(text)]
        return tokens


class TokenNumbers(dict[str, bytes]):
    """Numbers of the tokens of passages, in bulk.

    Every rule of the tokens looks at characters between two blanks only. So a passage is parted at its blanks, and what
    stands between them is tokenised once, however often it comes.

    Args:
        vocabulary: numbers of the tokens known so far; new ones are added.
    """

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self._vocabulary = vocabulary
        self._tokenize = Tokenizer()

    def of(self, text: str) -> bytes:
        """Return the numbers of a passage's tokens, those of :class:`Tokenizer` in another order, as a row of int32."""
        return b"".join(map(self.__getitem__, text.split()))

    def __missing__(self, word: str) -> bytes:
        if len(self) >= _MOST_WORDS:
            self.clear()
        vocabulary = self._vocabulary
        bare = word.strip(_AROUND_WORDS)
        if bare.isascii() and bare.isalnum():
            # Most words: no rule but two concerns them.
            bare = bare.lower()
            tokens = [] if bare in STOPWORDS else [self._tokenize.stem(bare)]
        else:
            tokens = self._tokenize(word)
        numbers = array("i", [vocabulary.setdefault(token, len(vocabulary)) for token in tokens]).tobytes()
        self[word] = numbers
        return numbers


def _fold(text: str) -> str:
    """Return a text without differences of case, accents and compatibility forms."""
    if text.isascii():
        return text.lower()
    text = _UNSEEN.sub("", text)
    if _LONG_FOREIGN_RUN.search(text):
        text = _patterns().many_marks.sub(r"\1", text)
    text = _OPTIONAL_MARKS.sub("", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", _LETTER.sub(lambda letter: _LETTERS[letter[0]], text))


def _words_of_any_script(text: str, *, with_characters: bool) -> list[str]:
    patterns = _patterns()
    words: list[str] = []
    for word in patterns.word.findall(text):
        if not patterns.unspaced.match(word):
            words.append(word)
            continue
        characters = patterns.character.findall(word)
        words += map("".join, pairwise(characters))
        if with_characters or len(characters) == 1:
            words += characters
    return words


class _Patterns:
    """Patterns that need Unicode's list of marks, which Python's ``re`` does not count among the characters of words."""

    def __init__(self) -> None:
        marks = _marks()
        self.many_marks = re.compile(f"([{marks}]{{{_MOST_MARKS}}})[{marks}]+")
        self.unspaced = re.compile(f"[{_UNSPACED}]")
        self.character = re.compile(f".[{marks}]*", re.DOTALL)
        self.word = re.compile(
            rf"[{_UNSPACED}][{_UNSPACED}{marks}]*|[^\W_{_UNSPACED}]+(?:[{marks}]+[^\W_{_UNSPACED}]*)*{_SIGN}"
        )


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    return _Patterns()


def _marks() -> str:
    """Return the combining marks as ranges within a class of a regular expression."""
    marks = [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code)).startswith("M")]
    runs = (list(run) for _, run in groupby(enumerate(marks), key=lambda each: each[1] - each[0]))
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs)
