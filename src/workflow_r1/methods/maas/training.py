"""Training of the controller by REINFORCE (Williams 1992): a plan that earned more than usual becomes more probable.

    DIRECTORY/
      answers.jsonl     one row per answered question: its draws, its reward and its cost
      vectors.jsonl     the vectors of questions and moves, and their tokens, where an endpoint makes them
      state.npz         parameters, optimiser and baseline after some whole batch
      search.json, seconds.json, summary.json     see ``methods.searching``

An answer is written as it comes, the state now and then. A later run continues from the state, draws the same plans
again, takes the answers that are there, and asks for the others.
"""

import asyncio
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
from pydantic import ValidationError

from workflow_r1.config.workflow_search import MaASConfig
from workflow_r1.environment import QuestionEnvironment
from workflow_r1.errors import DataError
from workflow_r1.evaluation.evaluate import evaluate
from workflow_r1.methods.maas.controller import Adam, Array, Controller, pack, unpack
from workflow_r1.methods.maas.embedding import RememberedEmbeddings
from workflow_r1.methods.maas.moves import Move, Plan, carry_out_plan, draw_plan
from workflow_r1.methods.searching import SearchDirectory
from workflow_r1.methods.workflow import FixedWorkflow
from workflow_r1.retrieval import EmbeddingModel
from workflow_r1.rollout import derive_seed
from workflow_r1.rollout.outage import MIN_FAILED_IN_A_ROW, OutageWatch
from workflow_r1.rollout.rollout import first_leaf
from workflow_r1.trajectory import Question, ScoredTrajectory, Usage
from workflow_r1.trajectory.records import Record
from workflow_r1.trajectory.storage import append_lines, iterate_lines, write_atomically

ANSWERS = "answers.jsonl"
VECTORS = "vectors.jsonl"
STATE = "state.npz"

NUM_TOLD = 3
"""Lines of progress per pass."""


PlanNames = tuple[tuple[str, ...], ...]
"""Names of the moves of a plan, by layer."""


class Answered(Record):
    """One answer of the training: the log of its draws."""

    batch: int
    """1, 2, ... over all passes."""
    question_id: str
    """Id of the question."""
    plan: PlanNames
    """Names of the moves that were carried out, by layer."""
    log_probability: float
    """Log-probability of the draws, when they were drawn."""
    score: float | None = None
    """Score of the answer, 0 to 1; None where the infrastructure failed, which earns nothing and teaches nothing."""
    reward: float | None = None
    """``score`` less the price of the answer, by the settings; None where there is no score."""
    usage: Usage = Usage()
    """Usage of this question alone."""
    error: str | None = None
    """The infrastructure's failure."""


class ControllerTraining:
    """One training. Equal arguments make equal controllers, however often it was interrupted.

    Args:
        directory: directory of its state.
        questions: questions to train on, with golden answers.
        moves: moves to choose from.
        embed: makes vectors of questions and moves.
        embeddings: name of their maker.
        make_environment: makes a fresh environment for each answer.
        settings: settings of the method.
        seed: all draws derive from it.
        notify: called with each line of progress.
    """

    def __init__(
        self,
        directory: SearchDirectory,
        *,
        questions: Sequence[Question],
        moves: Sequence[Move],
        embed: RememberedEmbeddings,
        embeddings: str,
        make_environment: Callable[[Question], QuestionEnvironment],
        settings: MaASConfig,
        seed: int = 0,
        notify: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._directory = directory
        self._questions = questions
        self._moves = moves
        self._embed = embed
        self._embeddings = embeddings
        self._make_environment = make_environment
        self._settings = settings
        self._seed = seed
        self._notify = notify
        self._log = directory.path / ANSWERS
        self._watch = OutageWatch(max(MIN_FAILED_IN_A_ROW, settings.batch))
        self._reward_sum = 0.0
        self._num_rewards = 0

    async def run(self) -> Controller:
        """Train, and return the controller.

        Raises:
            ServiceError: a service is down; all results so far are kept.
            BudgetExceededError: the budget is used up; all results so far are kept.
        """
        with self._directory.timed():
            controller = await make_controller(self._moves, self._embed, self._settings, seed=self._seed)
            optimiser = Adam(controller.parameters, learning_rate=self._settings.learning_rate)
            state = read_state(self._directory.path)
            if state is not None:
                unpack(state, controller, optimiser)
                self._reward_sum, self._num_rewards = float(state["reward_sum"]), int(state["num_rewards"])
            batches = self._make_batches()
            rows = read_answers_log(self._log)
            self._announce(len(batches))
            tell_every = max(1, len(batches) // (NUM_TOLD * self._settings.passes))
            for number, batch in enumerate(batches, start=1):
                if number <= optimiser.num_steps:
                    continue
                done = {(row.question_id, row.plan): row for row in rows if row.batch == number}
                await self._train_on(controller, optimiser, number, batch, done)
                if number % tell_every == 0 or number == len(batches):
                    numbers = {"reward_sum": self._reward_sum, "num_rewards": self._num_rewards}
                    write_state(self._directory.path, pack(controller, optimiser, **numbers))
                    self._directory.keep_time()
                    self._tell(number, len(batches), tell_every)
            self._conclude(batches, controller)
        return controller

    async def _train_on(
        self,
        controller: Controller,
        optimiser: Adam,
        number: int,
        batch: Sequence[Question],
        done: Mapping[tuple[str, PlanNames], Answered],
    ) -> None:
        """Answer a batch of questions, and go one step."""
        queries, _ = await self._embed([question.text for question in batch])
        plans = [
            draw_plan(
                controller,
                self._moves,
                query,
                threshold=self._settings.threshold,
                rng=Random(derive_seed(self._seed, "maas plan", number, question.id)),
            )
            for question, query in zip(batch, queries, strict=True)
        ]
        graded = [controller.gradient(query, plan.draws) for query, plan in zip(queries, plans, strict=True)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._answer(number, question, plan, log_probability, done))
                    for question, plan, (log_probability, _) in zip(batch, plans, graded, strict=True)
                ]
        except BaseExceptionGroup as failures:
            raise first_leaf(failures) from failures
        rewards = [task.result().reward for task in tasks]
        known = [reward for reward in rewards if reward is not None]
        baseline = self._reward_sum / self._num_rewards if self._settings.baseline and self._num_rewards else 0.0
        total = {name: np.zeros_like(value) for name, value in controller.parameters.items()}
        for reward, (_, gradient) in zip(rewards, graded, strict=True):
            if reward is not None:
                for name, of_name in gradient.items():
                    total[name] += (reward - baseline) / len(known) * of_name
        # A batch that failed as a whole is a step of gradient 0, so that steps and batches keep in step.
        optimiser.ascend(total)
        self._reward_sum += sum(known)
        self._num_rewards += len(known)

    async def _answer(
        self,
        number: int,
        question: Question,
        plan: Plan,
        log_probability: float,
        done: Mapping[tuple[str, PlanNames], Answered],
    ) -> Answered:
        """Carry out a plan, unless that was done. An answer of another plan earned nothing for this one: it is left from a
        run in which an earlier answer had failed, so that the controller had learned otherwise.
        """
        names = tuple(tuple(self._moves[move].name for move in layer) for layer in plan.layers)
        before = done.get((question.id, names))
        if before is not None and before.score is not None:
            return before
        policy = FixedWorkflow("maas", lambda text, rng: carry_out_plan(plan, self._moves, text))
        seed = derive_seed(self._seed, "maas answer", number)
        result = await evaluate([question], policy=policy, make_environment=self._make_environment, seed=seed)
        (trajectory,) = result.trajectories
        score = None
        if isinstance(trajectory, ScoredTrajectory):
            score = trajectory.reward.parts[self._settings.score]
        row = Answered(
            batch=number,
            question_id=question.id,
            plan=names,
            log_probability=log_probability,
            score=score,
            reward=None if score is None else score - price_of(trajectory.usage, self._settings),
            usage=trajectory.usage,
            error=trajectory.error,
        )
        append_lines(self._log, [row.model_dump_json() + "\n"], flush=False)
        self._watch.observe(trajectory)
        return row

    def _make_batches(self) -> list[list[Question]]:
        """The questions of all passes, each in an order of its own."""
        size = self._settings.batch
        batches = []
        for number in range(1, self._settings.passes + 1):
            order = list(self._questions)
            Random(derive_seed(self._seed, "maas pass", number)).shuffle(order)
            batches += [order[first : first + size] for first in range(0, len(order), size)]
        return batches

    def _announce(self, num_batches: int) -> None:
        num = self._settings.passes * len(self._questions)
        self._notify(
            f"MaAS, embeddings: {self._embeddings}: {num:,} answers to training questions in {num_batches:,} "
            f"batches. An untrained controller over the moves of the default pool makes about 6 LLM calls an answer: some "
            f"{6 * num:,} calls in all"
        )

    def _tell(self, number: int, num_batches: int, num_recent: int) -> None:
        rows = [row for row in read_answers_log(self._log) if row.score is not None]
        recent = [row for row in rows if number - num_recent < row.batch <= number]
        if not recent:
            return
        calls = sum(row.usage.llm_calls for row in rows) / len(rows)
        left = (num_batches - number) * self._settings.batch
        figures = summarise(recent)
        self._notify(
            f"batch {number}/{num_batches}: score {figures['score']:.3f}, {figures['calls_per_question']:.1f} calls a "
            f"question, reward {figures['reward']:.3f}; about {calls * left:,.0f} calls to go"
        )

    def _conclude(self, batches: Sequence[Sequence[Question]], controller: Controller) -> None:
        rows = read_answers_log(self._log)
        latest = {(row.batch, row.question_id): row for row in rows}
        scored = [row for row in latest.values() if row.score is not None]
        per_pass = len(batches) // self._settings.passes
        passes = [
            summarise([row for row in scored if first < row.batch <= first + per_pass])
            for first in range(0, len(batches), per_pass)
        ]
        self._directory.conclude(
            sum((row.usage for row in rows), start=Usage()),
            found={
                "passes": passes,
                "score": passes[-1].get("score"),
                "calls_per_question": passes[-1].get("calls_per_question"),
                "num_parameters": sum(value.size for value in controller.parameters.values()),
            },
            score=self._settings.score,
            embeddings=self._embeddings,
            embedding_tokens=self._embed.num_tokens,
            num_questions=len(self._questions),
            num_failed=len(latest) - len(scored),
        )


async def make_controller(
    moves: Sequence[Move], embed: EmbeddingModel, settings: MaASConfig, *, seed: int
) -> Controller:
    """Return an untrained controller over the embedded moves."""
    vectors, _ = await embed([move.describe(number) for number, move in enumerate(moves)])
    return Controller(
        vectors,
        num_layers=settings.layers,
        hidden=settings.hidden,
        seed=derive_seed(seed, "maas controller"),
    )


def price_of(usage: Usage, settings: MaASConfig) -> float:
    """Return the amount to take off the score for the answer's usage; an unknown price counts by its calls alone."""
    return settings.call_weight * (usage.llm_calls + usage.searches) + settings.cost_weight * (usage.cost or 0.0)


def summarise(rows: Sequence[Answered]) -> dict[str, object]:
    """Means over scored answers, and the number of each move's executions per question."""
    if not rows:
        return {}
    moves = Counter(name for row in rows for layer in row.plan for name in layer)
    return {
        "score": sum(row.score or 0.0 for row in rows) / len(rows),
        "reward": sum(row.reward or 0.0 for row in rows) / len(rows),
        "calls_per_question": sum(row.usage.llm_calls for row in rows) / len(rows),
        "moves_per_question": {name: number / len(rows) for name, number in sorted(moves.items())},
    }


def read_answers_log(path: Path) -> list[Answered]:
    """Read the log of a training; none where it has not begun.

    Raises:
        DataError: it is damaged in more than its last line.
    """
    if not path.is_file():
        return []
    rows = []
    for place, line in iterate_lines(path, of="answers"):
        try:
            rows.append(Answered.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{place}: expected an answer of a training, found {error.errors()[0]['msg']}") from None
    return rows


def write_state(directory: Path, state: dict[str, Array]) -> None:
    """Write the state in one step."""
    buffer = io.BytesIO()
    np.savez(buffer, **state)  # type: ignore[arg-type]
    write_atomically(directory / STATE, buffer.getvalue())


def read_state(directory: Path) -> dict[str, Array] | None:
    """Read the state; None where there is no state.

    Raises:
        DataError: the state is damaged.
    """
    path = directory / STATE
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return dict(file)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected the state of a training, found {error}; delete it: {ANSWERS} beside it makes it anew, without "
            "asking again"
        ) from None
