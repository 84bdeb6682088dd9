"""Common parts of methods that search first: the questions to search on, and a directory from which a search continues.

DIRECTORY/
search.json     the conditions of the search: another search is refused here
seconds.json    how long it has taken, over all its runs
summary.json    its finding and its cost, once it has ended
"""

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from workflow_r1.data.normalise import normalize_question
from workflow_r1.errors import ConfigError, DataError
from workflow_r1.methods.method import MethodContext
from workflow_r1.rollout import derive_seed
from workflow_r1.trajectory import Question, Usage
from workflow_r1.trajectory.storage import write_atomically

IDENTITY = "search.json"
SECONDS = "seconds.json"
SUMMARY = "summary.json"


class SearchDirectory:
    """Directory of a search's state.

    Args:
        path: made where it does not exist.
        identity: conditions of the result, as plain JSON.

    Raises:
        ConfigError: the directory holds another search.
    """

    def __init__(self, path: Path, identity: Mapping[str, object]) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        file = path / IDENTITY
        wanted = json.loads(json.dumps(identity))
        if not file.is_file():
            write_json(file, wanted)
        before = read_json(file)
        different = [key for key in wanted if before.get(key) != wanted[key]]
        if different:
            told = ", ".join(f"{key} was {before.get(key)!r} and is {wanted[key]!r}" for key in different)
            raise ConfigError(f"{path} holds another search: {told}; put that back, or choose another directory")
        kept = read_json(path / SECONDS).get("seconds") if (path / SECONDS).is_file() else None
        self._seconds = kept if isinstance(kept, float) else 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time so far, in seconds; it lacks the time of a killed run since its last write."""
        return self._seconds + time.perf_counter() - self._started

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Keep the time, however the search is left."""
        try:
            yield
        finally:
            self.keep_time()

    def keep_time(self) -> None:
        """Write the time so far."""
        write_json(self.path / SECONDS, {"seconds": round(self.seconds, 3)})

    def conclude(self, usage: Usage, **found: object) -> None:
        """Write the finding and its cost. Where nothing was done since the last summary, that one stays."""
        summary = {
            "llm_calls": usage.llm_calls,
            "tokens": usage.tokens,
            "searches": usage.searches,
            "cost": usage.cost,
            "paid": usage.paid,
            **json.loads(json.dumps(found)),
        }
        file = self.path / SUMMARY
        before = read_json(file) if file.is_file() else {}
        seconds = before.pop("seconds", None)
        if before != summary or seconds is None:
            write_json(file, {**summary, "seconds": round(self.seconds, 3)})


def require_directory(context: MethodContext, method: str) -> Path:
    """Return the directory of a search.

    Raises:
        ConfigError: no directory is given.
    """
    if context.directory is None:
        raise ConfigError(
            f"{method} searches before it answers, and keeps what it finds: run `workflow-r1 evaluate --method {method} "
            "--output DIR`"
        )
    return context.directory


def choose_questions(context: MethodContext, num: int, *, purpose: str) -> list[Question]:
    """Draw questions to search on from the training questions; none that is to be answered afterwards is among them.

    A question is known by its words: published benchmarks number their questions alike (``train_0``), so that an id says
    nothing of another file's.

    Args:
        context: the method's context.
        num: number of questions; all where there are fewer.
        purpose: their purpose; another purpose draws others.

    Raises:
        ConfigError: there are no training questions.
        DataError: no question is left, or one lacks golden answers.
    """
    known = [question for question in context.train_questions() if question.golden_answers]
    texts = {normalize_question(question.text) for question in context.questions}
    usable = [each for each in known if normalize_question(each.text) not in texts]
    if not usable:
        raise DataError(
            f"expected training questions with golden answers to search on, found {len(known)}, and all of them "
            "are also to be answered; set data.train to a file of other questions"
        )
    if len(usable) < num:
        context.notify(f"{len(usable)} training questions where {num} were asked for: all of them are used")
    left_out = len(known) - len(usable)
    if left_out:
        context.notify(f"{left_out} training questions are left out, since they are to be answered afterwards")
    rng = random.Random(derive_seed(context.seed, purpose))
    return rng.sample(usable, min(num, len(usable)))


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object that a search wrote.

    Raises:
        DataError: the file does not hold a JSON object.
    """
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path}: expected the file of a search, found {error}; restore it, or begin in a new directory"
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: expected a JSON object, found a {type(row).__name__}")
    return row


def write_json(path: Path, row: Mapping[str, object]) -> None:
    """Write a JSON object in one step."""
    write_atomically(path, json.dumps(row, indent=2, ensure_ascii=False) + "\n")
