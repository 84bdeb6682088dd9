"""Methods that ask the LLM in one fixed way."""

import random

from workflow_r1.methods.fixed import fixed_methods
from workflow_r1.methods.operators import direct
from workflow_r1.methods.workflow import Workflow
from workflow_r1.operators.results import read_answer, read_answers


def answer_directly(question: str, rng: random.Random) -> Workflow:
    """Ask the LLM once, with no room to reason."""
    (observation,) = yield [f"Direct: {question}"]
    return read_answer(observation)


def answer_once(question: str, rng: random.Random) -> Workflow:
    """Let the LLM reason and answer, once."""
    (observation,) = yield [f"AnswerGenerate: {question}"]
    return read_answer(observation)


def answer_by_ensemble(question: str, rng: random.Random) -> Workflow:
    """Draw several answers and let the LLM pick the most consistent."""
    (observation,) = yield [f"MultiAnswerGenerate: {question}"]
    return (yield from choose_by_ensemble(question, read_answers(observation)))


def choose_by_ensemble(question: str, answers: list[str]) -> Workflow:
    """Let the LLM pick the most consistent of some answers. One alone is taken as it is."""
    if len(answers) < 2:
        return answers[0] if answers else ""
    solutions = "".join(f"<solution>{answer}</solution>" for answer in answers)
    (observation,) = yield [f"ScEnsemble: <query>{question}</query>{solutions}"]
    return read_answer(observation)


DIRECT = fixed_methods("direct", "asks for the answer alone, once", lambda settings: answer_directly, [direct])
COT = fixed_methods("cot", "lets the LLM reason, then answer, once", lambda settings: answer_once, ["AnswerGenerate"])
ENSEMBLE = fixed_methods(
    "ensemble",
    "draws three answers and lets the LLM choose: MultiAnswerGenerate, then ScEnsemble",
    lambda settings: answer_by_ensemble,
    ["MultiAnswerGenerate", "ScEnsemble"],
)
