"""Trajectories on real questions for a warm start to imitate: those of a script, or a policy's own right ones.

The script is in :mod:`workflow_r1.running.title_script`.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.errors import ConfigError, UserError
from workflow_r1.running.interrupts import Stop, run_loop
from workflow_r1.running.title_script import follow_titles, is_yes_or_no, scripted_policy, stands_in
from workflow_r1.trajectory import Question, ScoredTrajectory, Trajectory

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.environment import Environment
    from workflow_r1.operators import OperatorServices

CONCURRENCY = 8
"""Questions at once."""


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
        self._num_kept: Counter[tuple[str, str]] = Counter()
        self._seen: set[tuple[tuple[str, str], tuple[str, ...]]] = set()

    def is_full(self, question: Question) -> bool:
        """Return True where the question has as many trajectories as it may."""
        return self._num_kept[_asked(question)] >= self._per_question

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
        texts = _asked(trajectory.question), tuple(turn.text for turn in trajectory.turns)
        if texts in self._seen:
            return "repeated"
        if self.is_full(trajectory.question):
            return "enough of its question"
        self._seen.add(texts)
        self._num_kept[_asked(trajectory.question)] += 1
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


def _asked(question: Question) -> tuple[str, str]:
    """Return what two trajectories of one question share: two benchmarks may give one id to two questions."""
    return question.id, question.text


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
        trajectory = await rollout(
            question,
            policy=scripted_policy(follow_titles(question, name_first=name_first, name_alone=name_alone)),
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
        asked.add(_asked(trajectory.question))
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
