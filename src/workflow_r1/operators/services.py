"""The services of an operator, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import Field

from workflow_r1.errors import ConfigError
from workflow_r1.inference import ChatModel, HoldsConnections, RedrawnChatModel
from workflow_r1.retrieval import SearchBackend
from workflow_r1.retrieval.excerpts import LEAST_CHARS
from workflow_r1.trajectory import Usage
from workflow_r1.trajectory.records import Record


class OperatorConfig(Record):
    """Settings that the operators share; the defaults are the paper's (arXiv:2602.01202) where it states them."""

    temperature: float = Field(default=0.7, gt=0.0)
    """Sampling temperature of answers that are drawn independently (MultiAnswerGenerate); everything else is asked at 0."""
    num_answers: int = Field(default=3, ge=1)
    """Answers of one MultiAnswerGenerate. Paper: 3."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest reply of the LLM, in its own tokens."""
    search_k: int = Field(default=5, ge=1)
    """Passages of one Search. Paper: 5."""
    passage_chars: int | None = Field(default=None, ge=LEAST_CHARS)
    """Longest text of one passage; None leaves passages whole."""
    max_attempts: int = Field(default=3, ge=1)
    """Most replies asked of the LLM in one call, where they lack something."""


@dataclass(frozen=True, slots=True)
class OperatorServices:
    """The services behind the operators. A pool without Search needs no search, one of Search alone no LLM."""

    chat: ChatModel | None = None
    """The LLM that carries out the operators."""
    search: SearchBackend | None = None
    """Search behind ``Search``."""
    config: OperatorConfig = field(default_factory=OperatorConfig)
    """Settings."""
    chats: Mapping[str, ChatModel] = field(default_factory=dict)
    """LLM by operator name, for those that have one of their own."""

    def for_operator(self, name: str) -> "OperatorServices":
        """Return the services as one operator sees them: ``chat`` is its own LLM where it has one."""
        own = self.chats.get(name)
        return self if own is None else replace(self, chat=own, chats={})

    def redrawn(self, offset: int) -> "OperatorServices":
        """Return the same services, whose LLMs draw other samples.

        Args:
            offset: see :class:`~workflow_r1.inference.RedrawnChatModel`; 0 changes nothing.
        """
        if not offset:
            return self
        return replace(
            self,
            chat=None if self.chat is None else RedrawnChatModel(self.chat, offset),
            chats={name: RedrawnChatModel(chat, offset) for name, chat in self.chats.items()},
        )

    async def aclose(self) -> None:
        """Close the connections of those services that hold any; a later call opens new ones."""
        for service in (self.chat, *self.chats.values(), self.search):
            if isinstance(service, HoldsConnections):
                await service.aclose()

    def require_chat(self) -> ChatModel:
        """Return the LLM.

        Raises:
            ConfigError: no LLM is configured.
        """
        if self.chat is None:
            raise ConfigError("expected an LLM behind the operators, received none; give OperatorServices a chat model")
        return self.chat

    def require_search(self) -> SearchBackend:
        """Return the search.

        Raises:
            ConfigError: no search is configured.
        """
        if self.search is None:
            raise ConfigError(
                "expected a search behind the operator Search, received none; give OperatorServices a search backend, "
                "or take Search out of the pool"
            )
        return self.search


@dataclass(frozen=True, slots=True)
class OperatorResult:
    """Result of an operator call."""

    observation: str
    """Text for the policy. Text from outside: the code that shows it to the policy neutralises it."""
    valid: bool = True
    """False where the policy called it wrongly: the observation then says how to call it."""
    usage: Usage = field(default_factory=Usage)
    """LLM use of the call, all attempts and samples together."""
    reward: float | None = None
    """The operator's score of the call, a finite number: part of its turn's reward. None where it scores none."""
