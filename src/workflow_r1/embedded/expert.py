"""The simulated expert: the LLM behind the operators in the embedded world. A simulation, deterministic and fallible.

It reads the same messages that a real LLM would get and replies in the tags that the operators ask for. It knows every
fact, but recalls a single one rightly less than four times in five, and is poor at following several in one go. Independent
samples (a temperature above 0) err independently, so that an ensemble repairs them; reviews find most mistakes.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from workflow_r1.embedded.language import (
    RELATIONS,
    Chain,
    Comparison,
    Query,
    describe,
    read_question,
    read_statements,
    write_chain,
    write_steps,
)
from workflow_r1.embedded.steps import conclude, is_step, next_fact, read_work
from workflow_r1.embedded.world import FIRST_YEAR, LAST_YEAR, EmbeddedWorld
from workflow_r1.inference import ChatReply, ChatRequest
from workflow_r1.trajectory import FinishReason, Usage

UNKNOWN = "unknown"
"""Reply of an expert that does not understand."""


@dataclass(frozen=True, slots=True)
class ExpertRates:
    """Probability of a right reply, by number of hops (index 1 to 3) or for a comparison (index 0)."""

    answer: tuple[float, float, float, float] = (0.52, 0.78, 0.30, 0.16)
    """Asked to reason and answer, at temperature 0."""
    sample: tuple[float, float, float, float] = (0.50, 0.75, 0.27, 0.14)
    """The same at a temperature above 0, each sample."""
    direct: tuple[float, float, float, float] = (0.50, 0.60, 0.20, 0.10)
    """Asked without room to reason."""
    revise: tuple[float, float, float, float] = (0.80, 0.85, 0.50, 0.30)
    """Asked to revise a solution that a review calls wrong."""
    read: float = 0.98
    """Using a fact, or two years, that stand in the request."""
    review: float = 0.92
    """A review's verdict is right."""
    tie: float = 0.5
    """Among equally frequent solutions, the right one is picked; otherwise the first."""
    vote: float = 0.6
    """Asked for the letter of the best candidate: the right one is named where it is among them, in each order anew."""
    plan: float = 0.8
    """A question is taken apart rightly: by the next search query, and by ReAct's steps. Otherwise it is asked as a whole."""
    step: float = 0.95
    """A step of ReAct has an action."""


_INPUT = re.compile(r"<(question|task|instruction|query|solution|feedback|candidates)>(.*?)</\1>", re.DOTALL)
_YEAR = re.compile(r"\b(?:19|20)[0-9]{2}\b")
_STEP_BY_STEP = "Work step by step:"

# Words in the requests of an evaluation's methods (``methods``, which this package must not import).
_AT_ONCE = "without reasoning"
_NEXT_QUERY = "Write the next search query"
_THE_QUESTION = "The question:\n"
_CANDIDATE = re.compile(r"^([A-Z])\. (.*)$", re.MULTILINE)


class SimulatedExpert:
    """A ``ChatModel`` over the facts of one world; the double of an LLM service, not a language model.

    Args:
        world: the world whose facts it knows.
        rates: its shares of right answers.
    """

    def __init__(self, world: EmbeddedWorld, rates: ExpertRates | None = None) -> None:
        self.world = world
        self.rates = rates or ExpertRates()

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Reply as :class:`~workflow_r1.inference.ChatModel` says; tokens are counted as words."""
        asked = next(message.content for message in request.messages if message.role == "user")
        text = self._reply(asked, request.sample_index + 1 if request.temperature > 0 else 0)
        usage = Usage(
            llm_calls=1,
            prompt_tokens=sum(len(message.content.split()) for message in request.messages),
            completion_tokens=len(text.split()),
        )
        return ChatReply(text=text, finish_reason=FinishReason.STOP, usage=usage)

    def _reply(self, request: str, sample: int) -> str:
        if is_step(request):
            return self._take_step(request)
        inputs = _trailing_inputs(request)
        tags = {tag for tag, _ in inputs}
        first = dict(reversed(inputs))
        if "feedback" in tags:
            return f"<answer>{self._revise(first['question'], first['solution'], first['feedback'])}</answer>"
        if tags == {"question", "solution"}:
            return f"<feedback>{self._review(first['question'], first['solution'])}</feedback>"
        if tags == {"question", "candidates"}:
            return f"<reasoning>From memory.</reasoning><choice>{self._vote(first['question'], first['candidates'])}</choice>"
        if tags == {"query", "solution"}:
            chosen = self._choose(first["query"], [value for tag, value in inputs if tag == "solution"])
            return f"<reasoning>The most consistent.</reasoning><answer>{chosen}</answer>"
        if tags == {"query"}:
            return f"<refined_query>{_refine(first['query'])}</refined_query>"
        if tags == {"task", "instruction"}:
            return f"<answer>{self._carry_out(first['task'], first['instruction'])}</answer>"
        if tags == {"question"} and _AT_ONCE in request.partition("<question>")[0]:
            return f"<answer>{self._answer(first['question'], self.rates.direct, 'direct')}</answer>"
        if tags == {"question"}:
            rates = self.rates.sample if sample else self.rates.answer
            answer = self._answer(first["question"], rates, f"answer {sample}")
            return f"<reasoning>From memory.</reasoning><answer>{answer}</answer>"
        return f"<answer>{self._answer(request, self.rates.direct, 'direct')}</answer>"

    def _answer(self, text: str, rates: Sequence[float], key: str, *, exclude: str = "") -> str:
        """Answer a question, using facts that stand beside it."""
        query, context = _find_question(text)
        if query is None:
            return UNKNOWN
        facts = read_statements(context)
        if isinstance(query, Chain):
            at, relations = query.entity, list(query.relations)
            while relations and (at, relations[0]) in facts:
                if self._chance("read", key, at, relations[0]) >= self.rates.read:
                    return self._mistake(query, key, exclude)
                at = facts[at, relations.pop(0)]
            if not relations:
                return at
            query = Chain(at, tuple(relations))
        rate = self._rate(query, rates, step_by_step=_STEP_BY_STEP in text)
        truth = self.world.answer(query)
        if truth is None:
            return UNKNOWN
        if truth != exclude and self._chance(key, repr(query)) < rate:
            return truth
        return self._mistake(query, key, exclude)

    def _rate(self, query: Query, rates: Sequence[float], *, step_by_step: bool) -> float:
        """Probability of a right answer: by hops, in proportion to what is known of each relation."""
        if isinstance(query, Comparison):
            return rates[1] ** len(write_steps(query)) if step_by_step else rates[0]
        recall, usual, hops = self.world.config.recall, self.rates.answer[1], len(query.relations)
        known = [recall[noun] / usual if noun in recall else 1.0 for noun in query.relations]
        if step_by_step:
            return math.prod(min(1.0, rates[1] * factor) for factor in known)
        # Each further hop costs as much as the third.
        beyond = (rates[3] / rates[2]) ** (hops - 3) if hops > 3 and rates[2] > 0 else 1.0
        return min(1.0, rates[min(hops, 3)] * beyond * math.prod(known))

    def _mistake(self, query: Query, key: str, exclude: str) -> str:
        """A wrong answer of the right kind: one of four that this question invites."""
        truth = self.world.answer(query)
        if isinstance(query, Comparison):
            options = [name for name in query.entities if name != truth]
        elif RELATIONS[query.relations[-1]].object == "year":
            span = LAST_YEAR - FIRST_YEAR + 1
            options = [str(FIRST_YEAR + self._number("mistake", repr(query), str(i)) % span) for i in range(4)]
        else:
            entity = self.world.entities.get(query.entity)
            split = entity.split if entity else "train"
            names = self.world.by_kind[split, RELATIONS[query.relations[-1]].object]
            options = [names[self._number("mistake", repr(query), str(i)) % len(names)] for i in range(4)]
        options = [option for option in options if option not in (truth, exclude)] or [UNKNOWN]
        return options[self._number("choice", key, repr(query)) % len(options)]

    def _review(self, question: str, solution: str) -> str:
        query, _ = _find_question(question)
        truth = self.world.answer(query) if query else None
        if truth is None:
            return "The question is not clear."
        right = solution.strip().lower() == truth.lower()
        if self._chance("review", repr(query), solution) >= self.rates.review:
            right = not right
        return "The solution looks right." if right else "The solution is wrong."

    def _revise(self, question: str, solution: str, feedback: str) -> str:
        if "wrong" not in feedback.lower():
            return solution.strip()
        return self._answer(question, self.rates.revise, "revise", exclude=solution.strip())

    def _choose(self, question: str, solutions: list[str]) -> str:
        counts = Counter(solution.strip() for solution in solutions)
        most = max(counts.values())
        tied = [solution for solution, count in counts.items() if count == most]
        query, _ = _find_question(question)
        truth = self.world.answer(query) if query else None
        if len(tied) > 1 and truth in tied and self._chance("tie", repr(query)) < self.rates.tie:
            return truth or tied[0]
        return tied[0]

    def _vote(self, question: str, candidates: str) -> str:
        lettered = dict(_CANDIDATE.findall(candidates))
        query, _ = _find_question(question)
        truth = self.world.answer(query) if query else None
        right = [letter for letter, text in lettered.items() if text == truth]
        if right and self._chance("vote", repr(query), candidates) < self.rates.vote:
            return right[0]
        others = [letter for letter in lettered if letter not in right] or right or ["A"]
        return others[self._number("vote choice", repr(query), candidates) % len(others)]

    def _carry_out(self, task: str, instruction: str) -> str:
        if _NEXT_QUERY in instruction:
            return self._name_next_query(task)
        years = _YEAR.findall(task)
        if len(years) == 2 and "?" in task and not any(noun in task for noun in self.world.relations):
            late = re.search(r"\b(?:later|last|newer)\b", task) is not None
            wanted = max(years) if late else min(years)
            right = self._chance("years", *years) < self.rates.read
            return wanted if right else next((year for year in years if year != wanted), wanted)
        return self._answer(f"{task} {instruction}", self.rates.answer, "answer 0")

    def _name_next_query(self, task: str) -> str:
        query, passages = _find_question(task)
        if query is None or self._chance("plan", repr(query)) >= self.rates.plan:
            return "nothing"
        facts = read_statements(passages)
        missing = next_fact(query, facts)
        return describe(missing[1], missing[0]) if missing else "nothing"

    def _take_step(self, request: str) -> str:
        """Reply to ReAct: look up or ask for one fact after the other, or ask the whole question where the plan fails."""
        work = read_work(request)
        query = read_question(work.question)
        if query is None:
            return f" I do not understand.\nAction: Finish[{UNKNOWN}]"
        if self._chance("step", repr(query), str(work.step)) >= self.rates.step:
            return " I should find out more about this."
        if self._chance("plan", repr(query)) >= self.rates.plan:
            answer = work.answers.get(work.question)
            return (
                f" So be it.\nAction: Finish[{answer}]" if answer else f" Ask.\nAction: AnswerGenerate[{work.question}]"
            )
        facts = {
            (at, noun): value
            if self._chance("read", "react", at, noun) < self.rates.read
            else self._mistake(Chain(at, (noun,)), "react", "")
            for (at, noun), value in read_statements("\n".join(work.passages)).items()
        }
        while missing := next_fact(query, facts):
            asked = write_chain(Chain(missing[0], (missing[1],)))
            if asked in work.answers:
                facts[missing] = work.answers[asked]
                continue
            wanted = describe(missing[1], missing[0])
            if "Search" in work.actions and wanted not in work.searched:
                return f" Next: {wanted}.\nAction: Search[{wanted}]"
            return f" Next: {wanted}.\nAction: AnswerGenerate[{asked}]"
        return f" Done.\nAction: Finish[{conclude(query, facts)}]"

    def _number(self, *key: str) -> int:
        digest = blake2b("\0".join((str(self.world.seed), *key)).encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest)

    def _chance(self, *key: str) -> float:
        """A number in [0, 1) that depends on the world's seed and the key alone."""
        return self._number(*key) / 2**64


def _trailing_inputs(request: str) -> list[tuple[str, str]]:
    """The tagged inputs that a request ends in, in order; prose before them may mention tags, too."""
    inputs: list[tuple[str, str]] = []
    end = len(request.rstrip())
    for match in reversed(list(_INPUT.finditer(request))):
        if request[match.end() : end].strip():
            break
        inputs.append((match.group(1), match.group(2).strip()))
        end = match.start()
    return inputs[::-1]


def _find_question(text: str) -> tuple[Query | None, str]:
    """The first sentence of a text that can be read as a question, and the rest of the text."""
    before, mark, asked = text.rpartition(_THE_QUESTION)
    if mark:
        query, rest = _find_question(asked)
        return query, f"{before}\n{rest}"
    for sentence in re.findall(r"[^.?!\n]*\?", text[:4000]):
        query = read_question(sentence.strip())
        if query is not None:
            return query, text.replace(sentence, " ", 1)
    return None, text


def _refine(question: str) -> str:
    query, _ = _find_question(question)
    if query is None:
        return question
    steps = " ".join(f"{number}) {step}" for number, step in enumerate(write_steps(query), start=1))
    return f"{question.strip()} {_STEP_BY_STEP} {steps}"
