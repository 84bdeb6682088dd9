"""Methods that ask the LLM in one fixed way."""

import random

from workflow_r1.evaluation.methods.method import Method
from workflow_r1.evaluation.methods.workflow import FixedWorkflow, Workflow, read_answer, read_answers
from workflow_r1.operators import OPERATORS, Operator, OperatorResult, OperatorServices, operator
from workflow_r1.operators.asking import read_parts
from workflow_r1.trajectory import Message


@operator(purpose="Asks the LLM the bare question, once.")
async def direct(question: str, *, services: OperatorServices) -> OperatorResult:
    """Ask with no room to reason, and do not ask again. An operator of this comparison only, not of the pool."""
    request = f"{question}\n\nGive the answer alone, in as few words as possible, inside <answer></answer>."
    reply = await services.require_chat()(
        [Message(role="user", content=request)], max_tokens=services.config.max_tokens
    )
    answer = read_parts(reply.text, ("answer",)).get("answer", reply.text.strip())
    return OperatorResult(observation=f"Answer: {answer}", usage=reply.usage)


def answer_directly(question: str, rng: random.Random) -> Workflow:
    """Ask the LLM once, with no room to reason."""
    (observation,) = yield [f"Direct: {question}"]
    return read_answer(observation)


def answer_once(question: str, rng: random.Random) -> Workflow:
    """Let the LLM reason and answer, once."""
    (observation,) = yield [f"AnswerGenerate: {question}"]
    return read_answer(observation)


def answer_by_vote(question: str, rng: random.Random) -> Workflow:
    """Draw several answers and let the LLM pick the most consistent."""
    (observation,) = yield [f"MultiAnswerGenerate: {question}"]
    solutions = read_answers(observation)
    if len(solutions) < 2:
        return solutions[0] if solutions else ""
    tagged = "".join(f"<solution>{solution}</solution>" for solution in solutions)
    (observation,) = yield [f"ScEnsemble: <query>{question}</query>{tagged}"]
    return read_answer(observation)


def _pool(*names: str) -> dict[str, Operator]:
    return {name: OPERATORS[name] for name in names}


DIRECT = Method(
    "direct",
    "asks the LLM the bare question, once",
    lambda context: FixedWorkflow("direct", answer_directly),
    operators={"Direct": direct},
)
COT = Method(
    "cot",
    "lets the LLM reason, then answer, once",
    lambda context: FixedWorkflow("cot", answer_once),
    operators=_pool("AnswerGenerate"),
)
ENSEMBLE = Method(
    "ensemble",
    "draws three answers and lets the LLM choose: MultiAnswerGenerate, then ScEnsemble",
    lambda context: FixedWorkflow("ensemble", answer_by_vote),
    operators=_pool("MultiAnswerGenerate", "ScEnsemble"),
)
