"""MaAS as a method: train the controller on training questions, then let it draw a plan for each question."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from workflow_r1.config.workflow_search import MaASConfig
from workflow_r1.data import fingerprint
from workflow_r1.errors import ConfigError, DataError
from workflow_r1.inference import HoldsConnections
from workflow_r1.methods.maas.controller import Controller, unpack
from workflow_r1.methods.maas.embedding import HASHED, HashedEmbeddings, RememberedEmbeddings
from workflow_r1.methods.maas.moves import Move, carry_out_plan, draw_plan, moves_of
from workflow_r1.methods.maas.training import VECTORS, ControllerTraining, read_state
from workflow_r1.methods.method import SEARCH, WITH_SEARCH, Method, MethodContext
from workflow_r1.methods.searching import SearchDirectory, choose_questions, require_directory
from workflow_r1.methods.workflow import FixedWorkflowSession, question_of
from workflow_r1.operators import OPERATORS
from workflow_r1.retrieval import EmbeddingModel, OpenAIEmbeddings
from workflow_r1.rollout.policy import Policy, SampledTurn
from workflow_r1.trajectory import Message

NAME = "maas"


async def train(context: MethodContext) -> None:
    """Train the controller, or continue its training.

    Raises:
        ConfigError: no directory is given, or it holds another training.
        DataError: there are no questions to train on, or the pool makes no solution.
        ServiceError: a service is down; all results so far are kept.
        BudgetExceededError: the budget is used up; all results so far are kept.
    """
    settings = context.settings.maas
    directory = require_directory(context, NAME)
    moves = moves_of(context.operators)
    questions = choose_questions(context, settings.questions, purpose="maas questions")
    embeddings = HASHED if settings.embeddings is None else settings.embeddings.model
    identity = {
        "method": NAME,
        "questions": fingerprint(questions),
        "num_questions": len(questions),
        "moves": [move.describe(number) for number, move in enumerate(moves)],
        "embeddings": embeddings,
        "seed": context.seed,
        "settings": settings.model_dump(mode="json", exclude={"embeddings", "passes"}),
    }
    state = SearchDirectory(directory, identity)
    model = make_embeddings(settings)
    try:
        await ControllerTraining(
            state,
            questions=questions,
            moves=moves,
            embed=RememberedEmbeddings(model, None if settings.embeddings is None else directory / VECTORS),
            embeddings=embeddings,
            make_environment=context.make_environment,
            settings=settings,
            seed=context.seed,
            notify=context.notify,
        ).run()
    finally:
        if isinstance(model, HoldsConnections):
            await model.aclose()


def make_embeddings(settings: MaASConfig) -> EmbeddingModel:
    """Return the maker of vectors: the configured endpoint, or the hash.

    Raises:
        ConfigError: the endpoint's address cannot be used.
    """
    if settings.embeddings is None:
        return HashedEmbeddings()
    return OpenAIEmbeddings(settings.embeddings, key="methods.maas.embeddings")


class ControllerPolicy:
    """A policy that draws a plan for each question, and carries it out.

    Args:
        controller: the trained controller.
        moves: moves to choose from.
        embed: makes the vectors of questions.
        threshold: see ``Controller.draw``.
    """

    def __init__(
        self,
        controller: Controller,
        moves: Sequence[Move],
        embed: EmbeddingModel,
        *,
        threshold: float,
    ) -> None:
        self.controller = controller
        self.moves = moves
        self.embed = embed
        self.threshold = threshold
        self.name = NAME
        """Name for records and reports."""

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["ControllerSession"]:
        """Open a session, whose plan derives from ``seed`` and the question."""
        yield ControllerSession(self, random.Random(seed))


class ControllerSession:
    """One question: a plan is drawn when it is known, then carried out."""

    def __init__(self, policy: ControllerPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._prompt: Sequence[Message] = ()
        self._inner: FixedWorkflowSession | None = None

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Take the prompt, then observations."""
        if self._inner is not None:
            return self._inner.extend(messages)
        self._prompt = messages
        return ()

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Return the next calls of the plan, or the answer.

        Raises:
            ServiceError: the embedding endpoint failed.
        """
        if self._inner is None:
            policy = self._policy
            vectors, _ = await policy.embed([question_of(self._prompt[-1].content)])
            plan = draw_plan(policy.controller, policy.moves, vectors[0], threshold=policy.threshold, rng=self._rng)
            self._inner = FixedWorkflowSession(lambda text, rng: carry_out_plan(plan, policy.moves, text), self._rng)
            self._inner.extend(self._prompt)
        return await self._inner.sample(max_tokens=max_tokens)


def open_trained(context: MethodContext) -> Policy:
    """Make the policy of the trained controller.

    Raises:
        ConfigError: the controller has not been trained.
        DataError: the state of the training is damaged, or belongs to another pool.
    """
    directory = require_directory(context, NAME)
    state = read_state(directory)
    if state is None:
        raise ConfigError(
            f"expected the trained controller of {NAME} in {directory}, found nothing; let it search first"
        )
    settings = context.settings.maas
    controller = Controller(state["moves"], num_layers=settings.layers, hidden=settings.hidden)
    moves = moves_of(context.operators)
    try:
        if len(moves) != len(controller.moves):
            raise ValueError(f"expected {len(controller.moves)} moves, received {len(moves)}")
        unpack(state, controller)
    except ValueError as error:
        raise DataError(f"{directory}: expected a controller of this pool and these settings: {error}") from None
    return ControllerPolicy(controller, moves, make_embeddings(settings), threshold=settings.threshold)


MAAS = tuple(
    Method(
        f"{NAME}{suffix}",
        "learns to draw a workflow for each question, and answers by what it draws",
        open_trained,
        operators=operators,
        takes_pool=True,
        prepare=train,
    )
    for suffix, operators in (("", {}), (WITH_SEARCH, {SEARCH: OPERATORS[SEARCH]}))
)
