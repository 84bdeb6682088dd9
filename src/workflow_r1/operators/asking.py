"""Asks the LLM behind an operator for a reply in tags, and asks again where something is missing.

The request is one user message: the instructions, the form of the reply, then the inputs, each in its tag. Inputs are
text: everything that could close or open a tag inside them is neutralised.

A reply may lack a tag, leave one empty, be cut off, or consist of reasoning alone. The operator then shows it to the
LLM again and names the flaw, until the LLM has sent ``max_attempts`` replies or the service refuses the longer request.
After that the operator continues with the best of the replies. This is neither the policy's mistake nor a failure of
the infrastructure: the observation shows that reply.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from workflow_r1.errors import ContentRejectedError
from workflow_r1.inference import ChatRequest, ReplyFlaw
from workflow_r1.inference.chat import NO_TEXT
from workflow_r1.operators.services import OperatorServices
from workflow_r1.prompts import cut_middle, neutralise
from workflow_r1.trajectory import FinishReason, Message, Usage

CUT_OFF = " [cut off]"
"""Ends a text that the LLM did not finish on any attempt."""

_CHARS_PER_TOKEN = 8
"""More than a token has on average in any language."""


_COMPLAINTS = {
    ReplyFlaw.REASONING_ONLY: "you reasoned, but the reply itself was missing",
    ReplyFlaw.TOOL_CALLS: "it called a tool, and there is none",
    ReplyFlaw.FILTERED: "a content filter withheld some of it, so word it otherwise",
    ReplyFlaw.EMPTY: "it was empty",
}
"""Requests for another reply, by the flaw of a reply without a text. A refusal is a text: the operator asks for what it
lacks as for any other."""


@dataclass(frozen=True, slots=True)
class TaggedReply:
    """The LLM's reply in its parts."""

    parts: dict[str, str]
    """Text by tag, stripped; a tag that no attempt filled is absent. Of an unusable reply nothing is here."""
    usage: Usage
    """Usage of all attempts together."""


async def ask_llm(
    services: OperatorServices,
    *,
    instructions: str,
    inputs: Sequence[tuple[str, str]],
    reply: Mapping[str, str],
    temperature: float = 0.0,
    sample_index: int = 0,
) -> TaggedReply:
    """Ask the LLM and read its reply.

    Args:
        services: the LLM and the settings.
        instructions: the task, in a sentence or a few.
        inputs: tag and text, in order; a tag may come more than once.
        reply: the content that each tag asks for. The last one is the result: without it a reply is of no use.
        temperature: 0 asks for the most likely reply.
        sample_index: see :class:`~workflow_r1.inference.ChatModel`.

    Returns:
        The first complete reply. Without one, the parts of the fullest reply that has the result; else the result as
        far as it was written; else, as the result, a reply that ignored the tags; else nothing.

    Raises:
        ContentRejectedError: the LLM service refuses the inputs for their length or content.
        ServiceError: the LLM service failed after its retries.
        ConfigError: there is no LLM.
    """
    chat = services.require_chat()
    tags = tuple(reply)
    request = Message(role="user", content=render_request(instructions, inputs, reply))
    messages: tuple[Message, ...] = (request,)
    # A server may send far more than it was asked for; showing it all again would only be refused as too long.
    longest = services.config.max_tokens * _CHARS_PER_TOKEN
    usage = Usage()
    best: dict[str, str] = {}
    rest = ""
    for _ in range(services.config.max_attempts):
        asked = ChatRequest(
            messages=messages,
            temperature=temperature,
            max_tokens=services.config.max_tokens,
            sample_index=sample_index,
        )
        try:
            answer = await chat(asked)
        except ContentRejectedError:
            if messages[:-1]:
                break  # The first request was taken: the service now refuses the LLM's own reply in it.
            raise
        usage += answer.usage
        text = _leave_out_thinking(answer.text)
        parts = read_parts(text, tags)
        missing = [tag for tag in tags if tag not in parts]
        is_cut = answer.finish_reason is FinishReason.LENGTH
        if not missing and not is_cut:
            return TaggedReply(parts=parts, usage=usage)
        if tags[-1] in parts and len(parts) >= len(best):
            best = parts
        unfinished = _read_unfinished(text, tags)
        rest = unfinished + CUT_OFF if unfinished and is_cut else unfinished or rest
        complaint = _complain(missing, reply, is_cut=is_cut, flaw=answer.flaw)
        messages = (
            request,
            Message(role="assistant", content=cut_middle(answer.text.strip(), longest) or NO_TEXT),
            Message(role="user", content=complaint),
        )
    return TaggedReply(parts=best or ({tags[-1]: rest} if rest else {}), usage=usage)


def render_request(instructions: str, inputs: Sequence[tuple[str, str]], reply: Mapping[str, str]) -> str:
    """Write the request: instructions, form of the reply, inputs."""
    names = sorted({tag for tag, _ in inputs} | set(reply))
    tags = tuple(f"<{slash}{name}>" for name in names for slash in ("", "/"))
    form = _render_form(reply)
    blocks = "\n".join(f"<{tag}>{neutralise(text, tags)}</{tag}>" for tag, text in inputs)
    return f"{instructions}\n\nReply in this form:\n{form}\nWrite nothing else. The input:\n\n{blocks}"


def read_parts(text: str, tags: Sequence[str]) -> dict[str, str]:
    """Read the last complete block of each tag; blocks without content are left out. Linear in ``text``."""
    parts: dict[str, str] = {}
    opened: dict[str, int] = {}
    for match in _tag_pattern(tuple(tags)).finditer(text):
        tag = match.group(2).lower()
        if not match.group(1):
            opened[tag] = match.end()
        elif tag in opened:
            content = text[opened.pop(tag) : match.start()].strip()
            if content:
                parts[tag] = content
    return parts


def _render_form(reply: Mapping[str, str]) -> str:
    return "\n".join(f"<{tag}>{content}</{tag}>" for tag, content in reply.items())


def _complain(missing: Sequence[str], reply: Mapping[str, str], *, is_cut: bool, flaw: ReplyFlaw | None) -> str:
    problems = [_COMPLAINTS[flaw]] if flaw in _COMPLAINTS else []
    if is_cut:
        problems.append("it was cut off because it was too long, so be much shorter")
    if missing:
        problems.append(f"no complete {', '.join(f'<{tag}>...</{tag}>' for tag in missing)} with text in it was found")
    return f"Your reply cannot be used: {'; '.join(problems)}. Reply again, all of it, in this form:\n{_render_form(reply)}"


def _read_unfinished(text: str, tags: Sequence[str]) -> str:
    """Return a result that was never closed, or the whole of a reply without any of the tags."""
    matches = list(_tag_pattern(tuple(tags)).finditer(text))
    if not matches:
        return text.strip()
    last = matches[-1]
    if not last.group(1) and last.group(2).lower() == tags[-1]:
        return text[last.end() :].strip()
    return ""


def _leave_out_thinking(text: str) -> str:
    """Remove a reasoning model's thoughts before its reply."""
    _, closing, after = text.rpartition("</think>")
    if closing:
        return after
    return "" if text.lstrip().startswith("<think>") else text


@lru_cache(maxsize=64)
def _tag_pattern(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"<(/?)({'|'.join(tags)})>", re.IGNORECASE)
