"""Operators that the compared methods call and the pool does not have."""

import re
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from workflow_r1.methods.majority import find_majority
from workflow_r1.operators import OPERATORS, OperatorResult, OperatorServices, operator
from workflow_r1.operators.asking import ask_llm

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Names of candidates in a vote."""

ANSWER_FORM = "a name, a date, a number, yes or no, as short as it can be"
"""Form of an answer, in the words of the pool's operators, for every method."""

_LETTER = re.compile(
    r"(?:candidate|answer|option|choice)?[\s:]*+[(\[]?(?P<letter>[A-Z])(?:[)\].:].*+)?", re.DOTALL | re.IGNORECASE
)
"""A letter alone, in brackets, behind a word, or before the candidate's text: ``B``, ``(b)``, ``Option B``, ``B. Paris``."""


@operator(purpose="Has the LLM answer at once, with no room to reason.")
async def direct(question: str, *, services: OperatorServices) -> OperatorResult:
    """Ask for the answer alone; form of the reply, reading and repetition are those of ``AnswerGenerate``."""
    reply = await ask_llm(
        services,
        instructions=f"Answer the question at once, without reasoning. Give the answer alone: {ANSWER_FORM}.",
        inputs=[("question", question)],
        reply={"answer": "the answer in a few words"},
    )
    if "answer" not in reply.parts:
        return OperatorResult(observation="The LLM gave no usable reply.", usage=reply.usage)
    return OperatorResult(observation=f"Answer: {reply.parts['answer']}", usage=reply.usage)


@operator(purpose="Gives independent answers to a question, as many as asked for.")
async def draw_answers(
    question: str,
    count: Annotated[int, Field(ge=1)],
    temperature: Annotated[float, Field(gt=0)],
    *,
    services: OperatorServices,
) -> OperatorResult:
    """Ask as ``MultiAnswerGenerate`` does, with a number and a temperature of its own."""
    config = services.config.model_copy(update={"num_answers": count, "temperature": temperature})
    return await OPERATORS["MultiAnswerGenerate"](question, replace(services, config=config))


@operator(purpose="Says which answer comes most often, up to case, punctuation and articles.", needs=())
async def count_votes(candidate: list[str]) -> OperatorResult:
    """Count equal answers; no LLM takes part."""
    answer, votes = find_majority(candidate)
    return OperatorResult(observation=f"Agreement: {votes} of {len(candidate)}\nAnswer: {answer}")


@operator(purpose="Has the LLM name the best of several candidate answers by its letter.")
async def vote_for_best(question: str, candidate: list[str], *, services: OperatorServices) -> OperatorResult:
    """Ask for the candidate that is most likely right, not for the most frequent one."""
    lettered = [f"{letter}. {' '.join(text.split())}" for letter, text in zip(LETTERS, candidate, strict=False)]
    reply = await ask_llm(
        services,
        instructions=(
            "Candidate answers to the question follow, each behind a letter. Judge which of them is most likely right; "
            "neither its place in the list nor how often it stands there matters. Reason in a few sentences, then give the "
            "letter of the best one."
        ),
        inputs=[("question", question), ("candidates", "\n".join(lettered))],
        reply={"reasoning": "why it is the best", "choice": "its letter alone"},
    )
    match = _LETTER.fullmatch(reply.parts.get("choice", "").strip())
    index = LETTERS.index(match["letter"].upper()) if match else len(candidate)
    choice = LETTERS[index] if index < len(candidate) else "none of the letters"
    return OperatorResult(observation=f"Choice: {choice}", usage=reply.usage)


def read_choice(observation: str) -> int | None:
    """Return the place of the candidate that ``VoteForBest`` chose, 0 the first; None where it chose none."""
    match = re.fullmatch(r"Choice: ([A-Z])", observation.strip())
    return LETTERS.index(match[1]) if match else None
