"""Trajectories on real questions for a warm start to imitate: a script's, by the gold titles, or a policy's own right ones.

The script knows the titles of the supporting passages, where somebody marked them, and the gold answer. It uses them to
decide *what to do*, never to say what was not shown: it searches with words of the question or of a passage that it has
read, says what the question asks for, quotes the words around the answer from a supporting passage that Search returned,
and answers with those words.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.data import normalize_answer
from workflow_r1.errors import ConfigError, UserError
from workflow_r1.prompts import neutralise
from workflow_r1.retrieval.tokens import STOPWORDS
from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.running.interrupts import Stop, run_loop
from workflow_r1.trajectory import FinishReason, Message, Question, ScoredTrajectory, Trajectory

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.environment import Environment
    from workflow_r1.operators import OperatorServices

Script = Generator[str, str, None]
"""Yields turns, receives observations."""

QUOTED_WORDS = 4
"""Words that a quotation shows on either side of the answer."""

ASKED_WORDS = 6
"""Words that the last thought repeats of what the question asks for."""

EVIDENT_SHARE = 0.6
"""Part of the question's content words that a passage holds where nobody has marked the supporting titles."""

CONCURRENCY = 8
"""Questions at once."""

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


@dataclass(slots=True)
class Demonstrations:
    """Trajectories worth imitating, with the count of the others."""

    kept: list[Trajectory] = field(default_factory=list)
    """Scored trajectories: right, and well formed to the end."""
    num_questions: int = 0
    """Questions that were asked."""
    num_trajectories: int = 0
    """Trajectories that were looked at."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Questions and trajectories that were left out, by the reason."""

    @property
    def searches(self) -> Counter[int]:
        """Kept trajectories by their number of operator calls."""
        return Counter(sum(len(turn.calls) for turn in trajectory.turns) for trajectory in self.kept)


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


class ScriptedPolicy:
    """A script as a policy, for one question.

    Args:
        start: makes the script from the trajectory's own source of random numbers.
    """

    name = "scripted demonstration"

    def __init__(self, start: Callable[[random.Random], Script]) -> None:
        self._start = start

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["ScriptedSession"]:
        """Open a session."""
        yield ScriptedSession(self._start(random.Random(seed)))


class ScriptedSession:
    """One script at work."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._observation: str | None = None
        self._started = False

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Take the prompt, then observations."""
        self._observation = messages[-1].content.replace("<info>", "").replace("</info>", "")
        return ()

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Return the script's next turn."""
        try:
            text = self._script.send(self._observation or "") if self._started else next(self._script)
        except StopIteration:
            text = ""  # It does not know further: empty turns use up the budget, and the trajectory is dropped.
        self._started = True
        return SampledTurn(text=text, token_ids=(), logprobs=(), finish_reason=FinishReason.STOP)


class Selection:
    """Chooses the trajectories that are worth imitating, and counts the others by the reason.

    Args:
        per_question: most trajectories of one question.
        max_turn_tokens: longest turn that the policy may write, its end included.
        count_tokens: tokens of a turn's text, for trajectories without token ids; None leaves their length alone.
    """

    def __init__(
        self,
        *,
        per_question: int = 1,
        max_turn_tokens: int | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        self._per_question = per_question
        self._max_turn_tokens = max_turn_tokens
        self._count_tokens = count_tokens
        self._num_kept: Counter[str] = Counter()
        self._seen: set[tuple[str, tuple[str, ...]]] = set()

    def is_full(self, question: Question) -> bool:
        """Return True where the question has as many trajectories as it may."""
        return self._num_kept[question.id] >= self._per_question

    def take(self, trajectory: Trajectory) -> ScoredTrajectory | str:
        """Return the scored trajectory, or the reason why nobody should imitate it."""
        from workflow_r1.rewards import format_score, score_trajectory

        if trajectory.stop_reason.is_infrastructure:
            return "a service failed"
        if not trajectory.question.golden_answers:
            return "no golden answer"
        # By the answer alone, whatever reward a run had configured.
        scored = score_trajectory(trajectory)
        if trajectory.answer is None:
            return "no answer"
        if not scored.reward.success:
            return "wrong answer"
        if format_score(trajectory) or not all(call.valid for turn in trajectory.turns for call in turn.calls):
            return "not well formed"
        if self._is_too_long(trajectory):
            return "a turn is too long"
        texts = trajectory.question.id, tuple(turn.text for turn in trajectory.turns)
        if texts in self._seen:
            return "repeated"
        if self.is_full(trajectory.question):
            return "enough of its question"
        self._seen.add(texts)
        self._num_kept[trajectory.question.id] += 1
        return scored

    def _is_too_long(self, trajectory: Trajectory) -> bool:
        if self._max_turn_tokens is None:
            return False
        for turn in trajectory.turns:
            length = len(turn.token_ids)
            if not length and self._count_tokens is not None:
                length = self._count_tokens(turn.text) + 1
            if length > self._max_turn_tokens:
                return True
        return False


async def demonstrate_by_titles(
    questions: Sequence[Question],
    *,
    make_environment: "Callable[[Question], Environment]",
    selection: Selection,
    num: int | None = None,
    seed: int = 0,
    untitled: bool = False,
    on_progress: Callable[[Demonstrations], None] = lambda done: None,
) -> Demonstrations:
    """Let the script act on questions in their order until ``num`` trajectories are kept.

    Each question is tried in up to four ways, in an order of its own: it begins with a name or with the question's
    words, and searches a later hop by its name or with the question's words beside it. Without titles there is one way:
    the question's words.

    Args:
        questions: questions, with ``supporting_titles`` in their metadata.
        make_environment: makes the real environment.
        selection: chooses what is kept.
        num: number of trajectories to keep; None takes all questions.
        seed: seed of the order of the ways.
        untitled: demonstrate questions without ``supporting_titles`` as well; otherwise they are left out.
        on_progress: called after each few questions.
    """
    done = Demonstrations()
    for start in range(0, len(questions), CONCURRENCY):
        batch = questions[start : start + CONCURRENCY]
        done.num_questions += len(batch)
        for made in await asyncio.gather(*(_try_ways(each, make_environment, seed, untitled) for each in batch)):
            if isinstance(made, str):
                done.dropped[made] += 1
                continue
            done.num_trajectories += len(made)
            _keep(made, selection, done, num)
        on_progress(done)
        if num is not None and len(done.kept) >= num:
            break
    return done


async def _try_ways(
    question: Question, make_environment: "Callable[[Question], Environment]", seed: int, untitled: bool
) -> list[Trajectory] | str:
    """Act in each way, or return the reason why the question cannot be demonstrated."""
    from workflow_r1.rollout import derive_seed, rollout

    titled = bool(question.metadata.get("supporting_titles"))
    if not (titled or untitled):
        return "no supporting titles"
    if is_yes_or_no(question):
        return "yes or no"
    if any(stands_in(answer, question.text) for answer in question.golden_answers):
        return "the question names the answer"
    ways = (
        [(name_first, name_alone) for name_first in (True, False) for name_alone in (True, False)]
        if titled
        else [(False, False)]
    )
    random.Random(derive_seed(seed, "ways", question.id)).shuffle(ways)
    made = []
    for number, (name_first, name_alone) in enumerate(ways):

        def start(rng: random.Random, name_first: bool = name_first, name_alone: bool = name_alone) -> Script:
            return follow_titles(question, name_first=name_first, name_alone=name_alone)

        trajectory = await rollout(
            question,
            policy=ScriptedPolicy(start),
            environment=make_environment(question),
            trajectory_id=f"demonstration-{question.id}-{number}",
            group_id=f"demonstration-{question.id}",
            seed=derive_seed(seed, "demonstration", question.id, number),
        )
        made.append(trajectory)
        if trajectory.error is not None:
            break
    return made


def choose_right(trajectories: Iterable[Trajectory], *, selection: Selection, num: int | None = None) -> Demonstrations:
    """Choose among a policy's own trajectories (rejection sampling), in their order."""
    done = Demonstrations()
    asked = set()
    for trajectory in trajectories:
        asked.add(trajectory.question.id)
        done.num_trajectories += 1
        _keep([trajectory], selection, done, num)
    done.num_questions = len(asked)
    return done


def _keep(made: Sequence[Trajectory], selection: Selection, done: Demonstrations, num: int | None) -> None:
    for trajectory in made:
        if num is not None and len(done.kept) >= num:
            done.dropped["enough altogether"] += 1
            continue
        taken = selection.take(trajectory)
        if isinstance(taken, str):
            done.dropped[taken] += 1
        else:
            done.kept.append(taken)


def demonstrate(
    config: "RunConfig",
    *,
    output: Path,
    sources: Sequence[Path] = (),
    questions: Path | None = None,
    num: int | None = None,
    per_question: int = 1,
    seed: int | None = None,
    untitled: bool = False,
    on_progress: Callable[[Demonstrations], None] = lambda done: None,
    stop: Stop | None = None,
) -> Demonstrations:
    """Write the demonstrations of a warm start.

    Args:
        config: configuration of the policy that is to imitate them: its pool, limits, services and tokenizer.
        output: JSONL of trajectories; must not exist yet. Nothing is left there unless all are.
        sources: files of trajectories of a policy, of which the right ones are kept; none lets the script act.
        questions: questions of the script in place of the configuration's training questions.
        num: most trajectories to keep.
        per_question: most trajectories of one question.
        seed: seed of the script; None takes the configuration's.
        untitled: let the script demonstrate questions without supporting titles too, by passages that hold most of the
            question's words.
        on_progress: called now and then with what is done.
        stop: lets another thread end it.

    Raises:
        UserError: a part of the configuration cannot be used, the file exists, or nothing was kept.
        DataError: a file of trajectories or questions is missing or malformed.
    """
    from itertools import chain

    from workflow_r1.data import load_questions
    from workflow_r1.running.configuration import check_at_least
    from workflow_r1.running.parts import train_questions
    from workflow_r1.running.saving import check_can_append
    from workflow_r1.trajectory.storage import append_trajectories, iterate_trajectories, stored_at

    check_at_least(1, num=num, per_question=per_question)
    if sources and (questions is not None or untitled):
        raise ConfigError(
            "expected --questions and --untitled without --from: the script asks them, a file of trajectories holds its own"
        )
    if stored_at(output).exists():
        raise UserError(f"expected a new file, but {output} exists; choose another")
    check_can_append(output, option="--output")
    selection = Selection(
        per_question=per_question,
        max_turn_tokens=config.sampling.max_turn_tokens,
        count_tokens=_token_counter(config),
    )
    if sources:
        rows = chain.from_iterable(iterate_trajectories(source) for source in sources)
        done = choose_right(rows, selection=selection, num=num)
    else:
        asked = train_questions(config) if questions is None else load_questions(questions)
        chosen_seed = config.seed if seed is None else seed

        async def act() -> Demonstrations:
            async with opened_environments(config) as opened:
                return await demonstrate_by_titles(
                    asked,
                    make_environment=opened.make_environment,
                    selection=selection,
                    num=num,
                    seed=chosen_seed,
                    untitled=untitled,
                    on_progress=on_progress,
                )

        done = run_loop(act, stop)
    if not done.kept:
        raise UserError(f"expected at least one trajectory worth imitating, kept none: {describe_dropped(done)}")
    output.parent.mkdir(parents=True, exist_ok=True)
    append_trajectories(output, done.kept)
    return done


@dataclass(frozen=True, slots=True)
class OpenedEnvironments:
    """The policy's own environment without the policy."""

    make_environment: "Callable[[Question], Environment]"
    """Makes a fresh environment for each trajectory."""
    services: "OperatorServices"
    """Services of its operators."""


@asynccontextmanager
async def opened_environments(config: "RunConfig") -> "AsyncIterator[OpenedEnvironments]":
    """Open the services of the policy's own environment, and close them on every way out.

    Raises:
        ConfigError: an operator needs a service that is not configured.
        DataError: the corpus or index is missing or malformed.
    """
    from workflow_r1.assembly.environments import build_environment_factory
    from workflow_r1.assembly.operators import build_operators
    from workflow_r1.assembly.services import build_services, open_accounts

    operators = build_operators(config.pool)
    accounts = open_accounts(config.prices, config.budget, timed=True)
    services = build_services(config.services, config.pool, operators=operators, accounts=accounts)
    try:
        make = build_environment_factory(config.environment, operators=operators, services=services)
        yield OpenedEnvironments(make, services)
    finally:
        await services.aclose()


def _token_counter(config: "RunConfig") -> Callable[[str], int] | None:
    """Return what counts the tokens of a text, where the policy's tokenizer is a model's on this machine."""
    source = config.policy.tokenizer or config.policy.model
    if not Path(source).is_dir():
        return None
    from workflow_r1.running.policies import require_engine

    require_engine("the length of a turn")
    from workflow_r1.policy.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(source)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def describe_dropped(done: Demonstrations) -> str:
    """Write the reasons with their counts, the most frequent first."""
    return ", ".join(f"{reason} {count:,}" for reason, count in done.dropped.most_common()) or "nothing"
