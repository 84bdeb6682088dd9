"""Check of a policy behind a server, for ``workflow-r1 doctor``: the form of its input, and the rendering of its history."""

from typing import TYPE_CHECKING

from workflow_r1.errors import ServiceError
from workflow_r1.running.findings import Finding, ok, problem, warning

if TYPE_CHECKING:
    from workflow_r1.inference import OpenAIChatConfig
    from workflow_r1.rollout.policy_server import PolicyServerConfig
    from workflow_r1.rollout.renderer import TemplateConfig

SUBJECT = "policy"

THOUGHT_WORDS = 64
"""Words by which the thoughts of two otherwise equal histories differ: each is a token at least."""


async def check_tokens(server: "PolicyServerConfig", template: "TemplateConfig", source: str) -> Finding:
    """Check that the server continues tokens, and that the tokenizer's template can be used."""
    from workflow_r1.policy.tokenizer import load_tokenizer
    from workflow_r1.rollout.renderer import Renderer
    from workflow_r1.running.services import ask_for_a_token

    renderer = Renderer(load_tokenizer(source), template)
    try:
        await ask_for_a_token(server)
    except ServiceError as error:
        return problem(SUBJECT, error)
    opens = ", whose template opens the thought" if renderer.opening else ""
    return ok(SUBJECT, f"{server.model} at {server.base_url} continues tokens, rendered here by {source}{opens}")


async def check_history(chat_config: "OpenAIChatConfig") -> Finding:
    """Check that a chat server shows the policy the thoughts of its earlier turns, by the token counts of two histories.

    The two differ in the length of an earlier thought alone. A server that leaves it out counts them equal.
    """
    from workflow_r1.inference import ChatRequest, OpenAIChatModel
    from workflow_r1.trajectory import Message

    def history(num_words: int) -> ChatRequest:
        turn = f"<think>{'why ' * num_words}</think><tool>Search: who</tool>"
        roles = {"user": "Question: who?", "assistant": turn}
        messages = [Message(role=role, content=content) for role, content in roles.items()]
        return ChatRequest(messages=(*messages, Message(role="user", content="<info>x</info>")), max_tokens=1)

    subject, remedy = "policy's history", "set policy.tokenizer, so that the server gets tokens as in training"
    try:
        async with OpenAIChatModel(chat_config) as chat:
            short, long = [(await chat(history(words))).usage.prompt_tokens for words in (1, 1 + THOUGHT_WORDS)]
    except ServiceError as error:
        return warning(subject, f"the server renders it, and refuses one with a thought: {error}", remedy)
    if not short or not long:
        return warning(
            subject, "the server renders it, and does not count tokens: whether it keeps thoughts is unknown", remedy
        )
    if long - short < THOUGHT_WORDS:
        return warning(
            subject,
            "the server's chat template drops the thoughts of earlier turns, which the policy has seen in training",
            remedy,
        )
    return ok(subject, "the server renders it, with the thoughts of earlier turns")
