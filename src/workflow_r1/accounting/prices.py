"""Prices, as the user's configuration states them. The package knows none."""

from pydantic import Field

from workflow_r1.trajectory.records import Record


class ModelPrice(Record):
    """Price of an LLM, in the configuration's currency."""

    prompt_per_million: float = Field(ge=0.0)
    """Price of a million tokens sent."""
    completion_per_million: float = Field(ge=0.0)
    """Price of a million tokens received."""

    @property
    def is_free(self) -> bool:
        """True where it costs nothing, however many tokens it reads and writes."""
        return self.prompt_per_million == 0 == self.completion_per_million

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of so many tokens."""
        return (prompt_tokens * self.prompt_per_million + completion_tokens * self.completion_per_million) / 1e6


class PricesConfig(Record):
    """Prices of services. A price that does not stand here is unknown, and shown so; 0 is a price, too."""

    currency: str = "USD"
    """Name of the currency, for display."""
    per_search: float | None = Field(default=None, ge=0.0)
    """Price of one search by a service; a search in this process costs nothing."""
    models: dict[str, ModelPrice] = Field(default_factory=dict)
    """Both prices of each endpoint by name, or else of the model there."""

    def find(self, *names: str) -> ModelPrice | None:
        """The price under the first of the names that has one; None where it is unknown."""
        return next((self.models[name] for name in names if name in self.models), None)


FREE = ModelPrice(prompt_per_million=0.0, completion_per_million=0.0)
"""Price of a service in this process."""
