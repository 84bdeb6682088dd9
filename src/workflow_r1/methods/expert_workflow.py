"""A fixed workflow such as a competent engineer would write by hand for questions of several hops."""

import random

from workflow_r1.config.methods import ExpertWorkflowConfig
from workflow_r1.methods.asking import answer_by_ensemble, answer_once
from workflow_r1.methods.fixed import StartWorkflow, fixed_method
from workflow_r1.methods.method import SEARCH, WITH_SEARCH
from workflow_r1.methods.passages import put_before, show_passages
from workflow_r1.methods.workflow import Workflow
from workflow_r1.operators.results import read_answer

NEXT_QUERY = (
    "Break the question down into the facts that it needs, in order. Write the next search query: one that asks for the "
    "first fact which the passages do not state, with every name written out. If they state all of them, write: nothing"
)


def answer_with_passages(settings: ExpertWorkflowConfig) -> StartWorkflow:
    """Look up one fact after the other, answer from the findings, then review and revise."""

    def start(question: str, rng: random.Random) -> Workflow:
        passages: dict[str, None] = {}
        asked = [question]
        while True:
            (observation,) = yield [f"{SEARCH}: {asked[-1]}"]
            passages |= dict.fromkeys(_read_passages(observation))
            found = "\n".join(f"[{number}] {passage}" for number, passage in enumerate(passages, start=1))
            informed = put_before(question, show_passages(found))
            if len(asked) > settings.max_lookups:
                break
            (observation,) = yield [f"Custom: <task>{informed}</task><instruction>{NEXT_QUERY}</instruction>"]
            query = " ".join(read_answer(observation).split())
            if not query or query.strip(" .").lower() == "nothing" or query in asked:
                break
            asked.append(query)
        answer = yield from answer_once(informed, rng)
        return (yield from review_and_revise(informed, answer))

    return start


def answer_without(question: str, rng: random.Random) -> Workflow:
    """Draw several answers, combine them, then review and revise."""
    answer = yield from answer_by_ensemble(question, rng)
    return (yield from review_and_revise(question, answer))


def review_and_revise(question: str, answer: str) -> Workflow:
    """Have an answer reviewed, and revised by the review. Where a step gives nothing, the answer stays."""
    if not answer:
        return ""
    subject = f"<question>{question}</question><solution>{answer}</solution>"
    (observation,) = yield [f"Review: {subject}"]
    feedback = observation.removeprefix("Feedback:").strip()
    if not observation.startswith("Feedback:") or not feedback:
        return answer
    (observation,) = yield [f"Revise: {subject}<feedback>{feedback}</feedback>"]
    return read_answer(observation) or answer


def _read_passages(observation: str) -> list[str]:
    """The passages of a search's observation, without their numbers; none where nothing was found."""
    lines = observation.splitlines()
    return [line.partition("] ")[2] for line in lines if line.startswith("[") and "] " in line]


EXPERT_WORKFLOW = (
    fixed_method(
        "expert-workflow",
        "draws three answers, combines them, reviews and revises",
        lambda settings: answer_without,
        ["MultiAnswerGenerate", "ScEnsemble", "Review", "Revise"],
    ),
    fixed_method(
        "expert-workflow" + WITH_SEARCH,
        "looks up one fact after the other, answers from the passages, reviews and revises",
        lambda settings: answer_with_passages(settings.expert_workflow),
        [SEARCH, "Custom", "AnswerGenerate", "Review", "Revise"],
    ),
)
