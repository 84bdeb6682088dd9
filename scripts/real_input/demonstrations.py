"""Demonstrations of the action grammar on real questions: a script acts, everything else is real.

SmolLM2 follows no format, so it must see the grammar before reinforcement learning can reward anything. The script
knows the titles of the supporting passages and the gold answer, and may use them to decide *what to do*, never to say
something that was not shown: it searches only for a title that stands in the question or in a passage it has read, and
writes the gold answer only where it stands in one. Otherwise it asks the LLM behind ``AnswerGenerate`` and repeats its
answer.
"""

import asyncio
import random
import re
from collections.abc import Callable, Sequence

from workflow_r1.environment import Environment
from workflow_r1.operators.results import read_answer
from workflow_r1.rewards import normalize_answer
from workflow_r1.rollout import derive_seed, rollout
from workflow_r1.running.title_script import (
    Script,
    scripted_policy,
    stands_in,
    without_disambiguation,
    write_turn,
)
from workflow_r1.trajectory import Question, StopReason, Trajectory

MAX_ANSWER_WORDS = 8
"""A longer answer of the operator is no answer in a few words: such a trajectory is not demonstrated."""

ASK_FIRST = 0.2
"""Share of questions on which the script asks the operator before it searches: the policy sees more than one way to begin."""

CONCURRENCY = 8
"""Trajectories at once."""


class DemonstrationError(RuntimeError):
    """A demonstration cannot continue, because a service failed."""


def demonstrate(question: Question, rng: random.Random) -> Script:
    """Look up the names in the question, then those in the passages, then ask; answer with text that was shown."""
    titles = [without_disambiguation(title) for title in question.metadata.get("supporting_titles", ())]
    passages = ""
    if rng.random() < ASK_FIRST:
        yield write_turn("I ask for an answer first, then I check it.", tool=f"AnswerGenerate: {question.text}")
    named = next((title for title in titles if stands_in(title, question.text)), None)
    if named is None:
        observation = yield write_turn("I search with the words of the question.", tool=f"Search: {question.text}")
    else:
        observation = yield write_turn(f"The question is about {named}. I look it up.", tool=f"Search: {named}")
    passages += observation
    place = find_answer(question, observation)
    if place is None:
        other = next((t for t in titles if t != named and stands_in(t, question.text + passages)), None)
        if other is not None:
            observation = yield write_turn(f"That does not settle it. {other} is named too.", tool=f"Search: {other}")
            place = find_answer(question, observation)
    if place is None:
        observation = yield write_turn(
            "The passages do not say it. I ask for an answer.", tool=f"AnswerGenerate: {question.text}"
        )
        said = read_answer(observation)
        # Where the operator said nothing there is nothing to repeat: an empty answer is malformed.
        yield write_turn("This is the answer I was given.", answer=" ".join(said.split()).strip(" ."))
    else:
        answer, number = place
        yield write_turn(f"Passage {number} says it.", answer=answer)


def find_answer(question: Question, observation: str) -> tuple[str, int] | None:
    """The gold answer that stands in a passage, and the passage's number; yes and no never count as standing there."""
    for line in observation.splitlines():
        number = re.match(r"\[(\d+)\]", line)
        for answer in question.golden_answers if number else ():
            if normalize_answer(answer) not in ("yes", "no") and stands_in(answer, line):
                return answer, int(number.group(1))  # type: ignore[union-attr]
    return None


async def make_demonstrations(
    questions: Sequence[Question],
    *,
    make_environment: Callable[[Question], Environment],
    num: int,
    seed: int,
    on_progress: Callable[[int, int], None],
) -> list[Trajectory]:
    """Act on questions in their order until ``num`` trajectories are worth showing.

    Args:
        questions: questions with ``supporting_titles`` in their metadata.
        make_environment: makes the real environment.
        num: number of trajectories to keep.
        seed: seed of the script's choices.
        on_progress: called with the numbers of kept trajectories and of questions.

    Returns:
        At most ``num``: every turn well formed, every call valid, ended by a short answer.

    Raises:
        DemonstrationError: an operator's service failed.
    """
    kept: list[Trajectory] = []
    for start in range(0, len(questions), CONCURRENCY):
        batch = questions[start : start + CONCURRENCY]
        made = await asyncio.gather(
            *(
                rollout(
                    question,
                    policy=scripted_policy(demonstrate(question, random.Random(own_seed))),
                    environment=make_environment(question),
                    trajectory_id=f"demonstration-{question.id}",
                    group_id=f"demonstration-{question.id}",
                    seed=own_seed,
                )
                for question in batch
                for own_seed in (derive_seed(seed, "demonstration", question.id),)
            )
        )
        for trajectory in made:
            if trajectory.error is not None:
                raise DemonstrationError(
                    f"the demonstration of question {trajectory.question.id} failed: {trajectory.error}"
                )
        kept.extend(trajectory for trajectory in made if is_worth_showing(trajectory))
        on_progress(min(len(kept), num), start + len(batch))
        if len(kept) >= num:
            break
    return kept[:num]


def is_worth_showing(trajectory: Trajectory) -> bool:
    """Return True where a policy should imitate it: it keeps to the grammar to the end."""
    return (
        trajectory.stop_reason is StopReason.ANSWERED
        and 0 < len((trajectory.answer or "").split()) <= MAX_ANSWER_WORDS
        and all(turn.well_formed and all(call.valid for call in turn.calls) for turn in trajectory.turns)
    )
