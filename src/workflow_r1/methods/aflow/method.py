"""AFlow as a method: search on training questions, then answer with the best workflow found."""

from collections.abc import Callable

from workflow_r1.config.workflow_search import AFlowConfig
from workflow_r1.environment import QuestionEnvironment
from workflow_r1.errors import ConfigError
from workflow_r1.methods.aflow.proposer import LLMProposer, Proposer, RandomProposer
from workflow_r1.methods.aflow.search import FOUND, AFlowSearch, identity
from workflow_r1.methods.graphs import GraphPolicy, load_graph
from workflow_r1.methods.method import SEARCH, WITH_SEARCH, Method, MethodContext, method_environment
from workflow_r1.methods.searching import SearchDirectory, choose_questions, require_directory
from workflow_r1.operators import OPERATORS
from workflow_r1.rollout import derive_seed
from workflow_r1.rollout.policy import Policy
from workflow_r1.trajectory import Question

NAME = "aflow"

ROLE = "AFlow"
"""Role of the LLM that proposes, in ``llm.roles``; one of ``METHOD_ROLES``."""


async def search(context: MethodContext) -> None:
    """Search, or continue a search.

    Raises:
        ConfigError: no directory is given, or it holds another search.
        DataError: there are no questions to search on.
        ServiceError: a service is down; all results so far are kept.
        BudgetExceededError: the budget is used up; all results so far are kept.
    """
    settings = context.settings.aflow
    directory = require_directory(context, NAME)
    questions = choose_questions(context, settings.questions, purpose="aflow questions")
    proposer = make_proposer(context, settings)
    kept = settings.model_dump(mode="json", include={"sample", "repeats", "max_nodes", "score", "temperature"})
    state = SearchDirectory(
        directory,
        identity(questions=questions, operators=context.operators, proposer=proposer, seed=context.seed, settings=kept),
    )
    await AFlowSearch(
        state,
        questions=questions,
        operators=context.operators,
        make_environments=[_make_environment(context, repeat) for repeat in range(settings.repeats)],
        proposer=proposer,
        rounds=settings.rounds,
        sample=settings.sample,
        patience=settings.patience,
        max_nodes=settings.max_nodes,
        score=settings.score,
        seed=context.seed,
        concurrency=context.concurrency,
        notify=context.notify,
    ).run()


def _make_environment(context: MethodContext, repeat: int) -> Callable[[Question], QuestionEnvironment]:
    """Return the makers of environments for one answer to each question; each repeat draws samples of its own."""
    if repeat == 0:
        return context.make_environment
    services = context.services.redrawn(derive_seed("aflow repeat", repeat) % 2**30)
    limits = method_environment(context.operators)
    return lambda question: QuestionEnvironment(question, config=limits, operators=context.operators, services=services)


def make_proposer(context: MethodContext, settings: AFlowConfig) -> Proposer:
    """Return who proposes."""
    if settings.proposer == "random" or (settings.proposer == "auto" and context.llm_is_simulated):
        return RandomProposer()
    return LLMProposer(context.services.for_operator(ROLE).require_chat(), temperature=settings.temperature)


def open_found(context: MethodContext) -> Policy:
    """Make the policy of the best workflow found.

    Raises:
        ConfigError: there has been no search.
    """
    path = require_directory(context, NAME) / FOUND
    if not path.is_file():
        raise ConfigError(f"expected the result of {NAME} at {path}, found nothing; let it search first")
    return GraphPolicy(load_graph(path, context.operators), context.operators, name=NAME)


AFLOW = tuple(
    Method(
        f"{NAME}{suffix}",
        "searches for a workflow graph by edits that an LLM proposes, and answers with the best",
        open_found,
        operators=operators,
        takes_pool=True,
        prepare=search,
    )
    for suffix, operators in (("", {}), (WITH_SEARCH, {SEARCH: OPERATORS[SEARCH]}))
)
