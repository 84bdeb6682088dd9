"""ReAct (Yao et al. 2022, arXiv:2210.03629): one LLM thinks, acts, reads the observation, and thinks again.

The LLM writes its own form of a step, which this policy puts into the environment's grammar:

    Thought: I need the director first.          <think>I need the director first.</think>
    Action: Search[director of Jaws]       ->    <tool>Search: director of Jaws</tool>

It is asked once a step, with the prompt and all steps so far as one message.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from workflow_r1.config.methods import ReActConfig
from workflow_r1.inference import ChatModel, ChatRequest
from workflow_r1.methods.method import SEARCH, WITH_SEARCH, Method, MethodContext
from workflow_r1.methods.operators import ANSWER_FORM
from workflow_r1.methods.workflow import NO_ANSWER, observations_of, question_of
from workflow_r1.operators import OPERATORS, Operator
from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.trajectory import Message

FINISH = "Finish"
"""The action that gives the answer."""

NO_ACTION = (
    f"This step had no action that could be taken. Write a thought, then Action: Name[input] or {FINISH}[answer]."
)
"""Observation after a step that cannot be understood."""

LAST_STEP = f"\nThis is the last step: its action must be {FINISH}."

_PROMPT = """\
Answer the question by thinking and acting in turns. A step is one thought and one action, in this form:
Thought: what is known, what is missing, what to do next
Action: Name[input]

The actions:
{actions}
- {finish}[the answer in a few words: {answer_form}]
  Ends the work.

After each action comes its observation; only that is written for you. Write one step at a time, {max_steps} at most. Results
can be wrong or incomplete.

Question: {question}
"""

_LABEL = re.compile(r"^[ \t]*+(?:\*\*)?(Thought|Action|Observation)[ \t]*+\d*+[ \t]*+:(?:\*\*)?", re.MULTILINE)
_ACTION = re.compile(r"\s*+`?(\w++)\s*+\[(.*)\]", re.DOTALL)
_GRAMMAR = re.compile(r"</?(?:think|tool|answer|info)>")


class ReActPolicy:
    """ReAct over a chat model.

    Args:
        chat: the LLM that thinks.
        operators: its actions.
        settings: steps and temperature.
        max_tokens: most tokens of one step.
    """

    name = "react"
    """Name for records and reports."""

    def __init__(
        self, chat: ChatModel, operators: Sequence[Operator], settings: ReActConfig, *, max_tokens: int
    ) -> None:
        self.chat = chat
        self.operators = tuple(operators)
        self.settings = settings
        self.max_tokens = max_tokens

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["ReActSession"]:
        """Open a session; ``seed`` tells samples apart where the temperature is above 0."""
        yield ReActSession(self, sample_index=seed % 2**31 if self.settings.temperature > 0 else 0)


class ReActSession:
    """One question at work: the prompt, and the steps so far in ReAct's form."""

    def __init__(self, policy: ReActPolicy, sample_index: int) -> None:
        self._policy = policy
        self._sample_index = sample_index
        self._text = ""
        self._num_steps = 0
        self._acted = False

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Take the prompt, then observations."""
        received = messages[-1].content
        if not self._num_steps:
            self._text = self._render_prompt(question_of(received))
        else:
            observation = "\n".join(observations_of(received)) if self._acted else NO_ACTION
            self._text += f"Observation {self._num_steps}: {observation}\n"
        return ()

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Ask for the next step, and put it into the environment's grammar.

        Raises:
            ServiceError: the LLM's service failed after its retries.
        """
        settings = self._policy.settings
        self._num_steps += 1
        is_last = self._num_steps >= settings.max_steps
        text = f"{self._text}{LAST_STEP if is_last else ''}\nThought {self._num_steps}:"
        reply = await self._policy.chat(
            ChatRequest(
                messages=(Message(role="user", content=text),),
                temperature=settings.temperature,
                max_tokens=min(max_tokens, self._policy.max_tokens),
                sample_index=self._sample_index,
                stop=("\nObservation",),
            )
        )
        thought, name, text = read_step(reply.text)
        self._acted = bool(name)
        self._text += f"Thought {self._num_steps}: {thought}\n"
        if name:
            self._text += f"Action {self._num_steps}: {name}[{text}]\n"
        if name == FINISH:
            action = f"<answer>{text}</answer>"
        elif is_last:
            action = f"<answer>{NO_ANSWER}</answer>"
        else:
            action = f"<tool>{name}: {text}</tool>" if name else ""
        return SampledTurn(
            text=f"<think>{thought}</think>{action}",
            token_ids=(),
            logprobs=(),
            finish_reason=reply.finish_reason,
            usage=reply.usage,
        )

    def _render_prompt(self, question: str) -> str:
        actions = [
            f"- {operator.name}[{operator.usage.partition(': ')[2]}]\n  {operator.purpose}"
            for operator in self._policy.operators
        ]
        return _PROMPT.format(
            actions="\n".join(actions),
            finish=FINISH,
            answer_form=ANSWER_FORM,
            max_steps=self._policy.settings.max_steps,
            question=question,
        )


def read_step(text: str) -> tuple[str, str, str]:
    """Read the first step in the LLM's text. Never raises; linear in ``text``.

    Returns:
        Thought, name of the action and its input, without tags of the environment's grammar. The name is empty where
        there is no complete action with an input; the thought then holds the written text.
    """
    text = _GRAMMAR.sub(" ", text).strip()
    parts: list[str] = _LABEL.split(text)
    # Without a label in front, it continues the prompt's own "Thought n:".
    labelled = [("Thought", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    thought = next((content.strip() for label, content in labelled if label == "Thought" and content.strip()), "")
    action = next((content for label, content in labelled if label == "Action"), "")
    match = _ACTION.match(action)
    if match is None or not match[2].strip():
        return text, "", ""
    return thought, match[1], match[2].strip()


def _make_react(context: MethodContext) -> ReActPolicy:
    return ReActPolicy(
        context.services.require_chat(),
        tuple(context.operators.values()),
        context.settings.react,
        max_tokens=context.services.config.max_tokens,
    )


REACT = (
    Method(
        "react",
        "thinks, calls an operator, reads, and thinks again, until it finishes",
        _make_react,
        operators={"AnswerGenerate": OPERATORS["AnswerGenerate"]},
        takes_pool=True,
    ),
    Method(
        "react" + WITH_SEARCH,
        "thinks, calls an operator or Search, reads, and thinks again, until it finishes",
        _make_react,
        operators={name: OPERATORS[name] for name in ("AnswerGenerate", SEARCH)},
        takes_pool=True,
    ),
)
