"""MedPrompt in its original form (Nori et al. 2023, arXiv:2311.16452), for questions without choices.

Beforehand the LLM answers training questions with its own reasoning; those that it answers rightly become examples.
Before each question stand the examples whose questions are most like it, the most similar last; several answers are
drawn, and the most frequent wins. A question to be answered is never an example.

    DIRECTORY/
      answers.jsonl       the trajectories of the training questions
      vectors.jsonl       the vector of each question, and its tokens, where embeddings measure similarity
      examples.json       by question: its examples, the most similar last
      search.json, seconds.json, summary.json     see ``methods.searching``
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from workflow_r1.config.methods import MedPromptKNNConfig
from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.evaluation.evaluate import evaluate
from workflow_r1.methods.asking import answer_once
from workflow_r1.methods.fixed import StartWorkflow
from workflow_r1.methods.method import SEARCH, WITH_SEARCH, Method, MethodContext
from workflow_r1.methods.operators import count_votes, draw_answers
from workflow_r1.methods.passages import put_before, show_passages
from workflow_r1.methods.searching import (
    SearchDirectory,
    choose_questions,
    read_json,
    require_directory,
    write_json,
)
from workflow_r1.methods.similarity import by_embeddings, by_words
from workflow_r1.methods.voting import ask_for_answers, choose_by_count
from workflow_r1.methods.workflow import FixedWorkflow, Workflow, question_of
from workflow_r1.operators import OPERATORS
from workflow_r1.operators.results import read_answers
from workflow_r1.retrieval import OpenAIEmbeddings
from workflow_r1.trajectory import ScoredTrajectory, Trajectory, Usage, append_trajectories
from workflow_r1.trajectory.storage import iterate_trajectories

NAME = "medprompt-knn"

ANSWERS = "answers.jsonl"
VECTORS = "vectors.jsonl"
EXAMPLES = "examples.json"


@dataclass(frozen=True, slots=True)
class Example:
    """A training question with the LLM's right answer to it."""

    question: str
    """Text of the question, as the LLM saw it."""
    reply: str
    """Reasoning and answer."""


async def prepare(context: MethodContext) -> None:
    """Answer training questions, and find the examples of every question that will be asked.

    Raises:
        ConfigError: no directory is given, or it holds another search.
        DataError: there are no training questions.
        ServiceError: a service failed; all answers so far are kept, and the next call asks for the rest.
    """
    settings = context.settings.medprompt_knn
    directory = require_directory(context, NAME)
    train = choose_questions(context, settings.num_train, purpose=f"{NAME} examples")
    model = None if settings.embeddings is None else settings.embeddings.model
    kept = {"questions": [question.id for question in train], "seed": context.seed, "embeddings": model}
    state = SearchDirectory(directory, kept)
    with state.timed():
        path = directory / ANSWERS
        done = {each.id: each for each in iterate_trajectories(path)} if path.is_file() else {}
        result = await evaluate(
            train,
            policy=FixedWorkflow(NAME, answer_once),
            make_environment=context.make_environment,
            seed=context.seed,
            concurrency=context.concurrency,
            done=tuple(done.values()),
            on_trajectory=lambda trajectory: append_trajectories(path, [trajectory]),
        )
        failed = [each for each in result.trajectories if each.stop_reason.is_infrastructure]
        if failed:
            raise ServiceUnavailableError(
                f"{len(failed)} of {len(train)} training questions failed (the first: {failed[0].error}); the same command "
                "asks them again"
            )
        examples = read_examples(result.trajectories)
        context.notify(f"{NAME}: {len(examples)} of {len(train)} training questions were answered rightly")
        questions = [
            question_of(context.make_environment(question).initial_messages()[-1].content)
            for question in context.questions
        ]
        texts = [example.question for example in examples]
        find, tokens = by_words(texts), 0
        if settings.embeddings is not None:
            service = OpenAIEmbeddings(settings.embeddings, key="methods.medprompt_knn.embeddings")
            async with aclosing(service):
                find, tokens = await by_embeddings(texts, service, questions, directory / VECTORS)
        nearest = {question: (await find(question))[: settings.num_examples] for question in questions}
        shown = [f"Question: {example.question}\n{example.reply}" for example in examples]
        write_json(
            directory / EXAMPLES,
            {question: [shown[number] for number in reversed(numbers)] for question, numbers in nearest.items()},
        )
    usage = sum((each.usage for each in result.trajectories), start=Usage())
    state.conclude(usage, examples=len(examples), asked=len(train), embedding_tokens=tokens)


def read_examples(trajectories: Sequence[Trajectory]) -> list[Example]:
    """Return the training questions that were answered rightly, of trajectories of ``cot``."""
    return [
        Example(question_of(each.prompt[-1].content), each.turns[0].calls[0].observation)
        for each in trajectories
        if isinstance(each, ScoredTrajectory) and each.reward.success
    ]


def answer_by_examples(
    settings: MedPromptKNNConfig, examples: Mapping[str, Sequence[str]], *, searches: bool
) -> StartWorkflow:
    """Put a question's examples before it, draw answers, take the most frequent.

    Args:
        settings: settings of the method.
        examples: examples by question.
        searches: put the passages found for the question between the examples and it.
    """

    def start(question: str, rng: random.Random) -> Workflow:
        passages = ""
        if searches:
            (observation,) = yield [f"{SEARCH}: {question}"]
            passages = show_passages(observation)
        shown = "\n\n".join(
            ["Questions that were answered rightly, the most similar last:", *examples.get(question, ())]
        )
        asked = put_before(question, shown if examples.get(question) else "", passages)
        (observation,) = yield [ask_for_answers(asked, settings.num_answers, settings.temperature)]
        return (yield from choose_by_count(read_answers(observation)))

    return start


def _method(name: str, summary: str, *, searches: bool) -> Method:
    def make(context: MethodContext) -> FixedWorkflow:
        kept = read_json(require_directory(context, NAME) / EXAMPLES)
        examples = {question: shown for question, shown in kept.items() if isinstance(shown, list)}
        start = answer_by_examples(context.settings.medprompt_knn, examples, searches=searches)
        return FixedWorkflow(name, start)

    pool = [draw_answers, count_votes, OPERATORS["AnswerGenerate"], *([OPERATORS[SEARCH]] if searches else [])]
    return Method(name, summary, make, operators={each.name: each for each in pool}, prepare=prepare)


MEDPROMPT_KNN = (
    _method(NAME, "draws five answers after similar training questions, takes the most frequent", searches=False),
    _method(
        NAME + WITH_SEARCH,
        "the same, with the passages found for the question before it",
        searches=True,
    ),
)
