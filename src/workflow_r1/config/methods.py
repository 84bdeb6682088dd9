"""Settings of the methods that an evaluation compares (``methods``)."""

from typing import Literal

from pydantic import Field

from workflow_r1.config.workflow_search import AFlowConfig, GraphConfig, MaASConfig
from workflow_r1.retrieval import EmbeddingsConfig
from workflow_r1.trajectory.records import Record


class SelfConsistencyConfig(Record):
    """Self-Consistency: several answers, the most frequent wins."""

    num_answers: int = Field(default=5, ge=2)
    """Answers to draw."""
    temperature: float = Field(default=0.7, gt=0.0)
    """Sampling temperature of the answers."""
    vote: Literal["count", "llm"] = "count"
    """``count``: equal answers are counted. ``llm``: the LLM picks the most consistent, one call more."""


class MedPromptConfig(Record):
    """MedPrompt in AFlow's form: a few answers, then votes of the LLM."""

    num_answers: int = Field(default=3, ge=2, le=26)
    """Answers to draw. AFlow: 3."""
    num_votes: int = Field(default=5, ge=1, le=1000)
    """Votes over the answers, each in an order of its own. AFlow: 5."""
    temperature: float = Field(default=0.7, gt=0.0)
    """Sampling temperature of the answers; votes are asked at 0."""


class MedPromptKNNConfig(Record):
    """MedPrompt in its original form: similar training questions that were answered rightly, then a vote."""

    num_train: int = Field(default=200, ge=1)
    """Training questions to answer beforehand, one call each; those that are answered rightly may become examples."""
    num_examples: int = Field(default=5, ge=1)
    """Examples before each question. MedPrompt: 5."""
    num_answers: int = Field(default=5, ge=2)
    """Answers to draw. MedPrompt: 5."""
    temperature: float = Field(default=0.7, gt=0.0)
    """Sampling temperature of the answers."""
    embeddings: EmbeddingsConfig | None = None
    """Measures how similar questions are; without it BM25 does, by their words."""


class ReActConfig(Record):
    """ReAct: a loop of thought, action and observation."""

    max_steps: int = Field(default=8, ge=1, le=1000)
    """Thoughts with their actions, the final one included. The paper's limit on HotpotQA: 7 with a search."""
    temperature: float = Field(default=0.0, ge=0.0)
    """Sampling temperature of the LLM that thinks."""


class ExpertWorkflowConfig(Record):
    """The workflow that an engineer would write."""

    max_lookups: int = Field(default=3, ge=1, le=1000)
    """Most lookups that the LLM may ask for, with search, after the search for the question itself."""


class RandomConfig(Record):
    """Random operator calls, then an answer."""

    max_calls: int = Field(default=4, ge=1, le=1000)
    """Most calls; their number is uniform from 1 on."""


class MethodsConfig(Record):
    """A section for each method that has settings; ``docs/reference/methods.md`` describes them."""

    self_consistency: SelfConsistencyConfig = SelfConsistencyConfig()
    medprompt: MedPromptConfig = MedPromptConfig()
    medprompt_knn: MedPromptKNNConfig = MedPromptKNNConfig()
    react: ReActConfig = ReActConfig()
    expert_workflow: ExpertWorkflowConfig = ExpertWorkflowConfig()
    random: RandomConfig = RandomConfig()
    graph: GraphConfig = GraphConfig()
    aflow: AFlowConfig = AFlowConfig()
    maas: MaASConfig = MaASConfig()
