"""A task of your own: word problems with a calculator, whose answers a program checks.

The policy reads a story, has one or two sums worked out, and answers with the number.

    workflow-r1 warmstart examples/word_problems.toml --output runs/word-problems-start
    workflow-r1 train examples/word_problems.toml --output runs/word-problems
"""

import random
import re
from collections.abc import Sequence

from workflow_r1.operators import OperatorServices
from workflow_r1.tasks import Action, Demonstrator, Episode, Reply, Split, Task
from workflow_r1.trajectory import Message, Question

EVENTS = {
    "+": ("finds {} more", "buys {} more", "is given {} more"),
    "-": ("loses {} of them", "eats {} of them", "sells {} of them"),
    "*": ("then has {} times as many", "makes {} of each"),
}
"""Events of a story, by the operation that they mean."""


def calculate(text: str) -> int | None:
    """Return the value of ``a + b``, ``a - b`` or ``a * b`` for whole numbers; None for anything else."""
    found = re.fullmatch(r"\s*(-?\d{1,9})\s*([-+*])\s*(-?\d{1,9})\s*", text)
    if found is None:
        return None
    one, other = int(found[1]), int(found[3])
    return {"+": one + other, "-": one - other, "*": one * other}[found[2]]


class Problem(Episode):
    """One story, with a calculator beside it."""

    def __init__(self, story: str, answer: int) -> None:
        self._story, self._answer = story, answer

    async def start(self) -> str:
        """Return the story."""
        return self._story

    async def act(self, action: Action) -> Reply:
        """Work out a sum, or check the answer."""
        if action.name == "answer":
            right = action.input.strip() == str(self._answer)
            return Reply(done=True, reward=float(right), success=right)
        value = calculate(action.input)
        if value is None:
            return Reply("Write one sum of two whole numbers, e.g. 17 + 4.", valid=False)
        return Reply(str(value))


class WordProblems(Task):
    """Stories of one or two events."""

    name = "word-problems"
    actions = {"Calculate": "a sum of two whole numbers, e.g. 17 + 4", "answer": "the number"}  # noqa: RUF012

    def instances(self, split: Split, num: int | None) -> Sequence[Question]:
        """Return stories; in the held-out ones, and in no other, five divides the sum of the numbers."""
        draw = random.Random(split)
        found: dict[str, Question] = {}
        while len(found) < (num or 2000):
            start = draw.randint(20, 59)
            story, answer, total = [f"{draw.choice(('Mia', 'Tom', 'Ana', 'Ben'))} has {start} apples"], start, start
            for _ in range(draw.choice((1, 2))):
                sign, number = draw.choice(list(EVENTS)), draw.randint(2, 9)
                story.append(draw.choice(EVENTS[sign]).format(number))
                answer, total = calculate(f"{answer} {sign} {number}") or 0, total + number
            if (total % 5 == 0) != (split == "evaluation"):
                continue
            text = ", ".join(story) + ". How many now?"
            id_ = f"{split}-{len(found)}"
            question = Question(id=id_, text=text, golden_answers=(str(answer),), metadata={"answer": answer})
            found.setdefault(text, question)
        return list(found.values())

    async def open(self, instance: Question, services: OperatorServices) -> Problem:
        """Return a problem."""
        return Problem(instance.text, instance.metadata["answer"])

    def demonstrator(self, instance: Question, seed: int) -> Demonstrator:
        """Return a pupil who handles the calculator, adds in most stories, and reads in some what happens."""
        reads = random.Random(seed).random() < 0.4
        numbers = re.findall(r"\d+", instance.text)
        signs = [sign for event in instance.text.split(",")[1:] for sign in EVENTS if _means(sign, event)]

        def play(messages: Sequence[Message]) -> str:
            num_done = sum(message.role == "assistant" for message in messages)
            last = numbers[0] if num_done == 0 else re.findall(r"-?\d+", messages[-1].content)[0]
            if num_done == len(signs):
                return f"<think>done</think><answer>{last}</answer>"
            thought, sign = ("read", signs[num_done]) if reads else ("add", "+")
            return f"<think>{thought}</think><tool>Calculate: {last} {sign} {numbers[num_done + 1]}</tool>"

        return play


def _means(sign: str, event: str) -> bool:
    return any(words.split("{}")[0] in event and words.split("{}")[1] in event for words in EVENTS[sign])
