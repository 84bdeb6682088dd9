"""Questions that a configured search can show the answer of: an audit of corpus and search, by benchmark and split."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_r1.data import normalize_answer
from workflow_r1.errors import ConfigError
from workflow_r1.running.demonstrations import opened_environments
from workflow_r1.running.interrupts import Stop, run_loop
from workflow_r1.running.title_script import YES_NO, is_yes_or_no, stands_in, write_turn
from workflow_r1.trajectory import Question

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.environment import Environment
    from workflow_r1.retrieval import Passage, SearchBackend

RANKS = (1, 3, 5)
"""Numbers of passages that the figures are about."""

CONCURRENCY = 8
"""Questions at once."""

SAMPLE = 50
"""Questions of a set that a sample looks at: seconds, also where a search takes a tenth of one."""


@dataclass(slots=True)
class AuditRow:
    """Counts of the questions of one benchmark and split; all but the first two leave yes/no questions out."""

    dataset: str
    """Benchmark, or the file's name for it."""
    split: str
    """Split."""
    questions: int = 0
    """Questions, yes/no questions among them."""
    yes_or_no: int = 0
    """Questions whose answer is yes or no, which no passage can show."""
    answer_in_corpus: int | None = None
    """Questions whose gold answer stands in some passage of the corpus; None where no corpus is configured."""
    answer_in_top: dict[int, int] = field(default_factory=lambda: dict.fromkeys(RANKS, 0))
    """Number of passages -> questions whose gold answer stands in so many of the best for the question's own words."""
    answer_shown: int = 0
    """Questions whose gold answer stands in what Search shows the policy: ``search.k`` passages, cut as configured."""
    with_titles: int = 0
    """Questions with gold titles."""
    titles_in_top: dict[int, int] = field(default_factory=lambda: dict.fromkeys(RANKS, 0))
    """Number of passages -> questions all of whose gold titles are among the titles of so many of the best."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Finding on some questions of a set; yes/no questions, which no passage can answer, are left out."""

    questions: int
    """Questions that were looked at."""
    shown: int
    """Questions whose gold answer Search shows the policy for the question's own words."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Result of an audit."""

    rows: tuple[AuditRow, ...]
    """One row for each benchmark and split, in the order of the questions."""
    shown: tuple[Question, ...]
    """Questions whose gold answer Search shows the policy for the question's own words."""
    k: int
    """Passages of a search, as the policy sees them."""
    passage_chars: int | None
    """Longest text of a passage, as the policy sees it."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        return {"k": self.k, "passage_chars": self.passage_chars, "rows": [asdict(row) for row in self.rows]}


def audit(
    config: "RunConfig",
    questions: Sequence[Question],
    *,
    on_progress: Callable[[int], None] = lambda done: None,
    stop: Stop | None = None,
) -> Audit:
    """Search for each question with its own words, and look for its gold answer and titles in what comes back.

    Args:
        config: configuration with a search; where ``search.corpus`` is there, it is read once from end to end.
        questions: the questions.
        on_progress: called with the number of questions that are done.
        stop: lets another thread end it.

    Raises:
        ConfigError: the pool has no Search, or no search is configured.
        DataError: the corpus or index is missing or malformed.
        ServiceError: the search failed.
    """
    if "Search" not in config.environment.operators:
        raise ConfigError(
            'environment.operators: expected Search among them, since the audit asks what Search shows; add "Search"'
        )
    held = _answers_in_corpus(config.search.corpus, questions)
    looked = run_loop(lambda: _search_all(config, questions, on_progress), stop)
    rows: dict[tuple[str, str], AuditRow] = {}
    shown = []
    for question, (passages, observation) in zip(questions, looked, strict=True):
        key = question.dataset, question.split
        row = rows.setdefault(key, AuditRow(*key, answer_in_corpus=None if held is None else 0))
        row.questions += 1
        if is_yes_or_no(question):
            row.yes_or_no += 1
            continue
        if held is not None and row.answer_in_corpus is not None:
            row.answer_in_corpus += any(normalize_answer(answer) in held for answer in answers_to_find(question))
        titles = {normalize_answer(str(title)) for title in question.metadata.get("supporting_titles") or ()}
        row.with_titles += bool(titles)
        for rank in RANKS:
            best = passages[:rank]
            row.answer_in_top[rank] += holds_answer(question, (f"{each.title}\n{each.text}" for each in best))
            row.titles_in_top[rank] += bool(titles) and titles <= {normalize_answer(each.title) for each in best}
        if holds_answer(question, observation.splitlines()):
            row.answer_shown += 1
            shown.append(question)
    return Audit(tuple(rows.values()), tuple(shown), config.search.k, config.search.passage_chars)


def sample_shown(
    config: "RunConfig", sets: Mapping[str, Sequence[Question]], *, num: int = SAMPLE, stop: Stop | None = None
) -> dict[str, Sample]:
    """Look at some questions of each set: does Search show the policy their gold answer?

    Args:
        config: configuration of the environment and the search.
        sets: questions by the name of their set.
        num: most questions of a set, drawn at random and always the same ones.
        stop: lets another thread end it.

    Returns:
        The finding on each set that has such questions; nothing where Search is not in the pool, or its search is not an
        index of this machine: any other may cost money.

    Raises:
        DataError: the index is malformed.
    """
    index = config.search.index
    if (
        "Search" not in config.environment.operators
        or config.search.kind != "bm25"
        or index is None
        or not index.exists()
    ):
        return {}
    chosen = {}
    for name, questions in sets.items():
        answerable = [each for each in questions if each.golden_answers and not is_yes_or_no(each)]
        if answerable:
            chosen[name] = random.Random(0).sample(answerable, min(num, len(answerable)))
    if not chosen:
        return {}

    async def look() -> dict[str, Sample]:
        async with opened_environments(config) as opened:
            counts = {}
            for name, questions in chosen.items():
                texts = [await _observe(each, opened.make_environment(each)) for each in questions]
                shown = sum(holds_answer(*each) for each in zip(questions, map(str.splitlines, texts), strict=True))
                counts[name] = Sample(len(questions), shown)
            return counts

    return run_loop(look, stop)


def holds_answer(question: Question, texts: Iterable[str]) -> bool:
    """Return True where a gold answer other than yes and no stands in one of the texts."""
    answers = answers_to_find(question)
    return any(stands_in(answer, text) for text in texts for answer in answers)


def answers_to_find(question: Question) -> list[str]:
    """Return the gold answers that a passage can show: all but yes and no, which stand in many and answer nothing there."""
    return [answer for answer in question.golden_answers if normalize_answer(answer) not in YES_NO]


async def _search_all(
    config: "RunConfig", questions: Sequence[Question], on_progress: Callable[[int], None]
) -> "list[tuple[list[Passage], str]]":
    async with opened_environments(config) as opened:
        search = opened.services.require_search()
        looked = []
        for start in range(0, len(questions), CONCURRENCY):
            batch = questions[start : start + CONCURRENCY]
            looked += await asyncio.gather(*(_search(each, search, opened.make_environment(each)) for each in batch))
            on_progress(len(looked))
        return looked


async def _search(
    question: Question, search: "SearchBackend", environment: "Environment"
) -> "tuple[list[Passage], str]":
    """Return the best passages, and the observation that the policy would get."""
    return await search(question.text, k=max(RANKS)), await _observe(question, environment)


async def _observe(question: Question, environment: "Environment") -> str:
    """Return what the policy would see if it searched with the question's own words; nothing where no turn may follow."""
    step = await environment.step(write_turn("I search.", tool=f"Search: {question.text}"))
    return step.calls[0].observation if step.calls else ""


def _answers_in_corpus(corpus: Path | None, questions: Sequence[Question]) -> set[str] | None:
    """Return the gold answers, normalised, that stand in a passage of the corpus; None where there is no corpus."""
    from workflow_r1.retrieval.corpus import iterate_corpus

    if corpus is None or not corpus.exists():
        return None
    by_first_word: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for question in questions:
        for answer in answers_to_find(question):
            words = tuple(normalize_answer(answer).split())
            if words:
                by_first_word[words[0]].add(words)
    held: set[str] = set()
    for passage in iterate_corpus(corpus):
        text = normalize_answer(f"{passage.title}\n{passage.text}").split()
        for place, word in enumerate(text):
            wanted = by_first_word.get(word)
            if wanted:
                found = [words for words in wanted if tuple(text[place : place + len(words)]) == words]
                wanted.difference_update(found)
                held.update(" ".join(words) for words in found)
    return held
