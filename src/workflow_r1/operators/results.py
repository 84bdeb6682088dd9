"""Results of operator calls, read out of their observations."""

import re
from dataclasses import dataclass

SEVERAL_ANSWERS = "MultiAnswerGenerate"
"""The operator whose result is several answers."""

LABELS = {
    "AnswerGenerate": "Answer",
    "Custom": "Answer",
    "ScEnsemble": "Answer",
    "Revise": "Answer",
    "Review": "Feedback",
    "PromptOptimizer": "Refined query",
}
"""Labels before the result in the observations of the package's own operators; for all others the whole text is the result."""


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a call."""

    text: str = ""
    """Everything that its operator returned."""
    result: str = ""
    """The text behind the operator's label, or all of it; empty where the label is missing."""
    answers: tuple[str, ...] = ()
    """Answers, where it has several."""


def read_result(operator: str, observation: str) -> Result:
    """Read an operator's observation."""
    answers = tuple(read_answers(observation)) if operator == SEVERAL_ANSWERS else ()
    label = LABELS.get(operator)
    result = observation.strip()
    if label is not None:
        parts = re.split(rf"^{label}:", observation, flags=re.MULTILINE)
        result = parts[-1].strip() if len(parts) > 1 else ""
    return Result(text=observation, result=result, answers=answers)


def read_answer(observation: str) -> str:
    """Return the text after the last ``Answer:`` at the start of a line."""
    found = re.findall(r"^Answer:(.*?)(?=^Answer:|\Z)", observation, flags=re.DOTALL | re.MULTILINE)
    return found[-1].strip() if found else ""


def read_answers(observation: str) -> list[str]:
    """Return the text after each ``[Answer n]`` at the start of a line."""
    parts = re.split(r"^\[Answer \d+\]", observation, flags=re.MULTILINE)
    return [part.strip() for part in parts[1:] if part.strip()]
