"""Methods that draw several answers and vote: Self-Consistency and MedPrompt."""

import random

from workflow_r1.config.methods import MedPromptConfig, SelfConsistencyConfig
from workflow_r1.methods.asking import choose_by_ensemble
from workflow_r1.methods.fixed import StartWorkflow, fixed_methods
from workflow_r1.methods.majority import weigh_votes
from workflow_r1.methods.operators import count_votes, draw_answers, read_choice, vote_for_best
from workflow_r1.methods.workflow import Workflow
from workflow_r1.operators.results import read_answer, read_answers


def ask_for_answers(question: str, count: int, temperature: float) -> str:
    """The call that draws independent answers."""
    return f"DrawAnswers: <question>{question}</question><count>{count}</count><temperature>{temperature}</temperature>"


def choose_by_count(answers: list[str]) -> Workflow:
    """Take the most frequent of some answers; its share stands in the observation of ``CountVotes``."""
    if len(answers) < 2:
        return answers[0] if answers else ""
    (observation,) = yield ["CountVotes: " + _candidates(answers)]
    return read_answer(observation)


def self_consistency(settings: SelfConsistencyConfig) -> StartWorkflow:
    """Wang et al. 2022 (arXiv:2203.11171): sample several chains of thought, take the most frequent answer."""

    def start(question: str, rng: random.Random) -> Workflow:
        (observation,) = yield [ask_for_answers(question, settings.num_answers, settings.temperature)]
        answers = read_answers(observation)
        if settings.vote == "llm":
            return (yield from choose_by_ensemble(question, answers))
        return (yield from choose_by_count(answers))

    return start


def medprompt(settings: MedPromptConfig) -> StartWorkflow:
    """MedPrompt as AFlow compares it (arXiv:2410.10762): a few answers, then votes of the LLM over shuffled answers."""

    def start(question: str, rng: random.Random) -> Workflow:
        (observation,) = yield [ask_for_answers(question, settings.num_answers, settings.temperature)]
        answers = read_answers(observation)
        if len(answers) < 2:
            return answers[0] if answers else ""
        orders = [rng.sample(range(len(answers)), len(answers)) for _ in range(settings.num_votes)]
        observations = yield [
            f"VoteForBest: <question>{question}</question>" + _candidates([answers[index] for index in order])
            for order in orders
        ]
        choices = zip(orders, map(read_choice, observations), strict=True)
        return weigh_votes(answers, [order[choice] for order, choice in choices if choice is not None])[0]

    return start


def _candidates(answers: list[str]) -> str:
    return "".join(f"<candidate>{answer}</candidate>" for answer in answers)


SELF_CONSISTENCY = fixed_methods(
    "self-consistency",
    "draws five answers and takes the most frequent",
    lambda settings: self_consistency(settings.self_consistency),
    [draw_answers, count_votes, "ScEnsemble"],
)
MEDPROMPT = fixed_methods(
    "medprompt",
    "draws three answers and lets the LLM vote five times over them, shuffled",
    lambda settings: medprompt(settings.medprompt),
    [draw_answers, vote_for_best],
)
