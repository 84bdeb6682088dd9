"""A script that answers real questions by the titles of their supporting passages, for demonstrations.

The script knows those titles, where somebody marked them, and the gold answer. It uses them to decide *what to do*, never
to say what was not shown: it searches with words of the question or of a passage that it has read, says what the question
asks for, quotes the words around the answer from a supporting passage that Search returned, and answers with those words.
"""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workflow_r1.data import normalize_answer
from workflow_r1.prompts import neutralise
from workflow_r1.retrieval.tokens import STOPWORDS
from workflow_r1.trajectory import Message, Question

if TYPE_CHECKING:
    from workflow_r1.rollout import ScriptedPolicy

Script = Generator[str, str, None]
"""Yields turns, receives observations."""

QUOTED_WORDS = 4
"""Words that a quotation shows on either side of the answer."""

ASKED_WORDS = 6
"""Words that the last thought repeats of what the question asks for."""

EVIDENT_SHARE = 0.6
"""Part of the question's content words that a passage holds where nobody has marked the supporting titles."""

YES_NO = ("yes", "no")
"""Answers that never count as standing in a passage."""


_COUNTED = re.compile(
    r"\b(?:how|what|which) (?:many|much|long|old|far|tall|big|large|often|year|age|date|number)\b", re.IGNORECASE
)
_ASKING = re.compile(r"\b(?:who|whom|whose|what|which|when|where|why|how)\b", re.IGNORECASE)
_EMPTY_WORDS = STOPWORDS | {
    "who", "whom", "whose", "what", "which", "when", "where", "why", "how", "were", "been", "being", "do", "does", "did",
    "has", "have", "had", "from", "its", "he", "she", "his", "her", "would", "can", "could", "than",
}  # fmt: skip
"""Words that say nothing of what a question is about, as :func:`normalize_answer` leaves them."""


@dataclass(frozen=True, slots=True)
class Quotation:
    """Words of a passage that Search returned."""

    passage: int
    """Number of the passage in its observation, from 1."""
    text: str
    """The words with those around them."""
    words: str
    """The words alone, as the passage writes them."""


def write_turn(think: str, *, tool: str | None = None, answer: str | None = None) -> str:
    """Write one turn. Shown text is written as it was shown: neutralised, so that it can never close a tag of ours."""
    action = f"<tool>{neutralise(tool)}</tool>" if tool is not None else f"<answer>{neutralise(answer or '')}</answer>"
    return f"<think>{neutralise(think)}</think>{action}"


def without_disambiguation(title: str) -> str:
    """Return the name of a page in a text: ``Michael Jackson (writer)`` is called Michael Jackson there."""
    return re.sub(r"\s*\([^)]*\)$", "", title).strip()


def stands_in(phrase: str, text: str) -> bool:
    """Return True where the phrase stands in the text, whole words, ignoring case and punctuation."""
    wanted = normalize_answer(phrase)
    return bool(wanted) and f" {wanted} " in f" {normalize_answer(text)} "


def asked_words(text: str) -> str:
    """Return the words that say what a question asks for: those from its interrogative on, or its last ones.

    A number or a date that is asked for comes first: in "What is the name of ... who has sold how many records?" it is the
    answer's kind.
    """
    found = _COUNTED.search(text) or _ASKING.search(text)
    words = text[found.start() :].split()[:ASKED_WORDS] if found is not None else text.split()[-ASKED_WORDS:]
    return " ".join(words).strip(" ,;:!?.()[]\"'\u201c\u201d")


def is_evident(question: Question, passage: str) -> bool:
    """Return True where a passage holds most of what the question is about, so that it is likely to speak of that."""
    wanted = set(normalize_answer(question.text).split()) - _EMPTY_WORDS
    held = wanted & set(normalize_answer(passage).split())
    return bool(wanted) and len(held) >= EVIDENT_SHARE * len(wanted)


def is_yes_or_no(question: Question) -> bool:
    """Return True where every golden answer is yes or no, which no passage can show."""
    return all(normalize_answer(answer) in YES_NO for answer in question.golden_answers)


def passages_of(observation: str) -> dict[int, str]:
    """Return the passages of an observation of Search by their numbers, each with its title."""
    lines = (re.match(r"\[(\d+)\] (.*)", line) for line in observation.splitlines())
    return {int(line.group(1)): line.group(2) for line in lines if line is not None}


def quote(phrase: str, passage: str, *, beside: str = "") -> tuple[str, str] | None:
    """Find a phrase in a passage, by whole words, ignoring case, punctuation and articles.

    Args:
        phrase: the words to find.
        passage: the passage.
        beside: a text; where the phrase stands in several places, the one with most of its words around it is taken.

    Returns:
        The phrase with ``QUOTED_WORDS`` words on either side, and the phrase alone, both as the passage writes them; None
        where the passage lacks it.
    """
    words = passage.split()
    # A word of the passage may normalise to nothing (an article, a dash).
    known = [(index, normal) for index, word in enumerate(words) if (normal := normalize_answer(word))]
    wanted = normalize_answer(phrase).split()
    liked = set(normalize_answer(beside).split())
    best: tuple[int, str, str] | None = None
    for start in range(len(known) - len(wanted) + 1 if wanted else 0):
        if [normal for _, normal in known[start : start + len(wanted)]] != wanted:
            continue
        first, last = known[start][0], known[start + len(wanted) - 1][0]
        around = words[max(0, first - QUOTED_WORDS) : last + 1 + QUOTED_WORDS]
        score = len(liked & set(normalize_answer(" ".join(around)).split()))
        if best is None or score > best[0]:
            span = " ".join(words[first : last + 1])
            best = score, " ".join(around), phrase if phrase in span else span.strip(" ,;:!?.()[]\"'“”")
    return None if best is None else best[1:]


def find_answer(question: Question, observation: str, titles: Sequence[str]) -> Quotation | None:
    """Return the gold answer as it stands in a passage of one of these titles; yes and no never count.

    Without titles, it is looked for in passages that hold most of the question's words (:func:`is_evident`).
    """
    for number, passage in passages_of(observation).items():
        is_supporting = any(normalize_answer(passage).startswith(normalize_answer(title)) for title in titles)
        if is_supporting or (not titles and is_evident(question, passage)):
            for answer in question.golden_answers:
                if normalize_answer(answer) not in YES_NO:
                    found = quote(answer, passage, beside=question.text)
                    if found is not None:
                        return Quotation(number, *found)
    return None


def follow_titles(question: Question, *, name_first: bool, name_alone: bool) -> Script:
    """Search hop by hop, quote the evidence, and answer with the words that it holds.

    Args:
        question: a question; ``supporting_titles`` in its metadata are the pages that answer it.
        name_first: begin with a supporting title that the question names, in place of the question's words.
        name_alone: search a later hop by its name alone, in place of the name with the question's words.
    """
    titles = [str(title) for title in question.metadata.get("supporting_titles") or ()]
    names = {title: without_disambiguation(title) for title in titles}
    searched: set[str] = set()
    first = next((title for title in titles if stands_in(names[title], question.text)), None)
    if name_first and first is not None:
        searched.add(first)
        observation = yield write_turn(f"I look up {names[first]}.", tool=f"Search: {names[first]}")
    else:
        observation = yield write_turn("I search with the words of the question.", tool=f"Search: {question.text}")
    while True:
        found = find_answer(question, observation, titles)
        if found is not None:
            think = f'The question asks "{asked_words(question.text)}". Passage {found.passage} says: "{found.text}"'
            yield write_turn(think, answer=found.words)
            return
        hop = _next_hop(question, observation, {title: name for title, name in names.items() if title not in searched})
        if hop is None:
            return
        title, think = hop
        searched.add(title)
        query = names[title] if name_alone else f"{names[title]} {question.text}"
        observation = yield write_turn(think, tool=f"Search: {query}")


def _next_hop(question: Question, observation: str, names: dict[str, str]) -> tuple[str, str] | None:
    """Return the next title with the thought that leads there: a passage that names it, or else the question does."""
    for title, name in names.items():
        for number, passage in passages_of(observation).items():
            # The page's own passage, which has been read and lacks the answer, names it as well.
            is_own = normalize_answer(passage).startswith(normalize_answer(title))
            found = None if is_own else quote(name, passage, beside=question.text)
            if found is not None:
                return title, f'Passage {number} says: "{found[0]}" I look up {name}.'
    for title, name in names.items():
        if stands_in(name, question.text):
            return title, f"That does not settle it. I look up {name}."
    return None


def scripted_policy(script: Script) -> "ScriptedPolicy":
    """Return a policy that writes the turns of a script. After its end, empty turns use up the trajectory's budget."""
    from workflow_r1.rollout import ScriptedPolicy

    def next_turn(messages: Sequence[Message]) -> str:
        observation = messages[-1].content.replace("<info>", "").replace("</info>", "")
        try:
            return script.send(observation) if any(each.role == "assistant" for each in messages) else next(script)
        except StopIteration:
            return ""

    return ScriptedPolicy(next_turn, name="scripted demonstration")
