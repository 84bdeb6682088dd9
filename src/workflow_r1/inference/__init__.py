"""The seam to any LLM, and what stands behind it."""

from workflow_r1.inference.chat import ChatModel, ChatReply
from workflow_r1.inference.doubles import ChatRequest, FailingChatModel, ScriptedChatModel, ScriptedReply

__all__ = ["ChatModel", "ChatReply", "ChatRequest", "FailingChatModel", "ScriptedChatModel", "ScriptedReply"]
