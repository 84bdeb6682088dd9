"""Asks a method every question of every benchmark, keeps each answer as it comes, and continues an interrupted evaluation.

    DIRECTORY/
      card.json                            the conditions of the answers (evaluation.card)
      rows.jsonl                           one EvaluationRow per answer; a later row of the same key replaces an earlier one
      trajectories/METHOD/BENCHMARK.jsonl  the trajectory of each answer
      searches/METHOD/seed-N/              the findings of a method that searches or learns first

An answer's trajectory is written before its row: a question with a row is never asked again, unless the infrastructure
failed.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_r1.environment import Environment
from workflow_r1.errors import BudgetExceededError
from workflow_r1.evaluation.evaluate import answer_question
from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, append_rows, iterate_rows
from workflow_r1.rewards import Score, score_trajectory
from workflow_r1.rewards.cost import num_tokens
from workflow_r1.rollout import derive_seed
from workflow_r1.rollout.outage import MIN_FAILED_IN_A_ROW, OutageWatch
from workflow_r1.rollout.places import Places
from workflow_r1.rollout.policy import Policy
from workflow_r1.rollout.rollout import first_leaf
from workflow_r1.trajectory import Question, Reward, ScoredTrajectory, StopReason, Trajectory, append_trajectories
from workflow_r1.trajectory.outcome import NO_ANSWER
from workflow_r1.trajectory.records import compares_answers
from workflow_r1.trajectory.storage import iterate_trajectories, stored_at

ROWS = "rows.jsonl"
TRAJECTORIES = "trajectories"
SEARCHES = "searches"

Key = tuple[str, str, str, int, int]
"""Method, benchmark, id of the question, seed, repeat."""


@dataclass(frozen=True, slots=True)
class EvaluationLog:
    """The directory that answers are appended to."""

    directory: Path
    """Made by the caller."""

    def done(self) -> set[Key]:
        """Return the questions with an answer; infrastructure failures have no answer.

        Raises:
            DataError: the log is damaged in more than its last line.
        """
        path = self.directory / ROWS
        latest = {key_of(row): row.status for row in iterate_rows(path)} if path.is_file() else {}
        return {key for key, status in latest.items() if status is not EvaluationStatus.FAILED}

    def keep(self, row: EvaluationRow, trajectory: Trajectory) -> None:
        """Append an answer: safe from a killed process at once, from a power failure when the system has written it.

        Raises:
            OSError: the disk is full or the file cannot be written; earlier answers stay readable.
        """
        path = self.trajectories_path(row.method, row.benchmark)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Waiting for the disk here would hold up every other answer; answers lost by a power failure are asked again.
        append_trajectories(path, [trajectory], flush=False)
        append_rows(self.directory / ROWS, [row], flush=False)

    def trajectories_path(self, method: str, benchmark: str) -> Path:
        """Return the file of a method's trajectories on a benchmark."""
        return stored_at(self.directory / TRAJECTORIES / as_file_name(method) / f"{as_file_name(benchmark)}.jsonl")

    def trajectories(self, method: str, benchmark: str) -> list[Trajectory]:
        """Return the trajectories of a method on a benchmark, the latest of each id.

        Raises:
            DataError: the file is damaged in more than its last line.
        """
        path = self.trajectories_path(method, benchmark)
        return list({each.id: each for each in iterate_trajectories(path)}.values()) if path.is_file() else []

    def search_directory(self, method: str, seed: int) -> Path:
        """Return the directory of a method's findings under a seed."""
        return self.directory / SEARCHES / as_file_name(method) / f"seed-{seed}"


def key_of(row: EvaluationRow) -> Key:
    """Return the key that tells an answer apart from all others."""
    return row.method, row.benchmark, row.question_id, row.seed, row.repeat


def draws_of(seed: int, repeat: int) -> int:
    """Return the number added to the numbers of samples under a seed and repeat: no draw then equals another one.

    Returns:
        0 for the first repeat of seed 0, so that an evaluation of the usual kind draws as any other command does.
    """
    # Servers take seeds of 32 bits.
    return derive_seed("draws", seed, repeat) % 2**30 if seed or repeat else 0


def as_file_name(name: str) -> str:
    """Return a name with nothing in it that a path could take for a separator or a hidden file."""
    return re.sub(r"[^\w+.-]|^\.", "_", name)


async def ask(
    method: str,
    benchmarks: Mapping[str, Sequence[Question]],
    *,
    policy: Policy,
    make_environments: Sequence[Callable[[Question], Environment]],
    seed: int,
    log: EvaluationLog,
    done: Iterable[Key] = (),
    concurrency: int = 32,
    num_calls_left: Callable[[], int | None] = lambda: None,
    attempts: int = 2,
    score: Score = score_trajectory,
    on_answer: Callable[[EvaluationRow, Trajectory], None] = lambda row, trajectory: None,
) -> None:
    """Let a method answer every question, once for each repeat.

    The draws depend on the seed, the question and the repeat, never on the order in which answers come.

    Args:
        method: the method's name in the rows.
        benchmarks: questions by the name of their benchmark; ids are unique within each.
        policy: the policy that acts.
        make_environments: a maker of fresh environments for each repeat.
        seed: all sampling derives from it.
        log: log of the answers.
        done: keys of the answers that are not asked again.
        concurrency: trajectories that are live at once.
        num_calls_left: calls that the budget still allows; None where it does not limit them. Near the limit fewer
            trajectories are live.
        attempts: most times that a question is asked where the infrastructure fails.
        score: scores a trajectory that the policy itself brought to its end.
        on_answer: called with every answer that was kept, and every failure.

    Raises:
        BudgetExceededError: a limit of the budget is reached. The live trajectories have ended, as far as they could
            without another call; their answers are kept.
        ServiceUnavailableError: so many trajectories failed in a row that the services must be down; their last
            attempts are not made.
        Exception: a trajectory raised an error other than a ``ServiceError``; the other trajectories are cancelled.
    """
    known = set(done)
    places = Places(concurrency, num_calls_left=num_calls_left)
    exceeded: BudgetExceededError | None = None
    watch = OutageWatch(max(MIN_FAILED_IN_A_ROW, concurrency))

    async def answer(benchmark: str, question: Question, repeat: int) -> None:
        nonlocal exceeded
        # The first repeat draws as a policy's evaluation during training does.
        name = (seed, "evaluation", question.id) if repeat == 0 else (seed, "evaluation", question.id, repeat)
        trajectory_id = f"{method}-{benchmark}-{question.id}-s{seed}-r{repeat}"
        for attempt in range(attempts):
            async with places.take():
                if exceeded is not None:
                    return
                try:
                    trajectory = await answer_question(
                        question,
                        policy=policy,
                        environment=make_environments[repeat](question),
                        trajectory_id=trajectory_id,
                        seed=derive_seed(*name),
                        score=score,
                    )
                except BudgetExceededError as error:
                    # The others continue as far as they can without another call: calls in flight are paid for.
                    exceeded = exceeded or error
                    return
                places.learn(trajectory)
                watch.observe(trajectory)
            if not trajectory.stop_reason.is_infrastructure or attempt == attempts - 1:
                row = make_row(trajectory, method=method, benchmark=benchmark, seed=seed, repeat=repeat)
                log.keep(row, trajectory)
                on_answer(row, trajectory)
                return

    try:
        async with asyncio.TaskGroup() as group:
            for repeat in range(len(make_environments)):
                for benchmark, questions in benchmarks.items():
                    for question in questions:
                        if (method, benchmark, question.id, seed, repeat) not in known:
                            group.create_task(answer(benchmark, question, repeat))
    except BaseExceptionGroup as failures:
        raise first_leaf(failures) from failures
    if exceeded is not None:
        raise exceeded


def make_row(trajectory: Trajectory, *, method: str, benchmark: str, seed: int, repeat: int) -> EvaluationRow:
    """Return a trajectory as a row of the log.

    Its tokens are those of :func:`~workflow_r1.rewards.cost.num_tokens`.

    Args:
        trajectory: one that is scored, or that the infrastructure ended.
        method: name of the method.
        benchmark: name of the benchmark.
        seed: seed of the run.
        repeat: number of the answer under the seed.
    """
    reward = trajectory.reward if isinstance(trajectory, ScoredTrajectory) else None
    usage = trajectory.usage + trajectory.policy_usage
    # Turns in this process; a server that samples by tokens counts its calls itself.
    own_calls = sum(not turn.usage.llm_calls for turn in trajectory.turns) if trajectory.prompt_token_ids else 0
    return EvaluationRow(
        method=method,
        benchmark=benchmark,
        question_id=trajectory.question.id,
        seed=seed,
        repeat=repeat,
        status=_status(trajectory),
        **_scores(reward),
        turns=len(trajectory.turns),
        llm_calls=usage.llm_calls + own_calls,
        tokens=num_tokens(trajectory),
        seconds=trajectory.seconds,
        cost=usage.cost,
    )


def _scores(reward: Reward | None) -> dict[str, float | None]:
    """Return exact match and F1 of an answer; success and reward of a task without golden answers; nothing for a failure."""
    if reward is None:
        return {"exact_match": None, "f1": None}
    if compares_answers(reward):
        return {name: reward.parts[name] for name in ("exact_match", "f1")}
    success = None if reward.success is None else float(reward.success)
    return {"exact_match": None, "f1": None, "success": success, "reward": reward.total}


def _status(trajectory: Trajectory) -> EvaluationStatus:
    if trajectory.stop_reason.is_infrastructure:
        return EvaluationStatus.FAILED
    if trajectory.stop_reason is StopReason.DONE:
        return EvaluationStatus.ANSWERED
    if trajectory.stop_reason is StopReason.CONTENT_REFUSED:
        return EvaluationStatus.NO_ANSWER
    if trajectory.stop_reason is StopReason.ANSWERED:
        return EvaluationStatus.NO_ANSWER if trajectory.answer == NO_ANSWER else EvaluationStatus.ANSWERED
    if trajectory.turns and not trajectory.turns[-1].well_formed:
        return EvaluationStatus.MALFORMED
    return EvaluationStatus.OUT_OF_BUDGET
