"""The texts that the policy reads: the prompt before its first turn, and the messages between its turns."""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from workflow_r1.prompts.neutralise import neutralise
from workflow_r1.trajectory import Message, Question


class OperatorDescription(Protocol):
    """Entry of an operator in the menu."""

    @property
    def name(self) -> str:
        """Name that the policy writes."""
        ...

    @property
    def purpose(self) -> str:
        """Purpose of the operator, in one line."""
        ...

    @property
    def usage(self) -> str:
        """Form of a call between the ``<tool>`` tags, as one line with its name."""
        ...


MALFORMED_INSTRUCTION = (
    "This turn could not be acted on. Write <think>your reasoning</think> and directly after it one action: "
    "<tool>OperatorName: input</tool> or <answer>a few words</answer>."
)
"""Observation of a turn that holds no action the environment may take. The tags in it are ours and stay."""

CUT_MARK = "\n[... {num} characters left out ...]\n"
"""Stands where an observation was cut."""

# Deviation: the prompt is in our own words, as are those of the operators; the grammar is the paper's.
_FULL = """\
Answer the question by building a workflow one step at a time. In each turn, reason about what is known and what is \
missing, then take one action, read what comes back, and decide anew.

A turn is a thought followed by one action, with nothing before, between or after them:
<think>what is known, what is missing, why this action</think><tool>OperatorName: input</tool>
The result comes back in <info>...</info>. Only the environment writes <info>. When you are sure of the answer, the turn is:
<think>why the question is settled</think><answer>the answer in a few words</answer>

Rules:
- Every turn has one non-empty thought and one non-empty action. End the turn after the action.
- Ask for one thing per call, and put everything the operator needs into its input: it sees neither the question nor \
earlier results.
- Results can be wrong or incomplete. Check what matters before relying on it.
- The answer is short and bare: a name, a date, a number, yes or no. Answering ends the work.
- At most {max_operator_calls} operator calls.

Operators:
{menu}

Question: {question}"""


def render_prompt(
    question: Question,
    operators: Sequence[OperatorDescription],
    style: Literal["full", "brief"] = "full",
    *,
    max_operator_calls: int = 20,
    special_tokens: Iterable[str] = (),
) -> tuple[Message, ...]:
    """Write the messages before the first turn.

    Both styles are a single user message: some chat templates have no system role, others fill it with a text of
    their own.

    Args:
        question: its text is neutralised.
        operators: the pool, in the order of the menu. The brief style does not show it.
        style: ``full`` explains grammar, rules and operators; ``brief`` is ``Question: ...`` and no more, for a policy
            that was trained to know the rest.
        max_operator_calls: the budget that the full style states.
        special_tokens: see :func:`neutralise`.

    Raises:
        ValueError: the style is unknown.
    """
    text = neutralise(question.text, special_tokens)
    if style == "brief":
        content = f"Question: {text}"
    elif style == "full":
        menu = "\n".join(
            f"- {operator.name}: {operator.purpose}\n  <tool>{operator.usage}</tool>" for operator in operators
        )
        content = _FULL.format(menu=menu or "(none)", question=text, max_operator_calls=max_operator_calls)
    else:
        raise ValueError(f"expected prompt style 'full' or 'brief', received {style!r}")
    return (Message(role="user", content=content),)


def format_observation(texts: Sequence[str]) -> str:
    """Return the content of the message that answers a turn: one ``<info>`` block per text, one per line, in order.

    Args:
        texts: observations that were made safe with :func:`neutralise`, or texts of our own.
    """
    return "\n".join(f"<info>{text}</info>" for text in texts)


def cut_middle(text: str, max_chars: int) -> str:
    """Cut a text that is too long in the middle, keeping its beginning and its end.

    Args:
        text: any text.
        max_chars: the longest result in characters, the mark that says how much is missing included.

    Returns:
        The text itself where it fits, else its two ends around the mark. Where not even the mark fits, the beginning.

    Raises:
        ValueError: ``max_chars`` is negative.
    """
    if max_chars < 0:
        raise ValueError(f"expected max_chars of at least 0, received {max_chars}")
    if len(text) <= max_chars:
        return text
    # The number in the mark is at most len(text), so a mark made with it is never too short.
    room = max_chars - len(CUT_MARK.format(num=len(text)))
    if room <= 0:
        return text[:max_chars]
    tail = room // 2
    head = room - tail
    return text[:head] + CUT_MARK.format(num=len(text) - room) + text[len(text) - tail :]
