"""The seam to any LLM, and the clients behind it."""

from workflow_r1.inference.chat import ChatModel, ChatReply, ChatRequest, HoldsConnections, ReplyFlaw
from workflow_r1.inference.doubles import FailingChatModel, ScriptedChatModel, ScriptedReply
from workflow_r1.inference.endpoints import Endpoint, RoutedChatModel
from workflow_r1.inference.openai_chat import OpenAIChatConfig, OpenAIChatModel
from workflow_r1.inference.redrawn import RedrawnChatModel
from workflow_r1.inference.store import StoredChatModel
from workflow_r1.services.failures import FailureKind

__all__ = [
    "ChatModel",
    "ChatReply",
    "ChatRequest",
    "Endpoint",
    "FailingChatModel",
    "FailureKind",
    "HoldsConnections",
    "OpenAIChatConfig",
    "OpenAIChatModel",
    "RedrawnChatModel",
    "ReplyFlaw",
    "RoutedChatModel",
    "ScriptedChatModel",
    "ScriptedReply",
    "StoredChatModel",
]
