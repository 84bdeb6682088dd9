"""Settings of workflow graphs, and of the methods that search for one or learn to choose one (``methods``)."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from workflow_r1.retrieval import EmbeddingsConfig
from workflow_r1.trajectory.records import Record


class GraphConfig(Record):
    """The method that carries out a workflow graph of the user's own."""

    file: Path | None = None
    """The graph, in JSON; ``workflow-r1 graph schema`` prints its form."""


class AFlowConfig(Record):
    """AFlow: a search for a workflow graph; the defaults are those of its code where it has them."""

    rounds: int = Field(default=20, ge=0)
    """Changes to try. AFlow: 20."""
    questions: int = Field(default=200, ge=1)
    """Training questions to validate on. AFlow: 200."""
    repeats: int = Field(default=1, ge=1)
    """Answers to each of them. AFlow: 1."""
    sample: int = Field(default=4, ge=1)
    """Workflows that may be changed next: the first, and the best of the others. AFlow: 4."""
    patience: int = Field(default=5, ge=0)
    """Rounds in which the best three stay the same that end the search; 0: no number of rounds does. AFlow: 5."""
    max_nodes: int = Field(default=10, ge=1, le=32)
    """Most nodes of a workflow. AFlow asks for a complexity of at most 10."""
    score: Literal["exact_match", "f1"] = "exact_match"
    """Score that is averaged over the answers. AFlow: F1; the headline figure here is exact match."""
    proposer: Literal["auto", "llm", "random"] = "auto"
    """``llm`` asks the LLM of the role ``AFlow`` (``llm.roles``). ``random`` draws edits: a control. ``auto`` is
    ``llm``, but ``random`` in the embedded world, whose expert cannot propose."""
    temperature: float = Field(default=0.7, gt=0.0)
    """Sampling temperature of the LLM's proposals."""


class MaASConfig(Record):
    """MaAS: a controller that draws a workflow for each question; the defaults are those of its code where it has them."""

    passes: int = Field(default=4, ge=1)
    """Passes over the training questions. MaAS: 4."""
    questions: int = Field(default=200, ge=1)
    """Number of training questions. MaAS: all."""
    batch: int = Field(default=4, ge=1)
    """Questions of one optimiser step, which are live at once. MaAS: 4."""
    layers: int = Field(default=4, ge=1, le=8)
    """Most layers that are drawn. MaAS: 4."""
    threshold: float = Field(default=0.3, gt=0.0, le=1.0)
    """Least probability of the drawn moves of a layer together. MaAS: 0.3."""
    hidden: int = Field(default=32, ge=1)
    """Dimension in which questions and moves are compared. MaAS: 32."""
    learning_rate: float = Field(default=0.01, gt=0.0)
    """Learning rate of Adam. MaAS: 0.01."""
    baseline: bool = True
    """Compare each reward with the mean of all batches before. MaAS does not."""
    call_weight: float = Field(default=0.01, ge=0.0)
    """Taken off the score for each LLM call or search of the question. MaAS: 0."""
    cost_weight: float = Field(default=3.0, ge=0.0)
    """Taken off the score for each unit of money that the question cost, where prices are known. MaAS: 3, in USD."""
    score: Literal["exact_match", "f1"] = "exact_match"
    """Score that an answer earns."""
    embeddings: EmbeddingsConfig | None = None
    """Endpoint that embeds questions and moves; none hashes their words and runs of letters. MaAS: all-MiniLM-L6-v2."""
