"""The eight operators. ``docs/reference/operators.md`` lists them from these definitions."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from workflow_r1.operators.asking import TaggedReply, ask_llm
from workflow_r1.operators.operator import Operator, operator
from workflow_r1.operators.services import OperatorResult, OperatorServices
from workflow_r1.retrieval.excerpts import excerpt
from workflow_r1.trajectory import Usage

_ANSWER_INSTRUCTIONS = (
    "Answer the question. Reason in a few sentences first, then give the answer alone: a name, a date, a number, yes or "
    "no, as short as it can be."
)
_ANSWER_REPLY = {"reasoning": "how you arrive at the answer", "answer": "the answer in a few words"}


@operator(purpose="Reasons about a question and answers it from the LLM's own knowledge.")
async def answer_generate(question: str, *, services: OperatorServices) -> OperatorResult:
    """Ask for reasoning, then an answer."""
    reply = await _ask_for_answer(question, services)
    return _observe(reply, {"reasoning": "Reasoning", "answer": "Answer"}, services)


@operator(purpose="Has the LLM carry out any instruction of yours for a task.")
async def custom(task: str, instruction: str, *, services: OperatorServices) -> OperatorResult:
    """Ask for whatever the instruction says."""
    reply = await ask_llm(
        services,
        instructions="Carry out the instruction for the task. Use what the task states; invent nothing.",
        inputs=[("task", task), ("instruction", instruction)],
        reply={"answer": "what the instruction asks for, and no more"},
    )
    return _observe(reply, {"answer": "Answer"}, services)


@operator(purpose="Gives several independent answers to a question, to compare or to choose from.")
async def multi_answer_generate(question: str, *, services: OperatorServices) -> OperatorResult:
    """Ask ``num_answers`` times, concurrently, at a temperature above 0."""
    replies = await _ask_several(question, services)
    usage = sum((reply.usage for reply in replies), start=Usage())
    answers = [" ".join(reply.parts["answer"].split()) for reply in replies if "answer" in reply.parts]
    if not answers:
        return OperatorResult(observation=_no_reply(services), usage=usage)
    lines = [f"[Answer {number}] {answer}" for number, answer in enumerate(answers, start=1)]
    return OperatorResult(observation="\n".join(lines), usage=usage)


@operator(purpose="Chooses the most consistent among several solutions of one query.")
async def sc_ensemble(query: str, solution: list[str], *, services: OperatorServices) -> OperatorResult:
    """Ask which solution most of the others agree with (self-consistency)."""
    reply = await ask_llm(
        services,
        instructions=(
            "Several solutions of one query follow. Choose the one that most of the others agree with in meaning; "
            "between equals take the better reasoned. Choose, do not solve the query anew."
        ),
        inputs=[("query", query), *(("solution", text) for text in solution)],
        reply={"reasoning": "which solutions agree", "answer": "the text of the chosen solution, word for word"},
    )
    if "answer" in reply.parts:
        reply = TaggedReply(
            parts=reply.parts | {"answer": _resolve_choice(reply.parts["answer"], solution)}, usage=reply.usage
        )
    return _observe(reply, {"reasoning": "Reasoning", "answer": "Answer"}, services)


@operator(purpose="Makes a query clear and adds a plan of steps for answering it.")
async def prompt_optimizer(query: str, *, services: OperatorServices) -> OperatorResult:
    """Ask for a clearer query."""
    reply = await ask_llm(
        services,
        instructions=(
            "Rewrite the query so that nothing in it can be misread, and add a short numbered plan of the steps that "
            "lead to its answer. Keep its meaning and every name in it. Do not answer it."
        ),
        inputs=[("query", query)],
        reply={"refined_query": "the rewritten query with its plan"},
    )
    return _observe(reply, {"refined_query": "Refined query"}, services)


@operator(purpose="Reviews a solution critically and says what is wrong with it.")
async def review(question: str, solution: str, *, services: OperatorServices) -> OperatorResult:
    """Ask for a critical review."""
    reply = await ask_llm(
        services,
        instructions=(
            "Review the solution of the question critically: check each fact and each step, and whether it answers what "
            "was asked. Say whether it is right; if not, what is wrong and how to mend it. Be brief."
        ),
        inputs=[("question", question), ("solution", solution)],
        reply={"feedback": "your verdict and the reasons for it"},
    )
    return _observe(reply, {"feedback": "Feedback"}, services)


@operator(purpose="Revises a solution by the feedback of a review.")
async def revise(question: str, solution: str, feedback: str, *, services: OperatorServices) -> OperatorResult:
    """Ask for a better answer."""
    reply = await ask_llm(
        services,
        instructions=(
            "Revise the solution of the question by the feedback. Keep what is right, mend what is wrong, and give the "
            "revised answer alone, as short as it can be."
        ),
        inputs=[("question", question), ("solution", solution), ("feedback", feedback)],
        reply={"answer": "the revised answer in a few words"},
    )
    return _observe(reply, {"answer": "Answer"}, services)


@operator(purpose="Finds passages about a query in the document collection.", needs=("search",))
async def search(query: str, *, services: OperatorServices) -> OperatorResult:
    """Retrieve passages; no LLM takes part."""
    passages = await services.require_search()(query, k=services.config.search_k)
    if not passages:
        return OperatorResult(observation="No passages were found. Try other words.")
    limit = services.config.passage_chars
    lines = []
    for number, passage in enumerate(passages, start=1):
        title = f"{passage.title}: " if passage.title else ""
        text = passage.text if limit is None else excerpt(passage.text, query, limit, title=passage.title)
        lines.append(f"[{number}] " + " ".join(f"{title}{text}".split()))
    return OperatorResult(observation="\n".join(lines))


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        made.name: made
        for made in (
            answer_generate,
            custom,
            multi_answer_generate,
            sc_ensemble,
            prompt_optimizer,
            review,
            revise,
            search,
        )
    }
)
"""Name -> operator, in the paper's order. For a pool with operators of your own: ``{**OPERATORS, own.name: own}``."""


def _observe(reply: TaggedReply, labels: Mapping[str, str], services: OperatorServices) -> OperatorResult:
    """Write the parts that there are under their labels."""
    lines = [f"{label}: {reply.parts[tag]}" for tag, label in labels.items() if tag in reply.parts]
    return OperatorResult(observation="\n".join(lines) or _no_reply(services), usage=reply.usage)


def _no_reply(services: OperatorServices) -> str:
    return f"The LLM gave no usable reply in {services.config.max_attempts} attempts. Ask again in other words."


async def _ask_for_answer(
    question: str, services: OperatorServices, *, temperature: float = 0.0, sample_index: int = 0
) -> TaggedReply:
    return await ask_llm(
        services,
        instructions=_ANSWER_INSTRUCTIONS,
        inputs=[("question", question)],
        reply=_ANSWER_REPLY,
        temperature=temperature,
        sample_index=sample_index,
    )


async def _ask_several(question: str, services: OperatorServices) -> list[TaggedReply]:
    """Ask concurrently. Where a service fails, the other requests are cancelled."""
    config = services.config
    # Deviation: independent answers are drawn at a temperature above 0; the release asks for them at 0, and gets one.
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_ask_for_answer(question, services, temperature=config.temperature, sample_index=index))
            for index in range(config.num_answers)
        ]
    return [task.result() for task in tasks]


_CHOICE = re.compile(
    # Possessive: a long run of spaces costs linear time.
    r"(?:the\s++)?(?P<word>solution|answer|option|candidate|choice|number|no\.)?\s*+#?[\[(]?(?P<key>[0-9]{1,3}|[a-z])"
    r"[\])]?(?P<rest>\s*+[:.\-\u2013]\s.*+)?",
    re.IGNORECASE | re.DOTALL,
)
"""A solution called by its number or letter, alone or before its text: ``Solution 2``, ``(B)``, ``[2]: Paris``."""


def _resolve_choice(answer: str, solutions: Sequence[str]) -> str:
    """Return the solution that the LLM chose, in the words in which it was given.

    The text of a solution goes before a number, since a solution may be a number. A reply that names no solution stays
    as it is.
    """
    by_text = {_fold(solution): solution for solution in reversed(solutions)}
    chosen = by_text.get(_fold(answer))
    if chosen is not None:
        return chosen
    match = _CHOICE.fullmatch(answer.strip())
    if match is None:
        return answer
    rest = (match["rest"] or "").strip(" \t\r\n:.-\u2013")
    if rest:
        return by_text.get(_fold(rest), answer)
    key = match["key"].lower()
    index = int(key) - 1 if key.isdigit() else ord(key) - ord("a")
    return solutions[index] if 0 <= index < len(solutions) else answer


def _fold(text: str) -> str:
    """Ignore case, spacing, quotes and closing punctuation."""
    return " ".join(text.split()).strip(" .\"'`").casefold()
